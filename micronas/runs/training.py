"""Train, quantise, export and check one network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet, Split
from micronas.errors import ConfigError
from micronas.evaluation.plain import plain_rivals
from micronas.evaluation.scores import judge
from micronas.export.verify import verify_and_measure
from micronas.graph.ir import Graph
from micronas.hardware.code import operators_of
from micronas.hardware.costs import estimates, measure, on_device
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.listening import between_calls
from micronas.hardware.profile import listening
from micronas.hardware.targets import TFLM
from micronas.objectives.base import Objective
from micronas.progress import Progress
from micronas.runs.history import (
    History,
    layer_history,
    training_history,
    watched,
)
from micronas.runs.rounding import better_rounding
from micronas.runs.settings import TrainSettings
from micronas.runs.trained import trained_network
from micronas.space.searchable import Architecture
from micronas.splits import evenly
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.devices import find_device
from micronas.train.distill import distillation
from micronas.train.finetune import finetune
from micronas.train.loop import Epoch, Loss, fit, generator_for
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
    trained = finetune(
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
    quantized, rounding = better_rounding(trained, float_graph, data)
    graph = quantized.graph()
    model = to_flatbuffer(graph, metadata=described)
    real = _examples(graph, data.test or data.validation)
    examples = np.concatenate([real, _noise(real, settings.seed)])
    checked, arena = verify_and_measure(model, examples)
    progress("checks", 1, _CHECKS, {})
    judged = judge(network, graph, data)
    rivals = plain_rivals(read, judged)
    progress("checks", 2, _CHECKS, {})
    front_end = front_end_costs(data.meaning, data.input)
    operators = operators_of(graph)
    heard = settings.budget.listening(front_end)
    front_end = between_calls(front_end, graph, board, heard)
    limits = settings.budget.on(board, operators=operators, front_end=front_end)
    left = limits.left()
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
        "rounding": rounding,
        **rivals,
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
    """Return the losses of float training and of quantisation, with a teacher if there is one."""
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
    """Return random bytes, which reach corners that real examples do not."""
    return np.random.default_rng(seed).integers(-128, 128, like.shape).astype(np.int8)
