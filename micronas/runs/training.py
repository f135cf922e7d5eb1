"""Train, quantise, export and check one network."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet, Split
from micronas.evaluation.plain import plain_rivals
from micronas.evaluation.scores import judge
from micronas.export.verify import Arena, verify_and_measure
from micronas.graph.ir import Graph
from micronas.hardware.costs import measure
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.standing import standing
from micronas.objectives.base import Objective
from micronas.progress import Progress
from micronas.runs.history import History, layer_history, training_history, watched
from micronas.runs.rounding import better_rounding
from micronas.runs.settings import TrainSettings
from micronas.runs.trained import teacher
from micronas.space.searchable import Architecture
from micronas.splits import evenly
from micronas.tflite.metadata import IGNORED, describe
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.devices import find_device
from micronas.train.distill import distillation
from micronas.train.finetune import finetune
from micronas.train.loop import Epoch, Loss, fit, generator_for
from micronas.train.quantize import QuantizedNetwork
from micronas.train.recipe import going_on

_METRICS_VERSION = 1
Metrics = dict[str, Any]
_VERIFIED = 100
"""Number of examples on which TFLM and integer execution are compared, and of random inputs."""

_CHECKS = 3
"""Number of checks of a finished network: on TFLM, its answers, and layer by layer."""


@dataclass(frozen=True)
class Trained:
    """A network that was trained, quantised, exported and checked."""

    architecture: Architecture
    model: bytes
    """Contents of the .tflite file."""
    metrics: Metrics
    history: History
    """History for reports, beside the metrics; see `micronas.runs.history`."""


def check_early(data: DataSet, settings: TrainSettings) -> None:
    """Raise what would end a run after its training.

    Raises ExportError if names of classes and columns are too long for the model file; ConfigError
    if costs of listening are limited, and the time of a frame or the board's power is unknown.
    """
    metadata(data)
    front_end = front_end_costs(data.meaning, data.input)
    settings.budget.listening(front_end)
    settings.budget.on(settings.load_board(), front_end=front_end)


def metadata(data: DataSet) -> dict[str, bytes]:
    """Return the description of a data set's networks for their files."""
    outputs, usual = data.objective.described(), {*IGNORED} & {*data.classes}
    if not outputs and {*data.ignored} & {*data.classes} != usual:
        outputs["ignored"] = [n for n, each in enumerate(data.classes) if each in data.ignored]
    return describe(
        classes=data.classes, meaning=data.meaning, channels=data.input[2], outputs=outputs
    )


def train_and_check(
    architecture: Architecture,
    data: DataSet,
    settings: TrainSettings,
    *,
    kind: str,
    checkpoint: Checkpoint,
    progress: Progress,
    begin: State | None = None,
) -> Trained:
    """Train a network, quantise it, export it, and check and measure the file.

    Parameters
    ----------
    kind
        Kind of the space, whose latency model applies.
    checkpoint
        Checkpoint of each epoch's state; saved epochs are not repeated.
    begin
        Initial weights; random ones by default.
    """
    read, data = data, data.seen_as(architecture.input_shape)
    network, tuned = _trained(architecture, data, settings, checkpoint, progress, begin)
    progress("checks", 0, _CHECKS, {})
    objective, float_graph = data.objective, architecture.float_graph(network)
    quantized, rounding = better_rounding(tuned, float_graph, data)
    graph = quantized.graph()
    model = to_flatbuffer(graph, metadata=metadata(data))
    real = _examples(graph, data.test or data.validation)
    examples = np.concatenate([real, _noise(real, settings.seed)])
    checked, arena = verify_and_measure(model, examples)
    progress("checks", 1, _CHECKS, {})
    judged = judge(network, graph, data)
    rivals = plain_rivals(read, judged)
    progress("checks", 2, _CHECKS, {})
    metrics: Metrics = {
        "version": _METRICS_VERSION,
        "network": str(architecture),
        **_costs(graph, len(model), arena, data, settings, kind),
        **objective.metrics(judged),
        "rounding": rounding,
        **rivals,
        "tflm_mismatches": checked.mismatches,
        "tflm_bytes_compared": checked.bytes_compared,
        "decision": {**judged.decision, "ignored": list(data.ignored)},
    }
    history = training_history(
        board=settings.load_board(),
        data=data,
        checkpoint=checkpoint,
        outcome={"classes": list(data.classes), **objective.figures(judged)},
    )
    history["layers"] = layer_history(float_graph, graph, real)
    history["example"] = real[0].reshape(-1).tolist()  # firmware checks itself on it
    progress("checks", _CHECKS, _CHECKS, {})
    return Trained(architecture, model, metrics, history)


def _trained(
    architecture: Architecture,
    data: DataSet,
    settings: TrainSettings,
    checkpoint: Checkpoint,
    progress: Progress,
    begin: State | None,
) -> tuple[nn.Module, QuantizedNetwork]:
    """Train a network in float, and a copy of it with rounding."""
    network = architecture.build(generator_for(settings.seed, "initial weights"))
    recipe = settings.train
    if begin is not None:
        network.load_state_dict(begin)
        recipe = going_on(recipe)
    split, objective = data.final_train, data.objective
    losses = _losses(settings, data)
    common: dict[str, Any] = {
        "seed": settings.seed,
        "objective": objective,
        "checkpoint": checkpoint,
        "validation": watched(data),
        "device": find_device(settings.device),
    }
    progress("training", 0, settings.train.epochs, {})
    told = _epochs("training", progress, objective)
    fit(network, split, recipe, loss=losses[0], progress=told, **common)
    progress("quantization", 0, settings.quantize.epochs, {})
    told = _epochs("quantization", progress, objective)
    graph = architecture.float_graph(network)
    return network, finetune(
        graph, split, settings.quantize, loss=losses[1], progress=told, **common
    )


def _costs(
    graph: Graph, size: int, arena: Arena, data: DataSet, settings: TrainSettings, kind: str
) -> Metrics:
    """Return the costs of a finished network, by its file and TFLM where the board reads files."""
    board, front_end = settings.load_board(), front_end_costs(data.meaning, data.input)
    heard = settings.budget.listening(front_end)
    costs = measure(graph, board, kind=kind, listening=heard)
    if board.target.reads_file:
        costs = replace(costs, flash_bytes=size, host_arena_bytes=arena.total)
    stands = standing(graph, board, costs, kind=kind, budget=settings.budget, front_end=front_end)
    return {**stands, "host_arena_bytes": arena.total, "host_arena_head_bytes": arena.head}


def _losses(settings: TrainSettings, data: DataSet) -> tuple[Loss | None, Loss | None]:
    """Return the losses of float training and of quantisation, with a teacher if there is one."""
    if settings.distill is None:
        return None, None
    network = teacher(settings.distill.teacher, data, [data.input])
    coefficient, temperature = settings.distill.coefficient, settings.distill.temperature
    first, second = (
        distillation(
            network,
            objective=data.objective,
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
    """Return random bytes, which reach corners that real examples do not."""
    return np.random.default_rng(seed).integers(-128, 128, like.shape).astype(np.int8)
