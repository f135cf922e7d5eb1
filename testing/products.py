"""Random BATCH_MATMULs: of the input with itself or with a constant, on either side."""

import numpy as np

from micronas.graph.ir import Graph, Op, Tensor
from micronas.graph.products import product_shape, turned


def product_op(tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Make a BATCH_MATMUL from "input" to "output", which it adds to `tensors`."""
    rank = int(rng.integers(2, 5))
    shape = (1, *(int(size) for size in rng.integers(1, 8, rank - 1)))
    tensors["input"] = Tensor("input", shape)
    return multiply("input", "output", tensors, rng)


def multiply(source: str, name: str, tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Make a BATCH_MATMUL that reads a tensor; add its constant, if any, and its output."""
    shape = tensors[source].shape
    swap = bool(rng.random() < 0.5)
    operands, transposed = (source, source), (swap, not swap)
    if rng.random() < 0.6:
        transposed = (bool(rng.random() < 0.5), bool(rng.random() < 0.5))
        is_left, other = bool(rng.random() < 0.7), f"{name}/other"
        rows, columns = turned(shape, transposed[0] if is_left else transposed[1])[-2:]
        more, outer = int(rng.integers(1, 7)), shape[1 if rng.random() < 0.5 else -2 : -2]
        outer = tuple(size if rng.random() < 0.7 else 1 for size in outer)
        plain = (*outer, columns, more) if is_left else (*outer, more, rows)
        wanted = turned(plain, transposed[1] if is_left else transposed[0])
        data = rng.integers(-128, 128, wanted).astype(np.int8)
        tensors[other] = Tensor(other, wanted, "int8", constant=True, data=data)
        operands = (source, other) if is_left else (other, source)
    op = Op("BATCH_MATMUL", name, operands, (name,), transposed=transposed)
    found = product_shape(Graph(tensors, (op,), (), ()), op)
    assert isinstance(found, tuple), found
    tensors[name] = Tensor(name, found)
    return op
