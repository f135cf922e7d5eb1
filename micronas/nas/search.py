"""The search: supernet weights and gates in alternation, then the choice of the final network."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet, Split, Subset, divide
from micronas.errors import ConfigError, MicronasError
from micronas.hardware.board import Board
from micronas.layers import mixed_precision
from micronas.nas.budget import Budget, Costs, Limits, Meter, check_feasible
from micronas.nas.cost import expected
from micronas.nas.distributed import ranks
from micronas.nas.gates import Gates
from micronas.nas.penalty import Penalty
from micronas.nas.select import Candidate, propose, rank, trials, uniform_networks
from micronas.nas.settings import SearchSettings
from micronas.nas.supernet import Supernet
from micronas.progress import Progress
from micronas.search_space import Choice, SearchSpace
from micronas.train.loop import generator_for, temperature_scaled_loss
from micronas.train.memory import keep_freed_memory

ROUND = 20
"""Steps between two checkpoints."""
CORRECTED = 5
"""Gate steps between two comparisons of smooth costs with exact ones, which take milliseconds."""
LEARNT = 0.9
"""Gates stay put until the loss is below this share of ln(classes): before, they follow noise."""
PARTS = (0.4, 0.4, 0.2)
"""Shares of the training set for weights, gates and ranking."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    candidates: list[Candidate]
    """All networks that got a training of their own, the best first."""
    most_likely: Costs
    """Of the network with the largest logit in every decision: not the one that is returned."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One record a round: loss, penalty, expected costs, multipliers."""
    gates: list[dict[str, list[float]]] = field(default_factory=list)
    """Probabilities of each decision's options after every round, by the decision's name."""

    @property
    def winner(self) -> Candidate:
        return self.candidates[0]


def search(
    space: SearchSpace,
    data: DataSet,
    *,
    board: Board,
    budget: Budget,
    settings: SearchSettings | None = None,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    warmup: Checkpoint | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Find the most accurate network of a space that fits a budget on a board.

    In an initialised process group of `torch.distributed` all processes search together and
    return the same result; see `micronas.nas.distributed`.

    Parameters
    ----------
    budget
        Limits; SRAM and flash default to the board's.
    checkpoint
        Where state is saved every few steps, and from which a killed search continues to the
        same result.
    warmup
        Where searches of the same space, data, settings and seed share their warm-up, whatever
        their boards and budgets: one that finds none leaves its own there, others go on from it,
        to the same result as without.
    progress
        Told after every round and every trial training.

    Raises
    ------
    BudgetError
        Before any training, if not even the smallest network of the space fits.
    ConfigError
        If the data set has another input shape or number of classes than the space, or if batches
        cannot be divided among the processes.
    """
    settings = settings or SearchSettings()
    everyone = ranks()
    everyone.check_batch(settings.batch_size)
    checkpoint = checkpoint or Checkpoint()
    progress = progress or (lambda phase, done, total, numbers: None)
    meter = Meter(board, space.task or space.name)
    limits = budget.on(board)
    check_feasible(space, limits, meter)
    _check_data(space, data)
    keep_freed_memory()
    training, gating, ranking = divide(data.train, PARTS, generator_for(seed, "parts"))
    run = _Search(space, settings, limits, meter, seed)
    saved = everyone.once(lambda: checkpoint.load("search"))
    shared = everyone.once(lambda: None if warmup is None else warmup.load("search"))
    if saved is not None:
        run.resume(saved)
    elif shared is not None:
        run.start_warm(shared)
    while not run.finished:
        was_warm = run.warm
        run.round(training, gating)
        if everyone.first:
            if warmup is not None and run.warm and not was_warm:
                warmup.save("search", run.state())
            checkpoint.save("search", run.state())
            progress(run.phase, run.step, settings.steps, run.history[-1])
    both = Subset(data.train, torch.cat([training.index, gating.index]))
    tried = everyone.once(
        lambda: trials(
            run.candidates(ranking),
            both,
            ranking,
            settings.trial,
            seed=seed,
            checkpoint=checkpoint,
            progress=lambda done, total: progress("trials", done, total, {}),
        )
    )
    most_likely = meter.costs(space.architecture(run.gates.most_likely()))
    return SearchResult(tried, most_likely, run.history, run.gate_history)


def _check_data(space: SearchSpace, data: DataSet) -> None:
    if data.input != space.input or len(data.classes) != space.classes:
        raise ConfigError(
            "data set and search space must agree on input shape and number of classes: "
            f"data {data.input} and {len(data.classes)}, space '{space.name}' {space.input} and "
            f"{space.classes}; edit `input` and `classes` of the space"
        )


class _Search:
    """The state of one search; a round depends on it and on the seed alone."""

    def __init__(
        self, space: SearchSpace, settings: SearchSettings, limits: Limits, meter: Meter, seed: int
    ) -> None:
        self.space, self.settings, self.limits, self.meter, self.seed = (
            space,
            settings,
            limits,
            meter,
            seed,
        )
        # the only use of torch's global generator: initial weights
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            self.supernet = Supernet(space)
        self.gates = Gates(space.decisions)
        self.weight_optimizer = torch.optim.AdamW(
            self.supernet.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.gate_optimizer = torch.optim.Adam(
            self.gates.parameters(), settings.gate_learning_rate, betas=(0.5, 0.999)
        )
        largest = meter.costs(space.architecture(space.largest()))
        given = limits.given()
        self.penalty = Penalty(
            given,
            {name: share * given[name] for name, share in limits.used(largest).items()},
            settings.steps,
        )
        self.history: list[dict[str, float]] = []
        self.gate_history: list[dict[str, list[float]]] = []
        self.warm_steps = 0
        self.step = 0
        self.loss = math.log(space.classes)
        self.warm = settings.warmup == 0
        self.ranks = ranks()

    @property
    def phase(self) -> str:
        return "search" if self.warm else "warm-up"

    @property
    def finished(self) -> bool:
        return self.step >= self.settings.steps

    def round(self, training: Split, gating: Split) -> None:
        """Take `ROUND` steps: of weights on random networks in warm-up, then of both."""
        generator = generator_for(self.seed, "round", self.warm_steps, self.step)
        penalty = torch.zeros(())
        if not self.warm:
            for index in _batches(training, self.settings.batch_size, ROUND, generator):
                self._train(training, index, self._random(generator), generator)
            self.warm_steps += ROUND
            learnt = self.loss < LEARNT * math.log(self.space.classes)
            self.warm = learnt or self.warm_steps >= self.settings.warmup
        else:
            steps = min(ROUND, self.settings.steps - self.step)
            weight_batches = _batches(training, self.settings.batch_size, steps, generator)
            gate_batches = _batches(gating, self.settings.batch_size, steps, generator)
            for weight_index, gate_index in zip(weight_batches, gate_batches, strict=True):
                self._train(training, weight_index, self.gates.draw(generator), generator)
                penalty = self._move_gates(gating, gate_index, generator)
                self.step += 1
        self._record(penalty)

    def candidates(self, ranking: Split) -> list[Candidate]:
        """Proposals of the gates, ranked with shared weights, and the uniform networks."""
        generator = generator_for(self.seed, "propose")
        choices = propose(
            self.space,
            self.gates,
            self.limits,
            self.meter,
            count=self.settings.candidates,
            generator=generator,
        )
        losses = rank(self.supernet, choices, ranking, self.seed)
        best = sorted(zip(losses, choices, strict=True))[: self.settings.finalists]
        found = {self.space.architecture(choice): ("search", loss) for loss, choice in best}
        uniform = uniform_networks(self.space, self.limits, self.meter)
        losses = rank(self.supernet, uniform, ranking, self.seed)
        for loss, choice in zip(losses, uniform, strict=True):
            found.setdefault(self.space.architecture(choice), ("uniform", loss))
        return [
            Candidate(origin, architecture, self.meter.costs(architecture), loss)
            for architecture, (origin, loss) in found.items()
        ]

    def state(self) -> State:
        """Everything a round changes."""
        return {
            "supernet": _copied(self.supernet.state_dict()),
            "gates": _copied(self.gates.state_dict()),
            "weight_optimizer": copy.deepcopy(self.weight_optimizer.state_dict()),
            "gate_optimizer": copy.deepcopy(self.gate_optimizer.state_dict()),
            "penalty": self.penalty.state(),
            "history": list(self.history),
            "gate_history": list(self.gate_history),
            "warm_steps": self.warm_steps,
            "step": self.step,
            "loss": self.loss,
            "warm": self.warm,
        }

    def start_warm(self, state: State) -> None:
        """Go on from the warm-up of a search for another board or budget."""
        # gates have not moved: only expected costs differ, and they are told again
        for record in state["history"]:
            self.loss = record["loss"]
            self._record(torch.zeros(()))
        self._restore_weights(state)

    def resume(self, state: State) -> None:
        """Go on from a state of this search."""
        self._restore_weights(state)
        self.gates.load_state_dict(state["gates"])
        self.gate_optimizer.load_state_dict(copy.deepcopy(state["gate_optimizer"]))
        self.penalty.restore(state["penalty"])
        self.history = list(state["history"])
        self.gate_history = list(state.get("gate_history", []))  # younger than checkpoints

    def _restore_weights(self, state: State) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimizer.load_state_dict(copy.deepcopy(state["weight_optimizer"]))
        self.warm_steps, self.step = state["warm_steps"], state["step"]
        self.loss, self.warm = state["loss"], state["warm"]

    def _train(
        self, split: Split, index: Tensor, choice: Choice, generator: torch.Generator
    ) -> None:
        """One step of the weights that a network uses."""
        inputs, labels = self._part(split, index, generator)
        with mixed_precision(self.settings.amp):
            logits = self.supernet.sliced(inputs, choice)
        loss = F.cross_entropy(logits.float(), labels)
        for group in self.weight_optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * self._rate()
        self.weight_optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        loss = self.ranks.average(self.supernet, loss)
        if not torch.isfinite(loss):
            raise MicronasError(
                f"the supernet's loss must stay finite: loss={loss.item()} in step {self.step}; "
                f"lower search.learning_rate={self.settings.learning_rate:g}"
            )
        self.weight_optimizer.step()
        self.loss += 0.05 * (loss.item() - self.loss)

    def _move_gates(self, split: Split, index: Tensor, generator: torch.Generator) -> Tensor:
        """One step of the gates: the task's loss on held-out examples, and the penalties."""
        inputs, labels = self._part(split, index, generator)
        sample = self.gates.sample(self._temperature(), generator, hard=self.settings.hard)
        if self.step % CORRECTED == 0:
            self._correct(Gates.choice_of(sample))
        self.supernet.requires_grad_(False)
        with mixed_precision(self.settings.amp):
            logits = self.supernet.masked(inputs, sample)
        task, _ = temperature_scaled_loss(logits.float(), labels)
        self.supernet.requires_grad_(True)
        costs = expected(self.space, self.gates.probabilities()).by_limit(self.meter)
        penalty = self.penalty.loss(costs, self.step / self.settings.steps)
        self.gate_optimizer.zero_grad()
        (task + penalty).backward()  # type: ignore[no-untyped-call]
        self.ranks.average(self.gates, task)
        self.gate_optimizer.step()
        return penalty.detach()

    def _part(
        self, split: Split, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Inputs and labels of this process's part of a batch."""
        index = self.ranks.part(index)
        return split.batch(index, self.ranks.own(generator)), split.labels[index]

    def _correct(self, choice: Choice) -> None:
        """Compare the smooth costs of a drawn network with its exact ones."""
        exact = self.meter.costs(self.space.architecture(choice))
        spent = {
            name: share * self.limits.given()[name]
            for name, share in self.limits.used(exact).items()
        }
        with torch.no_grad():
            smooth = expected(self.space, self.gates.one_hot(choice)).by_limit(self.meter)
        self.penalty.observe(spent, smooth)

    def _random(self, generator: torch.Generator) -> Choice:
        return tuple(
            int(torch.randint(len(decision.options), (), generator=generator))
            for decision in self.space.decisions
        )

    def _rate(self) -> float:
        """A short rise, then level through warm-up, then a cosine over the search."""
        rise = min((self.warm_steps + self.step + 1) / ROUND, 1.0)
        return rise * (0.55 + 0.45 * math.cos(math.pi * self.step / self.settings.steps))

    def _temperature(self) -> float:
        first, last = self.settings.temperature
        return float(first * (last / first) ** (self.step / self.settings.steps))

    def _record(self, penalty: Tensor) -> None:
        with torch.no_grad():
            probabilities = self.gates.probabilities()
            smooth = expected(self.space, probabilities).by_limit(self.meter)
        self.gate_history.append(
            {name: [round(p, 4) for p in each.tolist()] for name, each in probabilities.items()}
        )
        record = {"step": float(self.step), "loss": self.loss, "penalty": float(penalty)}
        for name in self.limits.given():
            ratio = self.penalty.corrections.get(name, 1.0)
            record[f"expected_{name}"] = float(smooth[name]) * ratio
            record[f"multiplier_{name}"] = self.penalty.multipliers.get(name, 0.0)
        self.history.append(record)


def _batches(split: Split, size: int, count: int, generator: torch.Generator) -> list[Tensor]:
    """`count` batches in which every example comes once before any comes again."""
    examples = len(split.labels)
    passes = -(-count * size // examples)
    order = torch.cat([torch.randperm(examples, generator=generator) for _ in range(passes)])
    return list(torch.split(order, size)[:count])


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}
