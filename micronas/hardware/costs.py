"""Budgets, and the exact costs of a network on a board.

Imports no torch: a budget that cannot be met is refused before anything heavy is loaded.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo

from micronas.errors import ConfigError
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.features import features
from micronas.hardware.targets import HOST
from micronas.quantities import parse
from micronas.settings import Settings
from micronas.tflite.metadata import placeholder
from micronas.tflite.writer import flatbuffer_bytes


def _quantity(dimension: str) -> BeforeValidator:
    def read(value: Any, info: ValidationInfo) -> float | None:
        try:
            return None if value is None else parse(value, dimension)
        except ConfigError as error:
            raise ConfigError(f"budget.{info.field_name}: {error}") from error

    return BeforeValidator(read)


class Budget(Settings):
    """Upper limits in the units of the board; None leaves a cost unlimited.

    `sram` and `flash` that are not given are the board's own, less what the interpreter and the
    rest of the firmware need (`Board.reserved`).
    """

    sram: Annotated[float | None, _quantity("bytes")] = None
    """Tensor arena, e.g. ``64 KB``."""
    flash: Annotated[float | None, _quantity("bytes")] = None
    """Size of the model file, e.g. ``256 KB``."""
    latency: Annotated[float | None, _quantity("milliseconds")] = None
    """One inference, e.g. ``100 ms``."""
    macs: Annotated[float | None, _quantity("operations")] = None
    """Multiply-accumulates of one inference, e.g. ``3 MMACs``."""

    def on(self, board: Board) -> "Limits":
        """Fill in what the board limits and return the numbers."""
        return Limits(
            sram=self.sram or board.arena_bytes,
            flash=self.flash or board.model_bytes,
            latency=self.latency,
            macs=self.macs,
        )


@dataclass(frozen=True)
class Costs:
    """Exact costs of one network on one board."""

    macs: int
    flash_bytes: int
    """Size of the .tflite file."""
    arena_bytes: int
    """Tensor arena on the board: 32-bit structures, CMSIS-NN's scratch memory."""
    arena_head_bytes: int
    arena_required_bytes: int
    """What the interpreter needs to start on the board; more than it uses for some networks."""
    host_arena_bytes: int
    """Tensor arena of TFLM on a 64-bit host: what the `tflite_micro` package reports."""
    host_arena_head_bytes: int
    latency_ms: float
    energy_mj: float | None
    has_int4: bool = False
    """Weights of some layers have 4 bits."""

    @property
    def ops(self) -> int:
        """The paper's unit: two for each multiply-accumulate."""
        return 2 * self.macs


@dataclass(frozen=True)
class Limits:
    """A budget as numbers: bytes, bytes, milliseconds, multiply-accumulates."""

    sram: float
    flash: float
    latency: float | None = None
    macs: float | None = None

    def spent(self, costs: Costs) -> dict[str, float]:
        """What a network takes of each cost that is limited, in the limits' units.

        SRAM is judged by what the board's interpreter needs to start, or by TFLM's arena on a
        64-bit host where that is more: what is promised can then be checked on a desk. With
        weights of 4 bits the host says nothing: only its kernels unpack whole filters.
        """
        host = 0 if costs.has_int4 else costs.host_arena_bytes
        spent = {
            "sram": max(costs.arena_required_bytes, host),
            "flash": costs.flash_bytes,
            "latency": costs.latency_ms,
            "macs": costs.macs,
        }
        return {name: spent[name] for name in self.given()}

    def used(self, costs: Costs) -> dict[str, float]:
        """Share of each limit a network uses; 1 is all of it."""
        limits = self.given()
        return {name: amount / limits[name] for name, amount in self.spent(costs).items()}

    def fits(self, costs: Costs) -> bool:
        return max(self.used(costs).values()) <= 1.0

    def given(self) -> dict[str, float]:
        """The limits that are set."""
        return {name: limit for name, limit in vars(self).items() if limit is not None}


def measure(graph: Graph, board: Board, *, kind: str, outputs: int) -> Costs:
    """Count the exact costs of a network, of which the shapes are enough.

    Parameters
    ----------
    kind
        Of network, such as ``kws``: boards have latency models for some.
    outputs
        Elements of the output, of which the file describes each.
    """
    channels = graph.tensors[graph.inputs[0]].shape[-1]
    latency = board.latency_ms(features(graph), space=kind)
    on_board, on_host = board.arena.target.plan(graph), HOST.plan(graph)
    return Costs(
        macs=count(graph).macs,
        flash_bytes=flatbuffer_bytes(graph, metadata=placeholder(outputs, channels)),
        arena_bytes=on_board.total,
        arena_head_bytes=on_board.head,
        arena_required_bytes=on_board.required,
        host_arena_bytes=on_host.total,
        host_arena_head_bytes=on_host.head,
        latency_ms=latency,
        energy_mj=board.energy_mj(latency),
        has_int4=any(tensor.dtype == "int4" for tensor in graph.tensors.values()),
    )
