"""The search: networks are proposed, by one strategy or another, and real trainings choose."""

import random
from dataclasses import dataclass, field

import torch

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Split, Subset, divide
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.nas.budget import Budget, Costs, Meter, check_feasible
from micronas.nas.distributed import ranks
from micronas.nas.dnas import Dnas
from micronas.nas.draw import draw
from micronas.nas.evolution import Evolution
from micronas.nas.select import Candidate, rank, trials, uniform_networks
from micronas.nas.settings import SearchSettings
from micronas.nas.strategy import Named, choose
from micronas.progress import Progress
from micronas.space.architecture import Architecture
from micronas.space.search_space import Choice, SearchSpace
from micronas.train.loop import generator_for
from micronas.train.memory import keep_freed_memory

PARTS = (0.4, 0.4, 0.2)
"""Shares of the training set for weights, gates and ranking."""
Scored = dict[Choice, float | None]
"""Proposals, and their losses with shared weights where there are some."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    candidates: list[Candidate]
    """All networks that got a training of their own, the best first."""
    strategy: Named
    reason: str
    """Why this strategy."""
    most_likely: Costs | None = None
    """Of the network with the largest logit in every decision: not the one that is returned. None
    where there are no gates."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One record a round of the supernet: loss and, where there are gates, penalty, expected costs,
    multipliers."""
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
    strategy, reason = choose(
        space,
        settings,
        limits,
        meter,
        examples=len(data.train.labels),
        processes=everyone.size,
    )
    training, gating, ranking = divide(data.train, PARTS, generator_for(seed, "parts"))
    run = None
    if strategy != "halving":
        run = (Dnas if strategy == "dnas" else Evolution)(space, settings, limits, meter, seed)
        _share_weights(run, (training, gating), checkpoint, warmup, progress)

    def compete() -> list[Candidate]:
        uniform = uniform_networks(space, limits, meter)
        if run is None:
            source = random.Random(f"{seed} draw")
            drawn = draw(space, limits, meter, count=settings.draws, source=source)
            proposed, known = dict.fromkeys(drawn), dict.fromkeys(uniform)
        else:
            proposed, known = _scored(run, uniform, ranking)
        return trials(
            _candidates(space, meter, proposed, known),
            Subset(data.train, torch.cat([training.index, gating.index])),
            ranking,
            settings.trial,
            seed=seed,
            checkpoint=checkpoint,
            progress=lambda done, total: progress("trials", done, total, {}),
        )

    tried = everyone.once(compete)
    if run is None:
        return SearchResult(tried, strategy, reason)
    likely = None
    if isinstance(run, Dnas):
        likely = meter.costs(space.architecture(run.gates.most_likely()))
    return SearchResult(tried, strategy, reason, likely, run.history, run.gate_history)


def _share_weights(
    run: Dnas | Evolution,
    parts: tuple[Split, Split],
    checkpoint: Checkpoint,
    warmup: Checkpoint | None,
    progress: Progress,
) -> None:
    """Train a supernet to the end, from where an earlier call or another search left it."""
    weights, everyone = run.weights, run.weights.ranks
    saved = everyone.once(lambda: checkpoint.load("search"))
    shared = everyone.once(lambda: None if warmup is None else warmup.load("search"))
    if saved is not None:
        run.resume(saved)
    elif shared is not None:
        run.start_warm(shared)
    while not weights.finished:
        was_warm = weights.warm
        run.round(*parts)
        if everyone.first:
            if warmup is not None and weights.warm and not was_warm:
                warmup.save("search", run.state())
            checkpoint.save("search", run.state())
            phase = "search" if weights.warm else "warm-up"
            progress(phase, weights.step, weights.settings.steps, run.history[-1])


def _scored(run: Dnas | Evolution, uniform: list[Choice], ranking: Split) -> tuple[Scored, Scored]:
    """The best proposals and the uniform networks, with what shared weights say of them."""
    losses = run.propose(ranking)
    best = sorted(losses, key=lambda choice: (losses[choice], choice))[: run.settings.finalists]
    known = rank(run.weights.supernet, uniform, ranking, run.seed)
    return {choice: losses[choice] for choice in best}, dict(zip(uniform, known, strict=True))


def _candidates(
    space: SearchSpace, meter: Meter, proposed: Scored, uniform: Scored
) -> list[Candidate]:
    """Different networks; a uniform one that was proposed counts as proposed."""
    found: dict[Architecture, Candidate] = {}
    for origin, scored in (("search", proposed), ("uniform", uniform)):
        for choice, loss in scored.items():
            architecture = space.architecture(choice)
            costs = meter.costs(architecture)
            found.setdefault(architecture, Candidate(origin, architecture, costs, loss))
    return list(found.values())


def _check_data(space: SearchSpace, data: DataSet) -> None:
    if data.input != space.input or len(data.classes) != space.classes:
        raise ConfigError(
            "data set and search space must agree on input shape and number of classes: "
            f"data {data.input} and {len(data.classes)}, space '{space.name}' {space.input} and "
            f"{space.classes}; edit `input` and `classes` of the space"
        )
