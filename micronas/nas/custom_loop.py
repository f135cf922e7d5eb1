"""Search in a user's own training loop: train a supernet, add a penalty, make a choice.

    supernet = micronas.Supernet(space)  # a space, or micronas.convert(module, example_input)
    for inputs, labels in batches:
        loss = F.cross_entropy(supernet(inputs), labels) + budget.penalty(supernet)
        ...  # loss.backward() and an optimiser's step, as always
    network = supernet.choose()

`nas.search` does more: it warms up, moves gates on held-out examples, and lets proposals compete
in real trainings. Here one loss trains weights and gates together.
"""

import warnings
from collections.abc import Mapping
from typing import Any, SupportsIndex

import torch
from torch import Tensor, nn

from micronas.errors import ConfigError, FineTuneWarning
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs
from micronas.nas.member import Member
from micronas.nas.settings import DnasSettings
from micronas.nas.supernet.fit_choice import fit_choice
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.steering import Steering
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable

_DEFAULTS = DnasSettings()
_OBSERVED = 10
"""Steps between two comparisons of expected costs with exact ones, which take longer."""


class Supernet(nn.Module):
    """All networks of a space and its gates, for an ordinary training loop.

    In training mode each forward pass is through a network drawn from the gates, which get a
    gradient; in eval mode it is through the network that `choose` would return. Batch norm takes
    the statistics of the batch (see `nas.supernet.units`), so evaluate with large batches. A user's
    own network keeps its own batch norms.

    The space is a search space, or the result of `convert`. Inputs are float32 [N, channels,
    height, width], or [N, features]; outputs logits [N, classes].
    """

    temperature: Tensor
    """Temperature of the Gumbel-softmax; `SearchBudget.penalty` lowers it."""

    def __init__(self, space: Searchable) -> None:
        super().__init__()
        if not isinstance(space, Searchable):
            raise ConfigError(
                "a Supernet must be of a space of one family, whose networks share weights, but got"
                f" {type(space).__name__}; pass micronas.Space.load(NAME) or micronas.convert(...)"
            )
        self.space = space
        self.gates = Gates.of(space)
        self.shared = SharedNetwork(space, running=True)
        self.register_buffer("temperature", torch.tensor(_DEFAULTS.temperature[0]))
        self.budget: SearchBudget | None = None
        """Budget that steers the search: the last one whose penalty was computed."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of inputs."""
        if self.training:
            temperature = float(self.temperature)
            sample = self.gates.sample(temperature, torch.default_generator)
            return self.shared.masked(x, sample)
        return self.shared.sliced(x, self.choice())

    def choice(self) -> Choice:
        """Return the most likely network; with a budget, moved as little as possible to fit."""
        return self.gates.most_likely() if self.budget is None else self.budget.fit(self)

    def choose(self, budget: "SearchBudget | None" = None) -> Any:
        """End the search: return the most likely network, moved to keep the budget.

        The budget is by default the one that steered the search. Where it binds, the network uses
        at least 90 % of it if any option allows that.

        For a search space the result is the network, to be trained; for a user's module the same
        class with only the chosen channels and the weights of the search, in eval mode. These
        weights served networks of all widths, so that it may be no better than chance until it is
        trained further; a `FineTuneWarning` says so. Raises ConfigError if there is no budget, or
        it is none, and BudgetError if no network fits.
        """
        if not isinstance(budget, SearchBudget | None):
            raise ConfigError(
                f"choose() takes a SearchBudget, but got {type(budget).__name__}; pass "
                "micronas.SearchBudget(budget, board, steps=1)"
            )
        self.budget = budget or self.budget
        if self.budget is None:
            raise ConfigError(
                "choose() must know the budget, but budget.penalty(supernet) was never called; "
                "call it in every step, or pass choose(budget)"
            )
        found = self.space.chosen(self.choice(), self.shared.module)
        if isinstance(found, nn.Module):
            warnings.warn(
                f"a narrowed network must be trained on before it is used: weights and batch norms "
                f"of this {type(found).__name__} served networks of all widths, and by themselves "
                "it may be no better than chance",
                FineTuneWarning,
                stacklevel=2,
            )
        return found

    def widths(self, choice: Choice | None = None) -> dict[str, Any]:
        """Return the option of each decision, by name; by default those of `choice()`."""
        return self.space.values(choice or self.choice())

    def parameter_groups(
        self, *, gate_learning_rate: float = _DEFAULTS.gate_learning_rate
    ) -> list[dict[str, Any]]:
        """Return parameter groups for an optimiser: gates move faster than weights, and do not
        decay.

        The learning rate of gates is for Adam or alike, which moves a logit by about this much per
        step.
        """
        gates = list(self.gates.parameters())
        return [
            {"params": list(self.shared.parameters())},
            {"params": gates, "lr": gate_learning_rate, "weight_decay": 0.0},
        ]


class SearchBudget:
    """A budget on a board that steers the search of one supernet.

    SRAM and flash default to the board's. Over the first 60 % of the training steps of the search
    the limits close in on the budget, from what the largest network costs. Raises ConfigError if
    there is no step, or budget or board are none.
    """

    def __init__(self, budget: Budget, board: Board, *, steps: int) -> None:
        if not (isinstance(budget, Budget) and isinstance(board, Board)):
            raise ConfigError(
                "a SearchBudget must be of a Budget and a Board, but got "
                f"{type(budget).__name__} and {type(board).__name__}; pass "
                "micronas.Budget(sram='24 KB') and micronas.Board.load(NAME)"
            )
        if not (isinstance(steps, SupportsIndex) and steps >= 1):
            raise ConfigError(
                f"a search must have at least one step, but got steps={steps}; pass how often "
                "penalty() will be called"
            )
        self.steps = steps
        self.step = 0
        self._budget, self._board = budget, board
        self._supernet: Supernet | None = None
        self._steering: Steering | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._fitted: tuple[bytes, Choice] | None = None

    def penalty(self, supernet: Supernet) -> Tensor:
        """Return the term to add to the loss; call once per training step.

        The term is a float32 scalar with a gradient to the gates; 0 where the supernet is in eval
        mode. Each call in training mode counts as a step and moves multipliers and temperature.
        Raises BudgetError in the first step, if not even the smallest network fits, and ConfigError
        if the budget steers another supernet already.
        """
        steering = self._steers(supernet)
        supernet.budget = self
        if not supernet.training:
            return torch.zeros(())
        supernet.temperature.fill_(steering.temperature(self.step))
        observed = self.step % _OBSERVED == 0
        drawn = supernet.gates.draw(torch.default_generator) if observed else None
        penalty = steering.penalty(supernet.gates, self.step, drawn=drawn)
        self.step += 1
        return penalty.float()

    def costs(self, supernet: Supernet, choice: Choice) -> Costs:
        """Return the exact costs of a network on the board."""
        return self._steers(supernet).member.costs(choice)

    def used(self, supernet: Supernet, choice: Choice) -> dict[str, float]:
        """Return the exact share of each limit that a network uses."""
        return self._steers(supernet).member.used(choice)

    def fit(self, supernet: Supernet) -> Choice:
        """Return the most likely choice, moved into the budget (see `nas.supernet.fit_choice`).

        Where the moves end outside the budget, return the smallest network. Raises BudgetError if
        no network fits.
        """
        steering, gates = self._steers(supernet), supernet.gates
        member = steering.member
        key = torch.cat([each.detach() for each in gates.logits]).cpu().numpy().tobytes()
        if self._fitted is None or self._fitted[0] != key:
            choice = fit_choice(
                gates, member.used, lambda choice, name: steering.slopes(gates, choice, name)
            )
            self._fitted = key, choice if member.fits(choice) else member.least()
        return self._fitted[1]

    def state_dict(self) -> dict[str, Any]:
        """Return the state of steps, for a checkpoint beside supernet and optimiser."""
        steering = None if self._steering is None else self._steering.state()
        return {"step": self.step, "penalty": steering}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state of `state_dict`; ConfigError if it is none."""
        named = state.keys() if isinstance(state, Mapping) else ()
        penalty: Any = state["penalty"] if {*named} == {"step", "penalty"} else ()
        if penalty is not None and {*penalty} != {"multipliers", "corrections"}:
            raise ConfigError(
                "a SearchBudget's state must have step and penalty, with multipliers and "
                f"corrections, but got {[*named] or state!s:.60}; pass what its state_dict() gave"
            )
        self.step, self._loaded = state["step"], penalty
        if self._steering is not None and self._loaded is not None:
            self._steering.restore(dict(self._loaded))

    def _steers(self, supernet: Supernet) -> Steering:
        if self._steering is None or self._supernet is not supernet:
            if self._supernet is not None:
                raise ConfigError(
                    "a SearchBudget must steer one supernet, but is asked about a second; make "
                    "another SearchBudget for it"
                )
            member = Member(supernet.space, self._board, self._budget)
            member.check_feasible()
            self._supernet = supernet
            self._steering = Steering(member, self.steps, _DEFAULTS.temperature)
            if self._loaded is not None:
                self._steering.restore(dict(self._loaded))
        return self._steering
