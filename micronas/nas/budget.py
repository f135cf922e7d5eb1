"""Budgets, and the exact costs of a network on a board. Imports no torch: a budget that cannot
be met is refused before anything heavy is loaded."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Protocol

from pydantic import BeforeValidator, ValidationInfo

from micronas.errors import BudgetError, ConfigError
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.features import features
from micronas.hardware.targets import HOST
from micronas.quantities import format_cost, parse
from micronas.settings import Settings
from micronas.space.search_space import SearchSpace
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


class Candidate(Protocol):
    """A network as costs are counted on it; hashable, since its costs are remembered."""

    @property
    def classes(self) -> int: ...

    def graph(self) -> Graph: ...

    def __hash__(self) -> int: ...


class Meter:
    """Exact costs of the networks of one space on one board, remembered.

    Parameters
    ----------
    board
        The target.
    space
        Name of the space: boards have a latency model for each kind of network.
    """

    def __init__(self, board: Board, space: str) -> None:
        self.board = board
        self.space = space
        self.costs = lru_cache(maxsize=100_000)(self._measure)

    def latency(self, counts: Mapping[str, Any]) -> Any:
        """Milliseconds of features, numbers or tensors; the result is what they are."""
        return self.board.latency_ms(counts, space=self.space)

    def _measure(self, network: Candidate) -> Costs:
        graph = network.graph()
        latency = self.latency(features(graph))
        board, host = self.board.arena.target.plan(graph), HOST.plan(graph)
        return Costs(
            macs=count(graph).macs,
            flash_bytes=flatbuffer_bytes(graph, metadata=placeholder(network.classes)),
            arena_bytes=board.total,
            arena_head_bytes=board.head,
            arena_required_bytes=board.required,
            host_arena_bytes=host.total,
            host_arena_head_bytes=host.head,
            latency_ms=latency,
            energy_mj=self.board.energy_mj(latency),
            has_int4=any(tensor.dtype == "int4" for tensor in graph.tensors.values()),
        )


def check_feasible(space: SearchSpace, limits: Limits, meter: Meter) -> None:
    """Raise BudgetError if not even the smallest network of the space fits."""
    # two, as weights of 4 bits take least flash and those of 8 least time
    least = [
        limits.used(meter.costs(space.architecture(choice)))
        for choice in (space.smallest(), space.quickest())
    ]
    require_fit(
        limits,
        min(least, key=lambda shares: max(shares.values())),
        of="space",
        way_out=f"give the space '{space.name}' smaller widths or fewer blocks",
    )


def require_fit(limits: Limits, used: Mapping[str, float], *, of: str, way_out: str) -> None:
    """Raise BudgetError if the smallest network of something does not fit.

    Parameters
    ----------
    used
        The share of each limit that the network uses.
    of, way_out
        What it is the smallest network of, and what would give smaller ones, for the message.
    """
    over = [name for name, share in used.items() if share > 1]
    if over:
        given = limits.given()
        complaints = (
            f"{name} budget must reach the smallest network of the {of}: "
            f"budget={format_cost(name, given[name])}, "
            f"smallest={format_cost(name, given[name] * used[name])}"
            for name in over
        )
        raise BudgetError(f"{'; '.join(complaints)}; raise {', '.join(over)} or {way_out}")
