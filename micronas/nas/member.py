"""Costs and fit of the networks of one space on a board within limits."""

from functools import lru_cache

from micronas.errors import BudgetError, ConfigError
from micronas.graph.ir import Op
from micronas.hardware.board import Board
from micronas.hardware.code import FULL, operators_of
from micronas.hardware.costs import Budget, Costs, Limits, measure
from micronas.hardware.front_ends import FrontEndCosts
from micronas.hardware.listening import between_calls
from micronas.quantities import format_cost, format_reached
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable


class Member:
    """A space with one set of decisions, a board and limits.

    Costs are exact and cached: choices of the same network are measured once.
    """

    def __init__(
        self,
        space: Searchable,
        board: Board,
        budget: Budget,
        *,
        front_end: FrontEndCosts | None = None,
    ) -> None:
        self.space, self.board = space, board
        # operators of any network of the space, a PAD between two widths included
        operators: set[str] = {step.kind for step in space.choices.steps if isinstance(step, Op)}
        for choice in (space.smallest(), space.largest()):
            operators |= operators_of(space.resolve(choice))
        always = {name.removesuffix(FULL) for name in operators}
        if missing := sorted(always - {*board.target.kinds}):
            raise ConfigError(
                f"a space must have operators that run on its board, but {board.target.title} has "
                f"no kernel for {', '.join(missing)}, which '{space.title}' needs; choose another "
                "engine, or leave these blocks out"
            )
        self._listening = budget.listening(front_end)
        smallest = space.resolve(space.smallest())
        front_end = between_calls(front_end, smallest, board, self._listening)
        self.limits: Limits = budget.on(
            board, operators=always, for_int4=operators - always, front_end=front_end
        )
        """The budget on the board, as numbers."""
        self._measured = lru_cache(maxsize=100_000)(self._measure)

    def costs(self, choice: Choice) -> Costs:
        """Return the exact costs of a network."""
        return self._measured(self.space.canonical(choice))

    def used(self, choice: Choice) -> dict[str, float]:
        """Return the share of each limit that a network uses; 1 is all of it."""
        return self.limits.used(self.costs(choice))

    def spent(self, choice: Choice) -> dict[str, float]:
        """Return the network's own part of each limited cost."""
        return self.limits.spent(self.costs(choice))

    def share(self, choice: Choice) -> float:
        """Return the share used of the limit that binds."""
        return max(self.used(choice).values())

    def binding(self, choice: Choice) -> tuple[str, float]:
        """Return the limit that binds, which has the largest share used, and that share."""
        return max(self.used(choice).items(), key=lambda each: each[1])

    def fits(self, choice: Choice) -> bool:
        return self.share(choice) <= 1.0

    @property
    def is_roomy(self) -> bool:
        """Return whether even the largest network fits."""
        return self.fits(self.space.largest())

    def least(self) -> Choice:
        """Return the network that is nearest to fitting, or uses least."""
        # two, as weights of 4 bits take least flash and those of 8 least time
        return min((self.space.smallest(), self.space.quickest()), key=self.share)

    def check_feasible(self) -> None:
        """Raise BudgetError if not even the smallest network of the space fits."""
        used, given = self.used(self.least()), self.limits.given()
        over = [name for name, share in used.items() if share > 1]
        if over:
            complaints = (
                f"{name} budget must reach the smallest network of the space: "
                f"budget={format_cost(name, given[name])}, "
                f"smallest={format_reached(name, given[name] * used[name])}"
                for name in over
            )
            beside = vars(self.limits.beside)
            taken = [
                f"{name} counts {format_cost(name, beside[name])} beside the network"
                for name in over
                if beside.get(name)
            ]
            ways = " (budget.counts=network leaves it out)" if taken else ""
            raise BudgetError(
                f"{'; '.join([*complaints, *taken])}{ways}; raise {', '.join(over)} or give "
                f"'{self.space.title}' smaller widths or fewer blocks"
            )

    def _measure(self, choice: Choice) -> Costs:
        graph, kind = self.space.resolve(choice), self.space.kind
        return measure(graph, self.board, kind=kind, listening=self._listening)
