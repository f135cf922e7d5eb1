"""TFLM with a library of kernels: its interpreter, whose arena `graph.memory` predicts."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from micronas.graph import memory
from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.kernels import RULES
from micronas.graph.memory import ArenaPlan, Scratch, Sizes
from micronas.hardware.code import Level, code_bytes
from micronas.hardware.instructions import Price
from micronas.hardware.targets.target import Growth, Target


@dataclass(frozen=True, eq=False)
class Tflm(Target):
    """TFLM with a library of kernels on a kind of processor."""

    name: str
    title: str
    sizes: Sizes
    scratch: Scratch
    counted: Callable[[Graph, Op], Price | None] | None = None
    """Function to the price of an operator; None where instructions are not counted."""
    host: Target | None = None
    growth = Growth(
        flash_per_channel=8,  # scales of filter and bias; the bias counts as weights
        flash_per_width=8,  # a zero point, int64; filters and biases of one width share a list
        flash_per_layer=400,  # operator, tensors, names, buffers
        sram_per_channel=8,  # multiplier and shift, int32 each
        sram_per_layer=150,  # operator data, tensors, node
    )

    def plan(self, graph: Graph) -> ArenaPlan:
        """Predict the arena of a network; shapes are enough. See `micronas.graph.memory.plan`."""
        return memory.plan(graph, self.sizes, self.scratch)

    def price(self, graph: Graph, op: Op) -> Price | None:
        return None if self.counted is None else self.counted(graph, op)

    def code_bytes(self, operators: Collection[str], *, kernels: Level = "-O2") -> int:
        return code_bytes(operators, kernels=kernels)

    @property
    def on_host(self) -> Target:
        return self.host or self


def reference_scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return sizes of the scratch memory of TFLM's reference kernel."""
    rule = None if op.kind == "UNKNOWN" else RULES[op.kind].scratch
    return rule(graph, op) if rule else ()


_CURVE = 2 * 513
"""Bytes of each of the two curves of SOFTMAX in int16."""


def prepared(eval_tensor: int, *, lstm_sums: int = 0) -> Callable[[Graph, Op], tuple[int, ...]]:
    """Return a function to the sizes that a kernel allocates for good in Prepare.

    They follow from the size of the structure that describes a tensor to a running kernel, and
    from the weight sums that an LSTM keeps per unit.
    """

    def sizes(graph: Graph, op: Op) -> tuple[int, ...]:
        if op.kind == "BATCH_MATMUL":
            return _product_memory(graph, op, eval_tensor)
        if op.kind == "SOFTMAX" and graph.input_of(op).dtype == "int16":
            return (_CURVE,) * 2
        if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            return (4 * graph.output_of(op).shape[2],) * lstm_sums
        return (_dimensions(graph.output_of(op)),) if op.row.keeps_sizes else ()

    return sizes


def _dimensions(tensor: Tensor) -> int:
    """Return the size of a copy of a tensor's rank and sizes, which a kernel may write."""
    return 4 * (1 + len(tensor.shape))


def _product_memory(graph: Graph, op: Op, eval_tensor: int) -> tuple[int, ...]:
    """Return sizes of multipliers, the output's dimensions, and copies of transposed operands.

    The kernels multiply a row of the first operand by a row of the second one's transpose.
    """
    copied = zip(op.operands, (op.transposed[0], not op.transposed[1]), strict=True)
    asked = [28, _dimensions(graph.output_of(op))]
    for tensor in (graph.tensors[name] for name, copies in copied if copies):
        asked += [
            eval_tensor,
            _dimensions(tensor),
            tensor.elements * (2 if tensor.dtype == "int16" else 1),
        ]
    return tuple(asked)


def lstm_scratch(graph: Graph, op: Op, buffers: int) -> tuple[int, ...]:
    """Return sizes of an LSTM's scratch memory: `buffers` vectors of gates or cells in 16 bits."""
    return (2 * graph.output_of(op).shape[2],) * buffers
