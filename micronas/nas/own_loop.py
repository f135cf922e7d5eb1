"""Search in a training loop of one's own: a supernet to train, a penalty to add, a choice to make.

    supernet = micronas.Supernet(space)  # or micronas.convert(module, example_input)
    for inputs, labels in batches:
        loss = F.cross_entropy(supernet(inputs), labels) + budget.penalty(supernet)
        ...  # loss.backward() and an optimiser's step, as always
    architecture = supernet.choose()

`nas.search` does more: it warms up, moves gates on held-out examples, and lets proposals compete
in real trainings. Here one loss trains weights and gates together.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.nas import cost
from micronas.nas.budget import Budget, Candidate, Costs, Meter, require_fit
from micronas.nas.cost import Expected
from micronas.nas.fit_choice import fit_choice
from micronas.nas.gates import Gates, Sample
from micronas.nas.penalty import Penalty
from micronas.nas.settings import SearchSettings
from micronas.nas.supernet import SharedNetwork
from micronas.space.architecture import Architecture
from micronas.space.search_space import Choice, Decision, SearchSpace

_DEFAULTS = SearchSettings()
_OBSERVED = 10
"""Steps between two comparisons of smooth costs with exact ones, which take longer."""

Chosen = TypeVar("Chosen", covariant=True)


class Searchable(nn.Module, ABC, Generic[Chosen]):
    """A supernet and its gates, for an ordinary training loop.

    In training mode each forward pass is through a network drawn from the gates, which get a
    gradient; in eval mode it is through the network `choose` would return.
    """

    family = ""
    """Name of the search space: boards may have latency models for some."""
    temperature: Tensor
    """Of the Gumbel-softmax that draws; `SearchBudget.penalty` lowers it."""

    def __init__(self, decisions: tuple[Decision, ...]) -> None:
        super().__init__()
        self.gates = Gates(decisions)
        self.register_buffer("temperature", torch.tensor(_DEFAULTS.temperature[0]))
        self.budget: SearchBudget | None = None
        """The one that steers the search: whose penalty was asked for last."""

    @abstractmethod
    def masked(self, x: Tensor, gates: Sample) -> Tensor:
        """Logits under gates, with a gradient to every option."""

    @abstractmethod
    def sliced(self, x: Tensor, choice: Choice) -> Tensor:
        """Logits of one network."""

    @abstractmethod
    def expected(self, gates: Sample) -> Expected:
        """Expected costs of a network drawn from gates."""

    @abstractmethod
    def candidate(self, choice: Choice) -> Candidate:
        """The network of a choice, for exact costs."""

    @abstractmethod
    def least(self) -> list[Choice]:
        """Choices of which one is the smallest network in each cost."""

    @abstractmethod
    def build(self, choice: Choice) -> Chosen:
        """What `choose` returns for a choice."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs float32 [N, channels, height, width]."""
        if self.training:
            temperature = float(self.temperature)
            return self.masked(x, self.gates.sample(temperature, torch.default_generator))
        return self.sliced(x, self.choice())

    def choice(self) -> Choice:
        """The most likely network; with a budget, moved by as little as it takes to keep it."""
        return self.gates.most_likely() if self.budget is None else self.budget.fit(self)

    def choose(self, budget: "SearchBudget | None" = None) -> Chosen:
        """End the search: return the most likely network, moved to keep the budget.

        Where the budget binds, the network uses at least 90 % of it if any option allows that.

        Parameters
        ----------
        budget
            Left out, the one that steered the search.

        Raises
        ------
        ConfigError
            If there is no budget.
        BudgetError
            If no network fits.
        """
        self.budget = budget or self.budget
        if self.budget is None:
            raise ConfigError(
                "choose() must know the budget, but budget.penalty(supernet) was never called; "
                "call it in every step, or pass choose(budget)"
            )
        return self.build(self.choice())

    def widths(self, choice: Choice | None = None) -> dict[str, int]:
        """The option each decision takes, by its name; of `choice()` when left out."""
        return {
            decision.name: decision.options[index]
            for decision, index in zip(self.gates.decisions, choice or self.choice(), strict=True)
        }

    def parameter_groups(
        self, *, gate_learning_rate: float = _DEFAULTS.gate_learning_rate
    ) -> list[dict[str, Any]]:
        """Parameters for an optimiser: gates move faster than weights, and do not decay.

        Parameters
        ----------
        gate_learning_rate
            For an optimiser of Adam's kind, which moves a logit by about that much in a step.
        """
        gates = list(self.gates.parameters())
        known = {id(each) for each in gates}
        return [
            {"params": [each for each in self.parameters() if id(each) not in known]},
            {"params": gates, "lr": gate_learning_rate, "weight_decay": 0.0},
        ]


class Supernet(Searchable[Architecture]):
    """All networks of a search space, for an ordinary training loop.

    Batch norm always takes the statistics of the batch at hand (see `nas.supernet`): judge it on
    large batches.

    Parameters
    ----------
    space
        The search space. Inputs are float32 [N, channels, height, width], outputs logits
        [N, classes].
    """

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(space.decisions)
        self.space = space
        self.family = space.task or space.name
        self.shared = SharedNetwork(space)

    def masked(self, x: Tensor, gates: Sample) -> Tensor:
        return self.shared.masked(x, gates)

    def sliced(self, x: Tensor, choice: Choice) -> Tensor:
        return self.shared.sliced(x, choice)

    def expected(self, gates: Sample) -> Expected:
        return cost.expected(self.space, gates)

    def candidate(self, choice: Choice) -> Architecture:
        return self.space.architecture(choice)

    def least(self) -> list[Choice]:
        return [self.space.smallest(), self.space.quickest()]

    def build(self, choice: Choice) -> Architecture:
        return self.space.architecture(choice)


class SearchBudget:
    """A budget on a board that steers the search of one supernet.

    Parameters
    ----------
    budget
        Limits; SRAM and flash default to the board's.
    board
        The target.
    steps
        Training steps of the search. Over the first 60 % of them the limits close in on the
        budget, from what the largest network costs.

    Raises
    ------
    ConfigError
        If there is no step.
    """

    def __init__(self, budget: Budget, board: Board, *, steps: int) -> None:
        if steps < 1:
            raise ConfigError(
                f"a search must have at least one step, but got steps={steps}; pass how often "
                "penalty() will be called"
            )
        self.limits = budget.on(board)
        self.steps = steps
        self.step = 0
        self._board = board
        self._supernet: Searchable[Any] | None = None
        self._meter: Meter | None = None
        self._penalty: Penalty | None = None
        self._fitted: tuple[bytes, Choice] | None = None

    def penalty(self, supernet: Searchable[Any]) -> Tensor:
        """Return what to add to the loss; call it once a training step.

        A float32 scalar with a gradient to the gates; 0 where the supernet is in eval mode. Each
        call in training mode counts a step: it moves the multipliers and the temperature.

        Raises
        ------
        BudgetError
            In the first step, if not even the smallest network fits.
        ConfigError
            If the budget steers another supernet already.
        """
        meter = self._measures(supernet)
        supernet.budget = self
        if not supernet.training:
            return torch.zeros(())
        penalty = self._penalty = self._penalty or self._started(supernet)
        progress = min(self.step / self.steps, 1.0)
        first, last = _DEFAULTS.temperature
        supernet.temperature.fill_(first * (last / first) ** progress)
        if self.step % _OBSERVED == 0:
            choice = supernet.gates.draw(torch.default_generator)
            with torch.no_grad():
                smooth = supernet.expected(supernet.gates.one_hot(choice)).by_limit(meter)
            penalty.observe(self._spent(supernet, choice), smooth)
        self.step += 1
        expected = supernet.expected(supernet.gates.probabilities()).by_limit(meter)
        return penalty.loss(expected, progress).float()

    def costs(self, supernet: Searchable[Any], choice: Choice) -> Costs:
        """Exact costs of a network on the board."""
        return self._measures(supernet).costs(supernet.candidate(choice))

    def used(self, supernet: Searchable[Any], choice: Choice) -> dict[str, float]:
        """Exact share of each limit that a network uses."""
        return self.limits.used(self.costs(supernet, choice))

    def fit(self, supernet: Searchable[Any]) -> Choice:
        """Return the most likely choice, moved to within the budget (see `nas.fit_choice`).

        Where moves end beside the budget, it is the smallest network.

        Raises
        ------
        BudgetError
            If no network fits.
        """
        key = torch.cat([each.detach() for each in supernet.gates.logits]).numpy().tobytes()
        if self._fitted is None or self._fitted[0] != key:
            least = self._least(supernet)
            choice = fit_choice(
                supernet.gates,
                lambda choice: self.used(supernet, choice),
                lambda choice, name: self._slopes(supernet, choice, name),
            )
            fits = max(self.used(supernet, choice).values()) <= 1
            self._fitted = key, choice if fits else least
        return self._fitted[1]

    def state_dict(self) -> dict[str, Any]:
        """What steps change, for a checkpoint beside the supernet's and the optimiser's."""
        penalty = self._penalty
        started = None if penalty is None else {"start": dict(penalty.start), **penalty.state()}
        return {"step": self.step, "penalty": started}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.step, started = state["step"], state["penalty"]
        if started is not None:
            self._penalty = Penalty(self.limits.given(), dict(started["start"]), self.steps)
            self._penalty.restore(started)

    def _measures(self, supernet: Searchable[Any]) -> Meter:
        if self._meter is None or self._supernet is not supernet:
            if self._supernet is not None:
                raise ConfigError(
                    "a SearchBudget must steer one supernet, but is asked about a second; make "
                    "another SearchBudget for it"
                )
            self._supernet, self._meter = supernet, Meter(self._board, supernet.family)
        return self._meter

    def _started(self, supernet: Searchable[Any]) -> Penalty:
        self._least(supernet)
        largest = tuple(len(logits) - 1 for logits in supernet.gates.logits)
        return Penalty(self.limits.given(), self._spent(supernet, largest), self.steps)

    def _least(self, supernet: Searchable[Any]) -> Choice:
        """The smallest network; BudgetError if it does not fit."""
        found = [(self.used(supernet, choice), choice) for choice in supernet.least()]
        used, choice = min(found, key=lambda each: max(each[0].values()))
        require_fit(self.limits, used, of="supernet", way_out="offer narrower options")
        return choice

    def _spent(self, supernet: Searchable[Any], choice: Choice) -> dict[str, float]:
        return self.limits.spent(self.costs(supernet, choice))

    def _slopes(self, supernet: Searchable[Any], choice: Choice, name: str) -> list[Tensor]:
        gates = {key: each.requires_grad_() for key, each in supernet.gates.one_hot(choice).items()}
        with torch.enable_grad():
            expected = supernet.expected(gates).by_limit(self._measures(supernet))[name]
        found = torch.autograd.grad(expected, list(gates.values()), allow_unused=True)
        return [
            torch.zeros_like(gate) if slope is None else slope
            for gate, slope in zip(gates.values(), found, strict=True)
        ]
