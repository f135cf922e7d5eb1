"""Networks that listen: calls at a rhythm, the front end before them, their time and energy."""

from dataclasses import dataclass, replace

from micronas.graph.ir import Graph
from micronas.graph.streaming import streams
from micronas.hardware.board import Board
from micronas.hardware.features import CYCLES, FEATURES, INSTRUCTIONS
from micronas.hardware.front_ends import FrontEndCosts
from micronas.hardware.instructions import Price
from micronas.hardware.targets import WITHOUT_FPU
from micronas.hardware.targets.target import Hopped

_KERNELS_ON_M0PLUS = 3.76
"""Modelled cycles of kernels on a Cortex-M0+ for each instruction of a Cortex-M4."""
_LEAST_CYCLES = 0.5
"""Cycles of an instruction where two are issued at once; rates below are Helium's or an
accelerator's, which the front end does not use."""


@dataclass(frozen=True)
class Listening:
    """Rhythm in which a device calls its network."""

    frames: int
    """Frames per call."""
    frame_ms: float
    """Time per frame."""

    @property
    def hop_ms(self) -> float:
        """Time from one call to the next."""
        return self.frames * self.frame_ms


def hopped_on(graph: Graph, board: Board, frames: int) -> Hopped | None:
    """Return the costs of a network that computes only new rows, `frames` per call.

    None where it does not stream, or the board's kernels compute the window again.
    """
    return board.target.hops(graph, frames) if streams(graph) else None


def between_calls(
    front_end: FrontEndCosts | None, graph: Graph, board: Board, listening: Listening | None
) -> FrontEndCosts | None:
    """Return the front end of a network that listens.

    It keeps a window, or the frames of a call where calls compute new rows alone.
    """
    if front_end is None or listening is None:
        return front_end
    if hopped_on(graph, board, listening.frames) is None:
        return front_end
    return replace(front_end, rows=listening.frames)


def call_ms(board: Board, call: Price) -> float:
    """Return the time of a call in ms."""
    priced = {INSTRUCTIONS: call.instructions, CYCLES: call.cycles}
    return float(board.latency_ms({**dict.fromkeys(FEATURES, 0.0), **priced}))


def joules_per_hour(board: Board, load: float) -> float | None:
    """Return the energy in J of an hour in which a board computes for a share of the time."""
    return None if board.power_mw is None else 3.6 * board.power_mw * load


def front_end_ms(board: Board, front_end: FrontEndCosts, instructions: int) -> float:
    """Return the time in ms of a front end's instructions, at the board's rate for a network's.

    Where that was never fitted, an instruction is a cycle.
    """
    fitted = {model.form: model.ms_per_instruction for model in board.latency if not model.spaces}
    cycle_ms = 1e3 / board.clock_hz
    rate = fitted.get(INSTRUCTIONS) or fitted.get(board.form) or cycle_ms
    rate *= front_end.m0plus_cycles / _KERNELS_ON_M0PLUS if board.core in WITHOUT_FPU else 1.0
    return instructions * max(rate, _LEAST_CYCLES * cycle_ms)
