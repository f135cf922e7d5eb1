"""Targets: operators on a kind of processor, and their costs."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.memory import ArenaPlan
from micronas.graph.operators import OPERATORS
from micronas.hardware.code import Level
from micronas.hardware.features import features
from micronas.hardware.instructions import Price


@dataclass(frozen=True)
class Choice:
    """Target chosen for a board, with its assumptions."""

    target: "Target"
    is_upper_bound: bool = False
    """Whether kernels on this core may ask for less memory than the target's."""
    assumes: str | None = None
    """Kernels or core planned for in place of the board's own; None where they are the same."""
    code_assumes: str | None = None
    """Kernels or core whose code was measured in place of the board's own, or None likewise."""


@dataclass(frozen=True)
class Growth:
    """Bytes that a layer with weights adds beside its weights and activations.

    They give the costs of gates a gradient where exact figures have none; sampled networks correct
    them.
    """

    flash_per_channel: float
    flash_per_width: float
    """Bytes per channel of each distinct width of filters."""
    flash_per_layer: float
    sram_per_channel: float
    sram_per_layer: float


@dataclass(frozen=True)
class Hopped:
    """Costs of a streaming network that is called every few frames."""

    stride: int
    """Frames from scores to scores."""
    plan: ArenaPlan
    """Arena; its tail is the state that a call leaves to the next."""
    turns: tuple[Price, ...]
    """Price of each call, in order; then they repeat."""
    flash_bytes: int
    """Flash of constants and kernels."""

    @property
    def mean(self) -> Price:
        """Mean price of a call."""
        count = len(self.turns)
        instructions = sum(each.instructions for each in self.turns) / count
        cycles = sum(each.cycles for each in self.turns) / count
        return Price("hop", instructions, any(each.extrapolated for each in self.turns), cycles)

    @property
    def worst(self) -> Price:
        """Price of the longest call."""
        return max(self.turns, key=lambda each: each.cycles)


class Target(ABC):
    """Kernels on a kind of processor.

    All costs come from the board's target (`Board.target`); `targets.register` adds one by its
    name, which a board gives as its `kernels` or `engine`.
    """

    name: str
    title: str
    growth: Growth
    kinds: Collection[Kind] = tuple(OPERATORS)
    """Operators with kernels."""
    reads_file: bool = True
    """Whether an interpreter reads the .tflite file, so that TFLM on a computer shows its arena."""
    lends_arena: bool = False
    """Whether the front end works in the arena between inferences."""

    @abstractmethod
    def plan(self, graph: Graph) -> ArenaPlan:
        """Predict the arena of a network; shapes are enough."""

    @abstractmethod
    def price(self, graph: Graph, op: Op) -> Price | None:
        """Return the price of an operator of a network, or None where it is not known."""

    @abstractmethod
    def code_bytes(self, operators: Collection[str], *, kernels: Level = "-O2") -> int:
        """Return the flash beside the network's own; operators are from `operators_of`."""

    def chosen(self, core: str) -> Choice:
        """Return the choice of this target, with its assumptions on a core."""
        return Choice(self)

    def timed(self, rate: float | None, clock_hz: int) -> dict[str, float] | None:
        """Return coefficients of the target's own latency model; None for the board's.

        `rate` is the board's milliseconds per instruction of TFLM's kernels; None if never fitted.
        """
        return None

    @property
    def on_host(self) -> "Target":
        """Target of the same network on a 64-bit computer, where its arena can be checked."""
        return self

    def hops(self, graph: Graph, hop: int) -> Hopped | None:
        """Return the costs of a streaming network, `hop` frames per call.

        None where the kernels keep no state between calls and compute the window again.
        """
        return None

    def model_bytes(self, graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> int:
        """Return the flash of the network itself: its file, where an interpreter reads it."""
        # imported here, as arenas and prices do not need the format's packages
        from micronas.tflite.writer import flatbuffer_bytes

        return flatbuffer_bytes(graph, metadata=metadata)

    def prices(self, graph: Graph, ops: Sequence[Op] | None = None) -> list[Price | None]:
        """Return the price of each operator, in the order they run; None where unknown."""
        return [self.price(graph, op) for op in (graph.ops if ops is None else ops)]

    def features(self, graph: Graph) -> dict[str, float]:
        """Return the features of a network by name, without operators of unknown cost."""
        return features(graph, self.prices(graph))
