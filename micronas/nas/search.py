"""The search: a strategy proposes networks, and real trainings choose."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet, Split, Subset, divide
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs
from micronas.hardware.front_ends import front_end_costs
from micronas.nas.distributed import ranks
from micronas.nas.open_search import OpenProblem
from micronas.nas.prior import uniform_networks
from micronas.nas.problem import Problem
from micronas.nas.settings import SearchSettings
from micronas.nas.strategies.auto import choose
from micronas.nas.strategies.base import Scored, strategy
from micronas.nas.table import Picture, candidates_html, candidates_text, plot
from micronas.nas.trials import Candidate, More, gathered, trials
from micronas.progress import Progress
from micronas.space.decisions import Choice
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Searchable
from micronas.train.devices import find_device
from micronas.train.loop import generator_for
from micronas.train.memory import keep_freed_memory
from micronas.train.recipe import Device
from micronas.train.threads import threads

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = (0.4, 0.4, 0.2)
"""Shares of the training set for weights, gates and ranking."""
FEW_GROUPS = 12
"""Groups below which one or two of them would rank all networks."""
_FOLDS = 3


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
    accuracy_name: str = "accuracy"
    """What `Candidate.trial_accuracy` is called, see `DataSet.accuracy_name`."""

    @property
    def winner(self) -> Candidate:
        return self.candidates[0]

    def table(self) -> str:
        """Return the networks that had a trial as a table, the best first."""
        return candidates_text(self.candidates, self.accuracy_name)

    def plot(self, kind: Picture = "front", *, axes: "Axes | None" = None) -> "Axes":
        """Draw trials against latency (``front``) or ``arena``, or the supernet's ``history``."""
        return plot(self.candidates, self.history, kind, axes)

    def _repr_html_(self) -> str:
        return candidates_html(
            self.candidates, f"{self.strategy}: {self.winner}", self.accuracy_name
        )


def search(
    space: Searchable | OpenSpace,
    data: DataSet,
    *,
    board: Board,
    budget: Budget,
    settings: SearchSettings | None = None,
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    shared: Checkpoint | None = None,
    workers: int | None = None,
    ray: str | None = None,
    device: Device = "cpu",
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
    shared
        Where searches of the same space, data, settings and seed share what depends on neither
        board nor budget (`SearchSettings.shares`): warm-up, or all training of a supernet. One that
        finds nothing leaves its own there, others go on from it, to the same result as without.
    workers
        Trial trainings at once, on which the result does not depend; by default one for each CPU,
        and one on an accelerator.
    ray
        Where trial trainings run on Ray instead: ``local``, ``auto`` or ``HOST:PORT``.
    device
        Where to train; ``auto`` takes an accelerator if there is one.
    progress
        Called after every round and every trial training.

    Raises
    ------
    BudgetError
        Before any training, if not even the smallest network of the space fits.
    ConfigError
        If the data set has another input shape or number of classes than the space, if batches
        cannot be divided among the processes, if the device is not here, or if Ray is not.
    """
    settings = settings or SearchSettings()
    everyone = ranks()
    everyone.check_batch(settings.batch_size)
    checkpoint = checkpoint or Checkpoint()
    progress = progress or (lambda phase, done, total, numbers: None)
    where = find_device(device)
    if ray is not None and where.type != "cpu":
        raise ConfigError(
            f"trainings on Ray must run on the CPU, but device={device}; leave out one of the two"
        )
    keep_freed_memory()

    def compete(
        candidates: list[Candidate],
        folds: Sequence[DataSet],
        more: More | None = None,
        joining: int = 0,
        begins: Mapping[Choice, State] = MappingProxyType({}),
    ) -> list[Candidate]:
        recipe = settings.trial_of(inherits=bool(begins))
        finals = [] if begins else finals_of(data, settings, seed, folds=len(folds))
        with gathered(recipe, where, workers=workers, ray=ray) as crew:
            return trials(
                candidates,
                folds,
                recipe,
                seed=seed,
                finals=finals,
                checkpoint=checkpoint,
                progress=lambda done, total: progress("trials", done, total, {}),
                more=more,
                joining=joining,
                crew=crew,
                device=where,
                begins=begins,
            )

    if isinstance(space, OpenSpace):
        return _search_open(space, data, board, budget, settings, seed, compete)
    front_end = front_end_costs(data.meaning, space.input_shape)
    problem = Problem(space, board, budget, front_end=front_end)
    problem.check_feasible()
    _check_data(space, data)
    data = data.seen_as(space.input_shape)
    training, gating, ranking = divide(data.train, PARTS, generator_for(seed, "parts"))
    parts = training, gating, ranking
    judged = judged_on(data, [training, gating], ranking)
    name, reason = choose(
        problem, settings, examples=len(judged.train.labels), processes=everyone.size
    )
    run = strategy(name)(problem, settings, seed)
    with threads(settings.trial.threads):
        run.prepare(
            parts,
            everyone,
            checkpoint=checkpoint,
            shared=shared,
            progress=progress,
            device=where,
        )

    def tried() -> list[Candidate]:
        with threads(settings.trial.threads):
            known = run.score(uniform_networks(problem), parts)
            proposed = run.propose(parts)
            candidates = _candidates(problem, proposed, known)
            begins = run.begins([each.choice for each in candidates])
        return compete(candidates, [judged], begins=begins)

    found = everyone.once(tried)
    likely = run.most_likely()
    return SearchResult(
        found,
        name,
        reason,
        None if likely is None else problem.costs(likely),
        run.history,
        run.gate_history,
        data.accuracy_name,
    )


def _candidates(problem: Problem, proposed: Scored, uniform: Scored) -> list[Candidate]:
    """Different networks; a uniform one that was proposed counts as proposed."""
    different: dict[Choice, Candidate] = {}
    for origin, scored in (("search", proposed), ("uniform", uniform)):
        for choice, loss in scored.items():
            architecture, costs = problem.space.architecture(choice), problem.costs(choice)
            candidate = Candidate(
                origin, choice, architecture, costs, problem.space, supernet_loss=loss
            )
            different.setdefault(problem.space.canonical(choice), candidate)
    return list(different.values())


def _search_open(
    space: OpenSpace,
    data: DataSet,
    board: Board,
    budget: Budget,
    settings: SearchSettings,
    seed: int,
    compete: Callable[..., list[Candidate]],
) -> SearchResult:
    """Draw from all families, then near the best of them; see `micronas.nas.open_search`."""
    if settings.strategy not in ("auto", "halving"):
        raise ConfigError(
            "a space of several families must be searched by halving, since its networks share no "
            f"weights, but search.strategy={settings.strategy}; leave it out, or give a space of "
            "one family"
        )
    if settings.supernet == "space":
        raise ConfigError(
            "weights can be trained on a space of one family only, but search.supernet=space and "
            f"'{space.title}' has several; leave it out"
        )
    problem = OpenProblem(space, board, budget, known=data.meaning)
    problem.check_feasible()
    for member in space.members():
        _check_data(member, data)
    folds = folds_of(data, settings, seed)
    source = random.Random(f"{seed} draw")

    def tried() -> list[Candidate]:
        return compete(
            problem.first(settings.draws, source) + problem.rivals(data),
            folds,
            more=lambda tried: problem.next(tried, settings.draws // 2, source),
            joining=settings.draws // 2,
        )

    reason = "networks of several families share no weights"
    return SearchResult(ranks().once(tried), "halving", reason, accuracy_name=data.accuracy_name)


def folds_of(data: DataSet, settings: SearchSettings, seed: int) -> list[DataSet]:
    """Return data sets that train and rank the networks of an open space.

    One, with a fifth of the training part for ranking; or several where groups are few, each with
    another share of the groups, so that every group ranks.
    """
    generator = generator_for(seed, "parts")
    count = fold_count(data.train, settings)
    if count == 1:
        training, gating, ranking = divide(data.train, PARTS, generator)
        return [judged_on(data, [training, gating], ranking)]
    parts = divide(data.train, (1 / count,) * count, generator)
    return [
        judged_on(data, parts[:place] + parts[place + 1 :], ranking)
        for place, ranking in enumerate(parts)
    ]


def finals_of(data: DataSet, settings: SearchSettings, seed: int, *, folds: int) -> list[DataSet]:
    """Return what the last networks are trained and ranked on beside so many folds."""
    found = []
    for place in range(folds, settings.final_folds):
        *training, ranking = divide(data.train, PARTS, generator_for(seed, "parts", place))
        found.append(judged_on(data, training, ranking))
    return found


def fold_count(training: Split, settings: SearchSettings) -> int:
    """Return how many networks a trial trains, see `SearchSettings.folds`."""
    if settings.folds != "auto":
        return settings.folds
    return _FOLDS if _FOLDS <= len(torch.unique(training.groups)) < FEW_GROUPS else 1


def judged_on(data: DataSet, training: Sequence[Subset], ranking: Split) -> DataSet:
    """Return a data set of parts of the training set, of which the last judges."""
    part = Subset(data.train, torch.cat([each.index for each in training]))
    return replace(
        data, train=part, validation=ranking, test=None, final=None, detection=None, sliding=None
    )


def _check_data(space: Searchable, data: DataSet) -> None:
    data.view.check(data.input, space.input_shape)
    if len(data.classes) != space.outputs:
        raise ConfigError(
            f"data set and search space must agree on the number of classes: "
            f"data={len(data.classes)}, space '{space.title}'={space.outputs}; edit `classes` of "
            "the space"
        )
