"""Targets: the operators there are on a kind of processor, and what they take."""

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
    """A target that stands for a board, and how well it does."""

    target: "Target"
    is_upper_bound: bool = False
    """Kernels on this core ask for no more than the target says, perhaps for less."""
    assumes: str | None = None
    """Kernels or core that stand in for the board's own; None where it is those."""
    code_assumes: str | None = None
    """Whose code was measured in place of the board's own; None where it is that."""


@dataclass(frozen=True)
class Growth:
    """Bytes that a layer with weights adds beside its weights and activations.

    What gates cost is steered by these where exact figures have no gradient; sampled networks
    correct them.
    """

    flash_per_channel: float
    flash_per_width: float
    """For each channel of each width that filters write, once."""
    flash_per_layer: float
    sram_per_channel: float
    sram_per_layer: float


@dataclass(frozen=True)
class Hopped:
    """What a streaming network takes that hears some frames a call."""

    stride: int
    """Frames from scores to scores."""
    plan: ArenaPlan
    """The tail is what calls leave to the next."""
    turns: tuple[Price, ...]
    """Of each kind of call, in the order they come."""
    flash_bytes: int
    """Constants and kernels."""

    @property
    def mean(self) -> Price:
        """A call in the mean."""
        count = len(self.turns)
        instructions = sum(each.instructions for each in self.turns) / count
        cycles = sum(each.cycles for each in self.turns) / count
        return Price("hop", instructions, any(each.extrapolated for each in self.turns), cycles)

    @property
    def worst(self) -> Price:
        """The call that takes longest."""
        return max(self.turns, key=lambda each: each.cycles)


class Target(ABC):
    """Kernels on a kind of processor.

    Whatever counts costs asks the board for its target (`Board.target`); `targets.register` makes
    one known under its name, which a board gives as its `kernels` or `engine`.
    """

    name: str
    title: str
    growth: Growth
    kinds: Collection[Kind] = tuple(OPERATORS)
    """Operators that there are kernels for."""
    reads_file: bool = True
    """Whether an interpreter reads the .tflite file, so that TFLM on a computer shows its arena."""
    lends_arena: bool = False
    """Whether firmware lets the front end work in the arena between inferences."""

    @abstractmethod
    def plan(self, graph: Graph) -> ArenaPlan:
        """Predict the arena of a network; shapes are enough."""

    @abstractmethod
    def price(self, graph: Graph, op: Op) -> Price | None:
        """Return what an operator of a network takes, or None where that is not known."""

    @abstractmethod
    def code_bytes(self, operators: Collection[str], *, kernels: Level = "-O2") -> int:
        """Return the flash of what is not the network's: start-up, libraries, kernels.

        Parameters
        ----------
        operators
            As `hardware.code.operators_of` returns them.
        """

    def chosen(self, core: str) -> Choice:
        """Return how well the target does on a core of a board that names it."""
        return Choice(self)

    def timed(self, rate: float | None, clock_hz: int) -> dict[str, float] | None:
        """Return coefficients of a latency model of its own; None for the board's.

        Parameters
        ----------
        rate
            ms of an instruction of TFLM's kernels on the board; None if that was never fitted.
        """
        return None

    @property
    def on_host(self) -> "Target":
        """The target of the same network on a 64-bit computer, where its arena can be checked."""
        return self

    def hops(self, graph: Graph, hop: int) -> Hopped | None:
        """Return the costs of a streaming network, `hop` frames a call.

        None where the kernels keep nothing from call to call: the window is computed again.
        """
        return None

    def model_bytes(self, graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> int:
        """Return the flash of the network itself: its file, where an interpreter reads it."""
        # arenas and prices need no package of the format
        from micronas.tflite.writer import flatbuffer_bytes

        return flatbuffer_bytes(graph, metadata=metadata)

    def prices(self, graph: Graph, ops: Sequence[Op] | None = None) -> list[Price | None]:
        """Return what each operator takes, in the order they run; None where unknown."""
        return [self.price(graph, op) for op in (graph.ops if ops is None else ops)]

    def features(self, graph: Graph) -> dict[str, float]:
        """Return the features of a network by name; those of unknown cost are left out."""
        return features(graph, self.prices(graph))
