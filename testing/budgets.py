"""Networks that a search calls fitting, under budgets drawn at random, and their firmware."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.errors import BudgetError
from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application
from micronas.export.firmware.board import with_memory_of
from micronas.export.firmware.project import write_project
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs, Limits
from micronas.hardware.profile import profile
from micronas.nas.problem import Problem
from micronas.space.open_space import OpenSpace, load_space
from micronas.streaming.events import Detector
from micronas.tasks.device import front_end
from micronas.tflite.metadata import placeholder
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly

_PIXELS = {"features": "pixels", "fit": "stretch", "mean": 128.0}
MEANINGS: Mapping[str, Mapping[str, Any]] = {
    "kws": {"features": "mfcc", "window_ms": 40},
    "vww": _PIXELS,
    "images": _PIXELS,
    "ad": {"features": "log-mel", "mean": -4.0, "deviation": 3.0},
    "series": {
        **{"features": "series", "window": 128, "limit": 4.0},
        **{"mean": [0.0] * 6, "deviation": [1.0] * 6},
    },
}
"""What a model file says of its input, by task."""
_SPACES = (
    *("kws_open", "kws_strides", "kws_mixed", "images_open", "vww_small", "ad_open", "ad_small"),
    "series",
)
_BITS = ((8,), (4,), (4, 8))
"""Of the weights of open spaces."""
_TRIES = 100


@dataclass(frozen=True)
class Fitting:
    """A network with random weights that a budget allows."""

    label: str
    model: bytes
    costs: Costs
    limits: Limits
    board: Board
    meaning: Mapping[str, Any]

    @property
    def graph(self) -> Graph:
        return read(self.model)

    @property
    def predicted(self) -> Mapping[str, Any]:
        """What `metrics.json` says of the device."""
        size = len(self.model)
        found: Mapping[str, Any] = profile(
            self.graph, self.board, flash_bytes=size, meaning=self.meaning
        )["device"]
        assert size == self.costs.flash_bytes
        return found


def fitting(board: Board, source: random.Random) -> Fitting:
    """Draw a space, a budget that one of its networks meets, and such a network, as a search does.

    Each limit is left out half of the time: SRAM and flash are then the board's own. Open spaces
    have weights of 8 bits, of 4, or a choice of both.
    """
    for _ in range(_TRIES):
        space = load_space(source.choice(_SPACES))
        if isinstance(space, OpenSpace):
            space = space.model_copy(update={"bits": source.choice(_BITS)})
        budget = Budget(
            sram=_share(board.arena_bytes, source),
            flash=_share(board.flash_bytes, source),
            latency=10 ** source.uniform(1, 3) if source.random() < 0.5 else None,
        )
        meaning = MEANINGS[str(space.task)]
        found = _network(space, board, budget, meaning, source)
        if found is not None:
            return found
    raise AssertionError(f"one of {_TRIES} budgets can be met")


def _share(limit: int, source: random.Random) -> float | None:
    if source.random() < 0.5:
        return None
    return round(math.exp(source.uniform(math.log(limit / 16), math.log(limit))))


def _network(
    space: Any, board: Board, budget: Budget, meaning: Mapping[str, Any], source: random.Random
) -> Fitting | None:
    problem = Problem(space, board, budget, meaning=meaning)
    try:
        problem.check_feasible()
        candidate = problem.draw(1, source)[0]
    except (BudgetError, IndexError):
        return None
    member, choice = candidate.space, candidate.choice
    limits = problem.member(candidate.family, candidate.picks).limits
    assert limits.fits(candidate.costs)
    graph = quantize_randomly(member.resolve(choice), source.randrange(2**31))
    outputs = graph.tensors[graph.outputs[0]].shape[-1]
    label = f"{space.name} {member.architecture(choice)}"
    model = to_flatbuffer(graph, metadata=placeholder(outputs, member.input_shape[2]))
    return Fitting(label, model, candidate.costs, limits, board, meaning)


def write_firmware(found: Fitting, folder: Path) -> None:
    """Write the project of a network, which links only where the board's memory holds it."""
    shape = found.graph.tensors[found.graph.inputs[0]].shape
    outputs = found.graph.tensors[found.graph.outputs[0]].elements
    made = front_end(found.meaning, shape)
    assert made is not None
    write_project(
        found.model,
        folder,
        golden_input=random_inputs(found.graph, 1, seed=0),
        application=Application(made, [], Detector((1,) * outputs)),
        board=with_memory_of(found.board),
    )
