"""Budgets, and exact costs of a network on a board.

Imports no torch, so that an impossible budget is refused before anything heavy is loaded.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo, model_validator

from micronas.errors import BudgetError, ConfigError
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.graph.memory import ArenaPlan
from micronas.hardware.board import Board
from micronas.hardware.front_ends import FrontEndCosts
from micronas.hardware.listening import Listening, call_ms, front_end_ms, hopped_on, joules_per_hour
from micronas.quantities import parse
from micronas.settings import Settings
from micronas.tflite.metadata import placeholder


def _quantity(dimension: str) -> BeforeValidator:
    def read(value: Any, info: ValidationInfo) -> float | None:
        try:
            return None if value is None else parse(value, dimension)
        except ConfigError as error:
            raise ConfigError(f"budget.{info.field_name}: {error}") from error

    return BeforeValidator(read)


class Budget(Settings):
    """Upper limits in the units of the board; None leaves a cost unlimited.

    Limits are the device's: front end and runtime code count too, unless `counts` is ``network``.
    `sram` and `flash` default to the board's own, SRAM less what stack and interpreter need
    (`Board.reserved`).
    """

    sram: Annotated[float | None, _quantity("bytes")] = None
    """Tensor arena and the front end's buffers, e.g. ``64 KB``."""
    flash: Annotated[float | None, _quantity("bytes")] = None
    """Model file, runtime code and front end, e.g. ``256 KB``."""
    latency: Annotated[float | None, _quantity("milliseconds")] = None
    """Time from last sample to scores: one step of the front end and one inference, e.g.
    ``100 ms``."""
    macs: Annotated[float | None, _quantity("operations")] = None
    """Multiply-accumulates of one inference, e.g. ``3 MMACs``."""
    hop: Annotated[float | None, _quantity("milliseconds")] = None
    """Time from one call to the next of a network that listens all the time, e.g. ``100 ms``.
    Networks that stream compute only new rows on ``engine=micronas``; all others compute their
    window again."""
    load: Annotated[float | None, _quantity("share")] = None
    """Share of the processor's time while it listens, front end included, e.g. ``5%``; needs
    `hop`, with which it is at most 100 %."""
    energy: Annotated[float | None, _quantity("joules")] = None
    """Energy of an hour of listening while the processor computes, e.g. ``20 J``; needs `hop`, and
    a board whose power is known."""
    counts: Literal["device", "network"] = "device"
    """``network`` limits arena, model file and inference alone; flash then defaults to the board's
    less a reserve for code."""

    @model_validator(mode="after")
    def _listens(self) -> "Budget":
        if self.hop is None and (self.load or self.energy):
            raise ValueError("load and energy need hop, the time between calls: budget.hop=100ms")
        if self.load is not None and self.load > 1:
            raise ValueError(
                f"load must be at most the whole time, but is {100 * self.load:g} %; write "
                "budget.load=5%"
            )
        return self

    def listening(self, front_end: FrontEndCosts | None) -> Listening | None:
        """Return the frames of a call, or None without a `hop`.

        Raises ConfigError if `hop` is no whole number of frames, or the time of a frame is not
        known.
        """
        if self.hop is None:
            return None
        frame = front_end.frame_ms if front_end else None
        frames = round(self.hop / frame) if frame else 0
        if not frame or frames < 1 or abs(frames * frame - self.hop) > 1e-6 * self.hop:
            known = (
                f"a frame is {frame:g} ms; give a multiple of that"
                if frame
                else "the time of a frame is not known; leave it out, or take a run or a .tflite "
                "file of audio or of a series with times"
            )
            raise ConfigError(
                f"a hop must be a whole number of frames of the input, but is {self.hop:g} ms, and "
                f"{known}"
            )
        return Listening(frames, frame)

    def on(
        self,
        board: Board,
        *,
        operators: Collection[str] = (),
        for_int4: Collection[str] = (),
        front_end: FrontEndCosts | None = None,
    ) -> "Limits":
        """Return the limits as numbers, those left out from the board.

        The runtime holds the code of `operators`, those of the network or all of a space, and of
        those `for_int4` in networks with weights of 4 bits; the front end is None where it is not
        known. Raises ConfigError if `energy` is limited and the board's power is not known, and
        BudgetError if the board has less SRAM or flash than the budget.
        """
        for name, whole in (("sram", board.sram_bytes), ("flash", board.flash_bytes)):
            limit = getattr(self, name)
            if limit is not None and limit > whole:
                raise BudgetError(
                    f"budget.{name} must be at most what the board has, but is {limit:,.0f} B, and "
                    f"{board.name} has {whole:,} B; leave it out for all that is free"
                )
        if self.energy is not None and board.power_mw is None:
            raise ConfigError(
                f"budget.energy must be for a board whose power is known, but {board.name} has no "
                "power_mw; add it to a file of the board, or limit budget.load"
            )
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
            # a network that takes longer than the hop never catches up
            load=self.load or (1.0 if self.hop else None),
            energy=self.energy,
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
    """Time of one step of the front end, ms."""
    shared: int = 0
    """Work memory of the front end between inferences, where it lies in the arena, bytes."""
    load: float = 0.0
    """Share of the time that the front end takes."""
    energy: float = 0.0
    """Energy of the front end per hour, J."""

    @classmethod
    def on(
        cls, board: Board, operators: Collection[str], front_end: FrontEndCosts | None
    ) -> "Beside":
        """Count the costs on a board."""
        code = board.target.code_bytes(operators)
        if front_end is None:
            return cls(flash=code)
        shared = front_end.work_bytes if board.target.lends_arena else 0
        step = front_end_ms(board, front_end, front_end.step_instructions)
        load = step / front_end.frame_ms if front_end.frame_ms else 0.0
        return cls(
            sram=front_end.buffer_bytes - shared,
            flash=code + front_end.flash_bytes,
            latency=step,
            shared=shared,
            load=load,
            energy=joules_per_hour(board, load) or 0.0,
        )

    def arena(self, arena: float, tail: int) -> float:
        """Return the bytes of an arena, whose tail stays, with the front end's work memory."""
        return max(arena, self.shared + tail)


@dataclass(frozen=True)
class Costs:
    """Exact costs of one network on one board."""

    macs: int
    flash_bytes: int
    """Size of the .tflite file, or of an engine's constants and kernels."""
    arena_bytes: int
    """Tensor arena on the board, with TFLM's 32-bit structures and the kernels' scratch memory."""
    arena_head_bytes: int
    arena_required_bytes: int
    """Bytes the interpreter needs to start on the board, for some networks more than it uses."""
    host_arena_bytes: int
    """Arena on a 64-bit host, for TFLM as the `tflite_micro` package reports it."""
    host_arena_head_bytes: int
    latency_ms: float
    energy_mj: float | None
    has_int4: bool = False
    """Whether weights of some layers have 4 bits."""
    load: float | None = None
    """Share of the time that calls take, where the network listens."""
    energy_j_per_hour: float | None = None
    """Energy of these calls per hour, where the board's power is known."""

    @property
    def ops(self) -> int:
        """Operations, the paper's unit: two per multiply-accumulate."""
        return 2 * self.macs


_LIMITED = ("sram", "flash", "latency", "macs", "load", "energy")


@dataclass(frozen=True)
class Limits:
    """A budget as numbers: bytes, bytes, ms, multiply-accumulates, a share, J per hour."""

    sram: float
    flash: float
    latency: float | None = None
    macs: float | None = None
    load: float | None = None
    energy: float | None = None
    beside: Beside = Beside()
    """Part of the limits that the network cannot have."""
    unpacking: int = 0
    """Further flash of the runtime for networks with weights of 4 bits, bytes."""

    def spent(self, costs: Costs) -> dict[str, float]:
        """Return the limited costs of the network alone, in the limits' units.

        SRAM is what the board's interpreter needs to start, or TFLM's arena on a 64-bit host where
        that is more, so that the promise can be checked on a computer. With weights of 4 bits the
        host does not count: only its kernels unpack whole filters.
        """
        host = 0 if costs.has_int4 else costs.host_arena_bytes
        spent = {
            "sram": max(costs.arena_required_bytes, host),
            "flash": costs.flash_bytes,
            "latency": costs.latency_ms,
            "macs": costs.macs,
            "load": costs.load or 0.0,
            "energy": costs.energy_j_per_hour or 0.0,
        }
        return {name: spent[name] for name in self.given()}

    def used(self, costs: Costs) -> dict[str, float]:
        """Return the share of each limit that a network and what runs beside it use."""
        limits, beside, spent = self.given(), self._beside(costs.has_int4), self.spent(costs)
        tail = costs.arena_bytes - costs.arena_head_bytes
        spent["sram"] = self.beside.arena(spent["sram"], tail)
        return {
            name: (amount + beside.get(name, 0)) / limits[name] for name, amount in spent.items()
        }

    def fits(self, costs: Costs) -> bool:
        return max(self.used(costs).values()) <= 1.0

    def given(self) -> dict[str, float]:
        """Return the limits that are set."""
        return {name: limit for name in _LIMITED if (limit := getattr(self, name)) is not None}

    def left(self, *, int4: bool = False) -> dict[str, float]:
        """Return what the limits leave to a network, with `int4` weights or without."""
        beside = self._beside(int4)
        return {name: limit - beside.get(name, 0) for name, limit in self.given().items()}

    def _beside(self, int4: bool) -> dict[str, float]:
        return {**vars(self.beside), "flash": self.beside.flash + int4 * self.unpacking}


def estimates(board: Board, limits: Limits, *, kind: str | None = None) -> list[str]:
    """Return the names of the set limits that are judged by an estimate on a board.

    Their verdicts may be wrong: the board's own arena, code or time was not measured.
    """
    doubtful = {
        "sram": board.arena.assumes is not None,
        "flash": limits.beside.flash > 0 and board.arena.code_assumes is not None,
        **dict.fromkeys(
            ("latency", "load", "energy"), board.latency_model(kind).status != "validated"
        ),
    }
    return [name for name in limits.given() if doubtful.get(name, False)]


def measure(
    graph: Graph, board: Board, *, kind: str | None, listening: Listening | None = None
) -> Costs:
    """Count the exact costs of a network; its shapes are enough.

    Boards have latency models for some kinds of networks, such as ``kws``. Load and energy follow
    from the frames of a call (`listening`). Where a call computes only new rows, arena, flash and
    latency are those of the longest call.
    """
    channels, target = graph.tensors[graph.inputs[0]].shape[-1], board.target
    hopped = hopped_on(graph, board, listening.frames) if listening else None
    if hopped is None:
        latency = mean = board.latency_ms(target.features(graph), space=kind)
        on_board, on_host = target.plan(graph), target.on_host.plan(graph)
        scores = graph.tensors[graph.outputs[0]].elements
        flash = target.model_bytes(graph, metadata=placeholder(scores, channels))
    else:
        latency, mean = (call_ms(board, each) for each in (hopped.worst, hopped.mean))
        on_board = on_host = hopped.plan
        flash = hopped.flash_bytes
    load = mean / listening.hop_ms if listening else None
    costs = counted(graph, board, on_board, on_host, flash, latency)
    energy = None if load is None else joules_per_hour(board, load)
    return replace(costs, load=load, energy_j_per_hour=energy)


def counted(
    graph: Graph,
    board: Board,
    on_board: ArenaPlan,
    on_host: ArenaPlan,
    flash_bytes: int,
    latency_ms: float,
) -> Costs:
    """Return the costs of a network whose arenas, size and latency are known."""
    return Costs(
        macs=count(graph).macs,
        flash_bytes=flash_bytes,
        arena_bytes=on_board.total,
        arena_head_bytes=on_board.head,
        arena_required_bytes=on_board.required,
        host_arena_bytes=on_host.total,
        host_arena_head_bytes=on_host.head,
        latency_ms=latency_ms,
        energy_mj=board.energy_mj(latency_ms),
        has_int4=any(tensor.dtype == "int4" for tensor in graph.tensors.values()),
    )


def on_device(
    board: Board, operators: Collection[str], front_end: FrontEndCosts | None, costs: Costs
) -> dict[str, Any]:
    """Return the needs of a device, in all and by part, for ``metrics.json``."""
    beside = Beside.on(board, operators, front_end)
    tail = costs.arena_bytes - costs.arena_head_bytes
    found: dict[str, Any] = {
        "sram_bytes": beside.arena(costs.arena_required_bytes, tail) + beside.sram,
        "flash_bytes": costs.flash_bytes + beside.flash,
        "latency_ms": costs.latency_ms + beside.latency,
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
            "input_ms": front_end_ms(board, front_end, front_end.input_instructions),
        }
    return found
