"""A target: kernels on a kind of processor, and what they take."""

from collections.abc import Callable
from dataclasses import dataclass

from micronas.graph import memory
from micronas.graph.ir import Graph, Kind, Op, Tensor
from micronas.graph.memory import ArenaPlan, Scratch, Sizes
from micronas.hardware.instructions import Price


@dataclass(frozen=True)
class Target:
    """TFLM with a library of kernels on a kind of processor."""

    name: str
    title: str
    sizes: Sizes
    scratch: Scratch
    price: Callable[[Graph, Op], Price | None] | None = None
    """Instructions of an operator; None for those of unknown kind, or where nobody counts them."""

    def plan(self, graph: Graph) -> ArenaPlan:
        """Predict the arena of a network; shapes are enough. See `micronas.graph.memory.plan`."""
        return memory.plan(graph, self.sizes, self.scratch)


REDUCING: tuple[Kind, ...] = ("MEAN", "SUM", "REDUCE_MAX")


_RESHAPING: tuple[Kind, ...] = ("GATHER", "TABLE", "SPACE_TO_DEPTH", "DEPTH_TO_SPACE")
"""Kinds whose kernels write the output's sizes again."""


def reduce_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Scratch memory of TFLM's reference reductions, int32 each: sums, index and axes."""
    index = 4 * len(graph.input_of(op).shape), 4 * graph.constant_of(op).elements
    return index if op.kind == "REDUCE_MAX" else (4 * graph.output_of(op).elements, *index)


def prepared(eval_tensor: int, *, lstm_sums: int = 0) -> Callable[[Graph, Op], tuple[int, ...]]:
    """What kernels allocate for good in Prepare.

    Parameters
    ----------
    eval_tensor
        Size of the structure that describes a tensor to a running kernel.
    lstm_sums
        How many sums of weights an LSTM keeps for each unit.
    """

    def sizes(graph: Graph, op: Op) -> tuple[int, ...]:
        if op.kind == "BATCH_MATMUL":
            return _product_memory(graph, op, eval_tensor)
        if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            return (4 * graph.output_of(op).shape[2],) * lstm_sums
        return (_dimensions(graph.output_of(op)),) if op.kind in _RESHAPING else ()

    return sizes


def _dimensions(tensor: Tensor) -> int:
    """A copy of a tensor's rank and sizes, which a kernel may write."""
    return 4 * (1 + len(tensor.shape))


def _product_memory(graph: Graph, op: Op, eval_tensor: int) -> tuple[int, ...]:
    """Multipliers, sizes of the output, and whole copies of operands that lie the other way.

    The kernels want a row of the first operand beside a row of the second one's transpose.
    """
    copied = zip(op.operands, (op.transposed[0], not op.transposed[1]), strict=True)
    asked = [28, _dimensions(graph.output_of(op))]
    for tensor in (graph.tensors[name] for name, copies in copied if copies):
        asked += [eval_tensor, _dimensions(tensor), tensor.elements]
    return tuple(asked)


def lstm_scratch(graph: Graph, op: Op, buffers: int) -> tuple[int, ...]:
    """Scratch memory of an LSTM: so many vectors of gates or cells in 16 bits."""
    return (2 * graph.output_of(op).shape[2],) * buffers
