"""Search for a network or take a given one, train and check it, and write its run folder.

Every step saves its state in the run folder; a killed run resumes from it and ends in the same
bytes. `micronas.runs.folder` describes the files.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.nas.candidate import Candidate, ahead_of_other_origin
from micronas.nas.distributed import joined
from micronas.nas.same_data import check_sweep, of_same_data
from micronas.nas.search import SearchResult, search
from micronas.nas.trials import section_of
from micronas.objectives.base import Objective
from micronas.progress import READING, Progress, nobody
from micronas.runs.estimate import estimate_search
from micronas.runs.folder import Folder
from micronas.runs.history import search_history
from micronas.runs.settings import RunSettings, TrainSettings
from micronas.runs.trained import teacher
from micronas.runs.training import Metrics, Trained, check_early, train_and_check
from micronas.space.content import content
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Searchable
from micronas.space.space import Space
from micronas.tasks.arrays.settings import FILE, ArraySettings
from micronas.tasks.arrays.store import digest, save
from micronas.tasks.registry import load as load_data
from micronas.train.devices import describe_device, find_device

Kind = TypeVar("Kind", bound=TrainSettings)


class Shared(NamedTuple):
    """Files that runs share."""

    supernet: Path | None = None
    """Part of the supernets of runs of the same space, data, search settings and seed; see
    `micronas.nas.search.search`."""
    data: Path | None = None
    """What tells the data of a sweep's runs, whose scores are compared, from other data."""


_ALONE = Shared()


def run_search(
    settings: RunSettings,
    folder: Path,
    *,
    progress: Progress = nobody,
    data: DataSet | None = None,
    space: Searchable | OpenSpace | None = None,
    shared: Shared = _ALONE,
    workers: int | None = None,
    ray: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[SearchResult, Trained]:
    """Search for a network, train it and write the run folder.

    Under ``torchrun`` all processes search together; the first alone trains the found network,
    writes and reports, and all return the same. Raises BudgetError before data is read where it is
    known then, if no network of the space can fit; ConfigError if the folder holds a run of other
    settings, another board or other data.

    Parameters
    ----------
    folder
        New folder, or that of an earlier run of the same settings, which is resumed.
    data
        Data set; by default read by the settings. With ``data.task=arrays`` it is stored in the
        folder, and its config.yaml repeats the run.
    space
        Space to search, such as a result of `convert`; by default read by the settings, with the
        data's number of classes.
    workers
        Number of trial trainings at once; by default one for each CPU. No written file depends on
        it.
    tell
        Called with lines on the data read and, before a new search, on its estimated time.
    """
    find_device(settings.device)
    settings.problem(space, known=None if data is None else data.meaning).check_feasible()
    with joined() as everyone:
        tell = tell if everyone.first else None
        settings = everyone.once(lambda: _with_arrays(settings, folder, data))
        run = everyone.once(lambda: Folder(folder, settings.model_dump(mode="json")))
        if tell is not None and data is None:
            progress(READING, 0, 1, {})
        loaded = data or load_data(settings.data)
        loaded = replace(loaded, objective=loaded.objective.ranked_by(settings.search.rank_by))
        update = {"classes": len(loaded.classes)}
        searched = space or settings.load_space().model_copy(update=update)
        inputs = searched.inputs if isinstance(searched, OpenSpace) else [searched.input_shape]
        if settings.distill is not None:  # refused now, not after the search
            teacher(settings.distill.teacher, loaded, inputs)
        # a frame's time, on which load and energy depend, may be known by the data alone
        settings.problem(searched, known=loaded.meaning).check_feasible()
        loaded.check_inputs()
        for each in inputs:
            check_early(loaded.seen_as(each), settings)
        known = {"space": content(searched), "board": settings.board_content()}
        checkpoint = everyone.once(lambda: of_same_data(run.claim(known), loaded, folder))
        if shared.data is not None:
            check_sweep(shared.data, loaded)
        everyone.once(lambda: _keep_arrays(settings, loaded))
        if tell is not None:
            _tell_of(settings, loaded, tell)
            # the speed of other machines is unknown
            begins = checkpoint.load("search") is None and checkpoint.load("trials") is None
            if ray is None and begins:
                progress("estimate", 0, 1, {})
                tell(str(estimate_search(searched, loaded, settings, workers=workers)))
        result = search(
            searched,
            loaded,
            board=settings.load_board(),
            budget=settings.budget,
            settings=settings.search,
            seed=settings.seed,
            checkpoint=checkpoint,
            shared=None
            if shared.supernet is None
            else of_same_data(Checkpoint(shared.supernet, yields=True), loaded, shared.supernet),
            workers=workers,
            ray=ray,
            device=settings.device,
            progress=progress,
        )

        def finish() -> Trained:
            begin = result.begin(settings.train)
            if begin is None:
                checkpoint.discard([section_of(result.winner)])
            trained = train_and_check(
                result.winner.architecture,
                loaded,
                settings,
                kind=searched.kind,
                checkpoint=checkpoint,
                progress=progress,
                begin=begin,
            )
            trained.metrics["search"] = _search_metrics(result, loaded.objective)
            trained.history.update(search_history(result))
            run.write(**vars(trained))
            return trained

        return result, everyone.once(finish)


def _with_arrays(settings: Kind, folder: Path, data: DataSet | None) -> Kind:
    """Return settings with the path and hash of given arrays, which go into the run folder."""
    if data is None or not isinstance(settings.data, ArraySettings):
        return settings
    update = {"path": folder / FILE, "sha256": digest(data)}
    return settings.model_copy(update={"data": settings.data.model_copy(update=update)})


def _keep_arrays(settings: TrainSettings, data: DataSet) -> None:
    if isinstance(settings.data, ArraySettings):
        save(data, settings.data.path)


def _tell_of(settings: TrainSettings, data: DataSet, tell: Callable[[str], None]) -> None:
    tell(data.summary)
    if (doubt := data.doubt()) is not None:
        tell(doubt)
    if settings.device != "cpu":
        tell(describe_device(settings.device))
    if data.test is None and data.detection is None:
        tell(
            "the data has no test part: figures will be of validation, which is watched during "
            "training but never trained on"
        )


def run_training(
    architecture: Space,
    settings: TrainSettings,
    folder: Path,
    *,
    progress: Progress = nobody,
    data: DataSet | None = None,
    tell: Callable[[str], None] | None = None,
) -> Trained:
    """Train one given network like the winner of a search, and write the run folder."""
    find_device(settings.device)
    architecture.graph()  # refuses open decisions
    shape = architecture.model_dump(mode="json")
    settings = _with_arrays(settings, folder, data)
    run = Folder(folder, {**settings.model_dump(mode="json"), "architecture": shape})
    data = data or load_data(settings.data)
    data.view.check(data.input, architecture.input_shape)
    if len(data.classes) != architecture.classes:
        raise ConfigError(
            f"data set and architecture must agree on the number of classes: "
            f"data={len(data.classes)}, architecture={architecture.classes}; edit `classes` of "
            "the architecture"
        )
    if tell is not None:
        _tell_of(settings, data, tell)
    data.check_inputs()
    check_early(data.seen_as(architecture.input_shape), settings)
    checkpoint = of_same_data(run.claim({"board": settings.board_content()}), data, folder)
    _keep_arrays(settings, data)
    trained = train_and_check(
        architecture,
        data,
        settings,
        kind=settings.data.task,
        checkpoint=checkpoint,
        progress=progress,
    )
    trained.history["network"] = architecture.drawing(())
    run.write(**vars(trained))
    return trained


def _search_metrics(result: SearchResult, objective: Objective) -> Metrics:
    key, measure = objective.shown_key, objective.shown

    def row(candidate: Candidate) -> Metrics:
        return {
            "origin": candidate.origin,
            "network": str(candidate),
            "macs": candidate.costs.macs,
            "latency_ms": candidate.costs.latency_ms,
            "arena_bytes": candidate.costs.arena_bytes,
            "trial_epochs": candidate.trial_epochs,
            f"trial_{key}": candidate.trial_score,
            "trial_loss": candidate.trial_loss,
            "decisions": candidate.decisions,
        }

    ahead = ahead_of_other_origin(result.candidates)
    return {
        "strategy": result.strategy,
        "strategy_reason": result.reason,
        "winner": result.winner.origin,
        "ranked_by": objective.rank_by,
        "measure": {
            "key": key,
            "name": measure.name,
            "unit": measure.unit,
            "larger": measure.larger,
        },
        "ahead_of_best_other_origin": ahead and ahead.score,
        "ahead_half_width": ahead and ahead.half_width,
        "ahead_after_epochs": ahead and ahead.epochs,
        "candidates": [row(candidate) for candidate in result.candidates],
        "most_likely_macs": result.most_likely and result.most_likely.macs,
        "history": result.history,
    }
