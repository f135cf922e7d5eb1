"""The search: a strategy proposes networks, and real trainings choose."""

from dataclasses import dataclass, field

import torch

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Subset, divide
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs
from micronas.hardware.front_ends import front_end_costs
from micronas.nas.distributed import ranks
from micronas.nas.prior import uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.auto import choose
from micronas.nas.strategies.base import Scored, strategy
from micronas.nas.trials import Candidate, trials
from micronas.progress import Progress
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable
from micronas.train.loop import generator_for
from micronas.train.memory import keep_freed_memory

PARTS = (0.4, 0.4, 0.2)
"""Shares of the training set for weights, gates and ranking."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    candidates: list[Candidate]
    """All networks that got a training of their own, the best first."""
    strategy: str
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
    space: Searchable,
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
        Called after every round and every trial training.

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
    front_end = front_end_costs(data.meaning, data.input)
    problem = Problem(space, board, budget, front_end=front_end)
    problem.check_feasible()
    _check_data(space, data)
    keep_freed_memory()
    name, reason = choose(
        problem, settings, examples=len(data.train.labels), processes=everyone.size
    )
    training, gating, ranking = divide(data.train, PARTS, generator_for(seed, "parts"))
    parts = training, gating, ranking
    run = strategy(name)(problem, settings, seed)
    run.prepare(parts, everyone, checkpoint=checkpoint, warmup=warmup, progress=progress)

    def compete() -> list[Candidate]:
        known = run.score(uniform_networks(problem), parts)
        return trials(
            _candidates(problem, run.propose(parts), known),
            Subset(data.train, torch.cat([training.index, gating.index])),
            ranking,
            settings.trial,
            seed=seed,
            checkpoint=checkpoint,
            progress=lambda done, total: progress("trials", done, total, {}),
        )

    tried = everyone.once(compete)
    likely = run.most_likely()
    return SearchResult(
        tried,
        name,
        reason,
        None if likely is None else problem.costs(likely),
        run.history,
        run.gate_history,
    )


def _candidates(problem: Problem, proposed: Scored, uniform: Scored) -> list[Candidate]:
    """Different networks; a uniform one that was proposed counts as proposed."""
    found: dict[Choice, Candidate] = {}
    for origin, scored in (("search", proposed), ("uniform", uniform)):
        for choice, loss in scored.items():
            architecture, costs = problem.space.architecture(choice), problem.costs(choice)
            candidate = Candidate(origin, choice, architecture, costs, loss)
            found.setdefault(problem.space.canonical(choice), candidate)
    return list(found.values())


def _check_data(space: Searchable, data: DataSet) -> None:
    if data.input != space.input_shape or len(data.classes) != space.outputs:
        raise ConfigError(
            "data set and search space must agree on input shape and number of classes: "
            f"data {data.input} and {len(data.classes)}, space '{space.title}' "
            f"{space.input_shape} and {space.outputs}; edit `input` and `classes` of the space"
        )
