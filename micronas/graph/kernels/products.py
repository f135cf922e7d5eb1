"""Matrix products of two activations."""

from collections.abc import Mapping

import numpy as np

from micronas.graph import fixed_point, products
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, Values, scale, zero_point
from micronas.graph.kernels.rule import Rule, product_scales


def batch_matmul(graph: Graph, op: Op) -> Kernel:
    left, right = (graph.tensors[name] for name in op.operands)
    output = graph.output_of(op)
    factor = fixed_point.quantize_multiplier(scale(left) * scale(right) / scale(output))
    zeros, rank = (zero_point(left), zero_point(right)), len(output.shape)
    # the type holds every partial sum of products of 9-bit values exactly
    dtype = np.float32 if products.depth(graph, op) * 255**2 <= 2**24 else np.float64

    def matrices(x: Values, place: int) -> np.ndarray:
        wide = x.reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:])
        values = wide.astype(dtype) - zeros[place]
        return values.swapaxes(-1, -2) if op.transposed[place] else values

    def multiply(x: Values, y: Values) -> Values:
        sums = np.matmul(matrices(x, 0), matrices(y, 1)).astype(np.int32)
        scaled = fixed_point.rescale(sums, *factor) + zero_point(output)
        return np.clip(scaled, -128, 127).astype(np.int8)

    return multiply


RULES: Mapping[str, Rule] = {
    "BATCH_MATMUL": Rule(
        products.product_shape,
        batch_matmul,
        scales=product_scales,
        mixes_examples=products.mixes_examples,
    ),
}
