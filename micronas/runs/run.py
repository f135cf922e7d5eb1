"""Search, train, quantise, export and verify one network, and write its run folder.

Every step saves its state in the run folder; a run that was killed goes on from there and ends in
the same bytes. What the folder holds: `micronas.runs.folder`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet, Split
from micronas.errors import ConfigError
from micronas.evaluation.plain import plain_rival
from micronas.evaluation.scores import judge
from micronas.export.verify import verify_and_measure
from micronas.graph.ir import Graph
from micronas.hardware.code import operators_of
from micronas.hardware.costs import estimates, measure, on_device
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.profile import listening
from micronas.hardware.targets import TFLM
from micronas.nas.candidate import Candidate, ahead_of_other_origin
from micronas.nas.distributed import Ranks, joined
from micronas.nas.search import SearchResult, search
from micronas.objectives.base import Objective
from micronas.progress import READING, Progress
from micronas.runs.estimate import estimate_search
from micronas.runs.folder import Folder
from micronas.runs.history import (
    History,
    evenly,
    layer_history,
    search_history,
    training_history,
    watched,
)
from micronas.runs.settings import RunSettings, TrainSettings
from micronas.runs.trained import trained_network
from micronas.space.open_space import OpenSpace
from micronas.space.searchable import Architecture, Searchable
from micronas.space.space import Space
from micronas.tasks.arrays.settings import FILE, ArraySettings
from micronas.tasks.arrays.store import digest, save
from micronas.tasks.registry import load as load_data
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.devices import describe_device, find_device
from micronas.train.distill import distillation
from micronas.train.finetune import finetune
from micronas.train.loop import Epoch, Loss, fit, generator_for
from micronas.train.recipe import going_on

_METRICS_VERSION = 1
Metrics = dict[str, Any]
Kind = TypeVar("Kind", bound=TrainSettings)
_VERIFIED = 100
"""Examples on which TFLM and integer execution are compared; as many random inputs follow."""

_CHECKS = 3
"""Checks of a finished network: verification on TFLM, its answers, and layer by layer."""


@dataclass(frozen=True)
class Trained:
    """A network that was trained, quantised, exported and checked."""

    architecture: Architecture
    model: bytes
    """The .tflite file."""
    metrics: Metrics
    history: History
    """History that a report shows beside the metrics; see `micronas.runs.history`."""


def run_search(
    settings: RunSettings,
    folder: Path,
    *,
    progress: Progress,
    data: DataSet | None = None,
    space: Searchable | OpenSpace | None = None,
    shared: Path | None = None,
    workers: int | None = None,
    ray: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[SearchResult, Trained]:
    """Search for a network, train it and write the run folder.

    Under ``torchrun`` all processes search together; the first alone trains the found network,
    writes and reports, and all return the same.

    Parameters
    ----------
    folder
        A new folder, or that of an earlier run of the same settings, which is continued.
    progress
        Told after every step that was saved.
    data
        The data set; read as the settings say when left out. With ``data.task=arrays`` it is kept
        in the folder, and its config.yaml repeats the run.
    space
        What is searched, such as a module that `convert` made a space of; read as the settings
        say when left out, with the data's number of classes.
    shared
        A file in which runs of the same space, data, search settings and seed share what their
        supernets have in common; see `micronas.nas.search.search`.
    workers
        Trial trainings at once, on which nothing that is written depends; by default one for each
        CPU.
    ray
        Where trial trainings run on Ray instead; see `micronas.nas.search.search`.
    tell
        Told in lines what was read and, before a search that begins, how long it will take.

    Raises
    ------
    BudgetError
        Before data is read, if no network of the space can fit.
    ConfigError
        If the folder holds a run of other settings.
    """
    find_device(settings.device)
    settings.check_feasible(space, known=None if data is None else data.meaning)
    with joined() as everyone:
        return _run_search(
            settings,
            folder,
            everyone,
            progress,
            data,
            space,
            _Trainings(shared, workers, ray),
            tell if everyone.first else None,
        )


class _Trainings(NamedTuple):
    """The file that supernets share, and where trial trainings run: see `run_search`."""

    shared: Path | None
    workers: int | None
    ray: str | None


def _run_search(
    settings: RunSettings,
    folder: Path,
    everyone: Ranks,
    progress: Progress,
    data: DataSet | None,
    given: Searchable | OpenSpace | None,
    trainings: _Trainings,
    tell: Callable[[str], None] | None,
) -> tuple[SearchResult, Trained]:
    settings = everyone.once(lambda: _with_arrays(settings, folder, data))
    run = everyone.once(lambda: Folder(folder, settings.model_dump(mode="json")))
    if tell is not None and data is None:
        progress(READING, 0, 1, {})
    loaded = data or load_data(settings.data)
    loaded = replace(loaded, objective=loaded.objective.ranked_by(settings.search.rank_by))
    checkpoint = everyone.once(run.claim)
    everyone.once(lambda: _keep_arrays(settings, loaded))
    update = {"classes": len(loaded.classes)}
    space = given or settings.load_space().model_copy(update=update)
    if tell is not None:
        _tell_of(settings, loaded, tell)
        # how fast others' machines are is not known
        begins = checkpoint.load("search") is None and checkpoint.load("trials") is None
        if trainings.ray is None and begins:
            progress("estimate", 0, 1, {})
            tell(str(estimate_search(space, loaded, settings, workers=trainings.workers)))
    shared = trainings.shared
    result = search(
        space,
        loaded,
        board=settings.load_board(),
        budget=settings.budget,
        settings=settings.search,
        seed=settings.seed,
        checkpoint=checkpoint,
        shared=None if shared is None else Checkpoint(shared, yields=True),
        workers=trainings.workers,
        ray=trainings.ray,
        device=settings.device,
        progress=progress,
    )

    def finish() -> Trained:
        trained = _train(
            result.winner.architecture,
            loaded,
            settings,
            kind=space.kind,
            checkpoint=checkpoint,
            progress=progress,
            begin=result.begin,
        )
        trained.metrics["search"] = _search_metrics(result, loaded.objective)
        trained.history.update(search_history(result))
        run.write(
            trained.architecture, trained.model, history=trained.history, metrics=trained.metrics
        )
        return trained

    return result, everyone.once(finish)


def _with_arrays(settings: Kind, folder: Path, data: DataSet | None) -> Kind:
    """Return settings that name the arrays that were given, which go into the run folder."""
    if data is None or not isinstance(settings.data, ArraySettings):
        return settings
    update = {"path": folder / FILE, "sha256": digest(data)}
    return settings.model_copy(update={"data": settings.data.model_copy(update=update)})


def _keep_arrays(settings: TrainSettings, data: DataSet) -> None:
    if isinstance(settings.data, ArraySettings):
        save(data, settings.data.path)


def _tell_of(settings: TrainSettings, data: DataSet, tell: Callable[[str], None]) -> None:
    tell(data.summary)
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
    progress: Progress,
    data: DataSet | None = None,
    tell: Callable[[str], None] | None = None,
) -> Trained:
    """Train one given network as a found one is trained, and write the run folder.

    Parameters
    ----------
    tell
        Told in lines what was read.
    """
    find_device(settings.device)
    architecture.graph()  # refuses what is still to be chosen
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
    checkpoint = run.claim()
    _keep_arrays(settings, data)
    trained = _train(
        architecture,
        data,
        settings,
        kind=settings.data.task,
        checkpoint=checkpoint,
        progress=progress,
    )
    trained.history["network"] = architecture.drawing(())
    run.write(trained.architecture, trained.model, history=trained.history, metrics=trained.metrics)
    return trained


def _train(
    architecture: Architecture,
    data: DataSet,
    settings: TrainSettings,
    *,
    kind: str,
    checkpoint: Checkpoint,
    progress: Progress,
    begin: State | None = None,
) -> Trained:
    read, data = data, data.seen_as(architecture.input_shape)
    described = describe(
        classes=data.classes,
        meaning=data.meaning,
        channels=data.input[2],
        outputs=data.objective.described(),
    )
    board, device = settings.load_board(), find_device(settings.device)
    objective = data.objective
    generator = generator_for(settings.seed, "initial weights")
    network = architecture.build(generator)
    recipe = settings.train
    if begin is not None:
        network.load_state_dict(begin)
        recipe = going_on(recipe)
    split, losses, shown = data.final or data.train, _losses(settings, objective), watched(data)
    progress("training", 0, settings.train.epochs, {})
    fit(
        network,
        split,
        recipe,
        seed=settings.seed,
        objective=objective,
        loss=losses[0],
        checkpoint=checkpoint,
        progress=_epochs("training", progress, objective),
        validation=shown,
        device=device,
    )
    float_graph = architecture.float_graph(network)
    progress("quantization", 0, settings.quantize.epochs, {})
    quantized = finetune(
        float_graph,
        split,
        settings.quantize,
        seed=settings.seed,
        objective=objective,
        loss=losses[1],
        checkpoint=checkpoint,
        progress=_epochs("quantization", progress, objective),
        validation=shown,
        device=device,
    )
    progress("checks", 0, _CHECKS, {})
    graph = quantized.graph()
    model = to_flatbuffer(graph, metadata=described)
    real = _examples(graph, data.test or data.validation)
    examples = np.concatenate([real, _noise(real, settings.seed)])
    checked, arena = verify_and_measure(model, examples)
    progress("checks", 1, _CHECKS, {})
    judged = judge(network, graph, data)
    rival = plain_rival(read, judged)
    progress("checks", 2, _CHECKS, {})
    front_end = front_end_costs(data.meaning, data.input)
    operators = operators_of(graph)
    limits = settings.budget.on(board, operators=operators, front_end=front_end)
    left = limits.left()
    heard = settings.budget.listening(front_end)
    measured = partial(
        measure, board=board, kind=kind, outputs=architecture.outputs, listening=heard
    )
    costs = measured(architecture.graph())
    target, flash_bytes, largest_arena = board.target, len(model), arena.total
    if not target.reads_file:
        exact = measured(graph)
        flash_bytes, largest_arena = exact.flash_bytes, exact.arena_bytes
    metrics: Metrics = {
        "version": _METRICS_VERSION,
        "board": board.name,
        "engine": board.engine or TFLM,
        "network": str(architecture),
        "macs": costs.macs,
        "ops": costs.ops,
        "flash_bytes": flash_bytes,
        "arena_bytes": costs.arena_bytes,
        "arena_head_bytes": costs.arena_head_bytes,
        "arena_is_upper_bound": board.arena.is_upper_bound,
        "arena_assumes": board.arena.assumes,
        "host_arena_bytes": arena.total,
        "host_arena_head_bytes": arena.head,
        "latency_ms": costs.latency_ms,
        "latency_form": board.latency_model(kind).form,
        "energy_mj": costs.energy_mj,
        **objective.metrics(judged),
        **({} if rival is None else {"plain": rival}),
        "tflm_mismatches": checked.mismatches,
        "tflm_bytes_compared": checked.bytes_compared,
        "budget": limits.given(),
        "used": limits.used(costs),
        "fits": limits.fits(costs)
        and (costs.has_int4 or largest_arena <= left["sram"])
        and flash_bytes <= left["flash"],
        "fits_estimates": estimates(board, limits, kind=kind),
        "device": on_device(
            board,
            operators,
            front_end,
            flash_bytes=flash_bytes,
            arena_bytes=costs.arena_required_bytes,
            tail_bytes=costs.arena_bytes - costs.arena_head_bytes,
            latency_ms=costs.latency_ms,
        )
        | {"beside": vars(limits.beside)},
        "listening": listening(graph, board, front_end, given=heard, latency_ms=costs.latency_ms),
        "decision": {**judged.decision, "ignored": list(data.ignored)},
    }
    history = training_history(
        board=board,
        data=data,
        checkpoint=checkpoint,
        outcome={"classes": list(data.classes), **objective.figures(judged)},
    )
    history["layers"] = layer_history(float_graph, graph, real)
    history["example"] = real[0].reshape(-1).tolist()  # firmware checks itself on it
    progress("checks", _CHECKS, _CHECKS, {})
    return Trained(architecture, model, metrics, history)


def _losses(settings: TrainSettings, objective: Objective) -> tuple[Loss | None, Loss | None]:
    """Losses of float training and of quantisation, with a teacher where there is one."""
    if settings.distill is None:
        return None, None
    teacher = trained_network(settings.distill.teacher)
    if teacher is None:
        raise ConfigError(
            "a teacher must be a run folder with its checkpoint, but "
            f"{str(settings.distill.teacher)!r} is not; train one with micronas train"
        )
    coefficient, temperature = settings.distill.coefficient, settings.distill.temperature
    first, second = (
        distillation(
            teacher,
            objective=objective,
            coefficient=coefficient,
            temperature=temperature,
            label_smoothing=recipe.label_smoothing,
        )
        for recipe in (settings.train, settings.quantize)
    )
    return first, second


def _epochs(phase: str, progress: Progress, objective: Objective) -> Callable[[Epoch], None]:
    name = f"validation_{objective.shown_key}"

    def tell(epoch: Epoch) -> None:
        numbers = {"loss": epoch.loss}
        if epoch.validation_score is not None:
            numbers[name] = epoch.validation_score
        progress(phase, epoch.number, epoch.epochs, numbers)

    return tell


def _examples(graph: Graph, split: Split) -> npt.NDArray[np.int8]:
    return quantize_inputs(graph, split.batch(evenly(split, _VERIFIED), None))


def _noise(like: npt.NDArray[np.int8], seed: int) -> npt.NDArray[np.int8]:
    """Random bytes, which reach corners that real examples do not."""
    return np.random.default_rng(seed).integers(-128, 128, like.shape).astype(np.int8)


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
        "ahead_of_best_other_origin": None if ahead is None else ahead.score,
        "ahead_half_width": None if ahead is None else ahead.half_width,
        "ahead_after_epochs": None if ahead is None else ahead.epochs,
        "candidates": [row(candidate) for candidate in result.candidates],
        "most_likely_macs": result.most_likely.macs if result.most_likely else None,
        "history": result.history,
    }
