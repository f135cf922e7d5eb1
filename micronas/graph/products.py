"""Dimensions of BATCH_MATMUL's operands."""

from micronas.arrays import Shape
from micronas.graph.ir import Graph, Op


def product_shape(graph: Graph, op: Op) -> Shape | str:
    """Return the shape of BATCH_MATMUL: the last two dimensions are matrices, others broadcast."""
    shapes = [graph.tensors[name].shape for name in op.operands]
    if min(map(len, shapes)) < 2 or max(map(len, shapes)) > 4:
        return "BATCH_MATMUL must read tensors of 2 to 4 dimensions"
    left, right = (turned(shape, swap) for shape, swap in zip(shapes, op.transposed, strict=True))
    pairs = list(zip(left[-3::-1], right[-3::-1], strict=False))
    if left[-1] != right[-2] or any(a != b and 1 not in (a, b) for a, b in pairs):
        return "BATCH_MATMUL must read matrices that fit each other"
    rank = max(len(left), len(right)) - 2
    wide = [(1,) * (rank + 2 - len(shape)) + shape[:-2] for shape in (left, right)]
    outer = tuple(max(pair) for pair in zip(*wide, strict=True))
    return (*outer, left[-2], right[-1])


def turned(shape: Shape, swap: bool) -> Shape:
    """Return the shape, with its last two dimensions exchanged if `swap` is set."""
    return (*shape[:-2], shape[-1], shape[-2]) if swap else shape


def depth(graph: Graph, op: Op) -> int:
    """Return the number of products summed in each element of the output."""
    return graph.input_of(op).shape[-2 if op.transposed[0] else -1]


def mixes_examples(graph: Graph, op: Op) -> bool:
    """Return whether dimension 0 of an activation is one of its matrices' two.

    The rows of a first operand of two dimensions are examples themselves.
    """
    left, right = (graph.tensors[name] for name in op.operands)
    if len(left.shape) == 2 and not left.constant:
        return op.transposed[0] or len(right.shape) > 2 or not right.constant
    return any(len(tensor.shape) < 3 and not tensor.constant for tensor in (left, right))
