"""Budgets, and the exact costs of a network on a board.

Imports no torch: a budget that cannot be met is refused before anything heavy is loaded.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo

from micronas.errors import ConfigError
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.front_ends import FrontEndCosts
from micronas.hardware.targets import WITHOUT_FPU
from micronas.quantities import parse
from micronas.settings import Settings
from micronas.tflite.metadata import placeholder

_IN_INTEGERS = 4.8
"""Instructions of a front end in integers, over those in float32."""


def _quantity(dimension: str) -> BeforeValidator:
    def read(value: Any, info: ValidationInfo) -> float | None:
        try:
            return None if value is None else parse(value, dimension)
        except ConfigError as error:
            raise ConfigError(f"budget.{info.field_name}: {error}") from error

    return BeforeValidator(read)


class Budget(Settings):
    """Upper limits in the units of the board; None leaves a cost unlimited.

    Limits are the device's: what the front end and the runtime's code take counts too, unless
    `counts` says otherwise. `sram` and `flash` that are not given are the board's own; of SRAM
    less what stack and interpreter need (`Board.reserved`).
    """

    sram: Annotated[float | None, _quantity("bytes")] = None
    """Tensor arena and the front end's buffers, e.g. ``64 KB``."""
    flash: Annotated[float | None, _quantity("bytes")] = None
    """Model file, runtime code and front end, e.g. ``256 KB``."""
    latency: Annotated[float | None, _quantity("milliseconds")] = None
    """From the last sample to the scores: one step of the front end and one inference, e.g.
    ``100 ms``."""
    macs: Annotated[float | None, _quantity("operations")] = None
    """Multiply-accumulates of one inference, e.g. ``3 MMACs``."""
    counts: Literal["device", "network"] = "device"
    """``network`` limits arena, model file and inference alone; flash that is not given is then
    the board's less a reserve for code."""

    def on(
        self,
        board: Board,
        *,
        operators: Collection[str] = (),
        for_int4: Collection[str] = (),
        front_end: FrontEndCosts | None = None,
    ) -> "Limits":
        """Fill in what the board limits and return the numbers.

        Parameters
        ----------
        operators
            Whose code the runtime holds: those of the network, or all of a space.
        for_int4
            Further ones, of networks with weights of 4 bits alone.
        front_end
            What runs in front of the network; None where it is not known.
        """
        if self.counts == "network":
            beside, unpacking, flash = Beside(), 0, board.model_bytes
        else:
            beside, flash = Beside.on(board, operators, front_end), board.flash_bytes
            code_bytes = board.target.code_bytes
            unpacking = code_bytes({*operators, *for_int4}) - code_bytes(operators)
        return Limits(
            sram=self.sram or board.arena_bytes,
            flash=self.flash or flash,
            latency=self.latency,
            macs=self.macs,
            beside=beside,
            unpacking=unpacking,
        )


@dataclass(frozen=True)
class Beside:
    """Costs of the device beside the network, in the units of limits."""

    sram: int = 0
    """Buffers of the front end outside of the arena, bytes."""
    flash: int = 0
    """Code of the runtime and the front end, bytes."""
    latency: float = 0.0
    """One step of the front end, ms."""
    shared: int = 0
    """What the front end works in between inferences, where that lies in the arena, bytes."""

    @classmethod
    def on(
        cls, board: Board, operators: Collection[str], front_end: FrontEndCosts | None
    ) -> "Beside":
        """Count it on a board."""
        code = board.target.code_bytes(operators)
        if front_end is None:
            return cls(flash=code)
        shared = front_end.work_bytes if board.target.lends_arena else 0
        return cls(
            sram=front_end.buffer_bytes - shared,
            flash=code + front_end.flash_bytes,
            latency=front_end_ms(board, front_end.step_instructions),
            shared=shared,
        )

    def arena(self, arena: float, tail: int) -> float:
        """Return the bytes of an arena for a network and what the front end works in.

        Parameters
        ----------
        arena
            Bytes that the network takes alone.
        tail
            Those among them that it keeps from one inference to the next.
        """
        return max(arena, self.shared + tail)


def front_end_ms(board: Board, instructions: int) -> float:
    """Return how long a board takes for instructions of a front end, as it takes for a network's.

    Where that was never fitted, an instruction is a cycle. Cores without a floating-point unit
    take the integer form, of 4.8 times as many instructions (measured of spectra on a Cortex-M0).
    """
    rate = board.measured_model().ms_per_instruction or 1e3 / board.clock_hz
    return instructions * rate * (_IN_INTEGERS if board.core in WITHOUT_FPU else 1.0)


@dataclass(frozen=True)
class Costs:
    """Exact costs of one network on one board."""

    macs: int
    flash_bytes: int
    """Size of the .tflite file, or of the constants and kernels an engine makes of it."""
    arena_bytes: int
    """Tensor arena on the board: of TFLM, 32-bit structures and the kernels' scratch memory."""
    arena_head_bytes: int
    arena_required_bytes: int
    """Bytes the interpreter needs to start on the board, for some networks more than it uses."""
    host_arena_bytes: int
    """Arena on a 64-bit host: of TFLM, what the `tflite_micro` package reports."""
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
    beside: Beside = Beside()
    """Part of it that the network cannot have."""
    unpacking: int = 0
    """Flash, in bytes, that the runtime takes on top for networks with weights of 4 bits."""

    def spent(self, costs: Costs) -> dict[str, float]:
        """Return what the network alone takes of each limited cost, in the limits' units.

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
        """Share of each limit a network and what runs beside it use; 1 is all of it."""
        limits, beside, spent = self.given(), self._beside(costs.has_int4), self.spent(costs)
        tail = costs.arena_bytes - costs.arena_head_bytes
        spent["sram"] = self.beside.arena(spent["sram"], tail)
        return {
            name: (amount + beside.get(name, 0)) / limits[name] for name, amount in spent.items()
        }

    def fits(self, costs: Costs) -> bool:
        return max(self.used(costs).values()) <= 1.0

    def given(self) -> dict[str, float]:
        """The limits that are set."""
        limits = {name: getattr(self, name) for name in ("sram", "flash", "latency", "macs")}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def left(self, *, int4: bool = False) -> dict[str, float]:
        """Return what the limits leave to a network, of 8 bits or with int4 weights."""
        beside = self._beside(int4)
        return {name: limit - beside.get(name, 0) for name, limit in self.given().items()}

    def _beside(self, int4: bool) -> dict[str, float]:
        return {**vars(self.beside), "flash": self.beside.flash + int4 * self.unpacking}


def estimates(board: Board, limits: Limits, *, kind: str | None = None) -> list[str]:
    """Return the limits, of those that are set, that are judged by an estimate on a board.

    What is said of these may be wrong: nobody measured the board's own arena, code or time.

    Parameters
    ----------
    kind
        Of network, for the board's latency model.
    """
    doubtful = {
        "sram": board.arena.assumes is not None,
        "flash": limits.beside.flash > 0 and board.arena.code_assumes is not None,
        "latency": board.latency_model(kind).status != "validated",
    }
    return [name for name in limits.given() if doubtful.get(name, False)]


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
    target = board.target
    latency = board.latency_ms(target.features(graph), space=kind)
    on_board, on_host = target.plan(graph), target.on_host.plan(graph)
    return Costs(
        macs=count(graph).macs,
        flash_bytes=target.model_bytes(graph, metadata=placeholder(outputs, channels)),
        arena_bytes=on_board.total,
        arena_head_bytes=on_board.head,
        arena_required_bytes=on_board.required,
        host_arena_bytes=on_host.total,
        host_arena_head_bytes=on_host.head,
        latency_ms=latency,
        energy_mj=board.energy_mj(latency),
        has_int4=any(tensor.dtype == "int4" for tensor in graph.tensors.values()),
    )


def on_device(
    board: Board,
    operators: Collection[str],
    front_end: FrontEndCosts | None,
    *,
    flash_bytes: int,
    arena_bytes: int,
    tail_bytes: int,
    latency_ms: float,
) -> dict[str, Any]:
    """Return what a device needs in all, each part apart, as `metrics.json` has it.

    Parameters
    ----------
    operators
        Of the network.
    flash_bytes, arena_bytes, tail_bytes, latency_ms
        Of the network alone: its file, what the interpreter needs to start, what of that is kept
        between inferences, one inference.
    """
    beside = Beside.on(board, operators, front_end)
    found: dict[str, Any] = {
        "sram_bytes": beside.arena(arena_bytes, tail_bytes) + beside.sram,
        "flash_bytes": flash_bytes + beside.flash,
        "latency_ms": latency_ms + beside.latency,
        "code_bytes": board.target.code_bytes(operators),
        "code_bytes_at_os": board.target.code_bytes(operators, kernels="-Os"),
        "code_assumes": board.arena.code_assumes,
        "front_end": None,
    }
    if front_end is not None:
        found["front_end"] = {
            "kind": front_end.kind,
            "buffer_bytes": beside.sram,
            "flash_bytes": front_end.flash_bytes,
            "step_ms": beside.latency,
            "input_ms": front_end_ms(board, front_end.input_instructions),
        }
    return found
