"""Matrix products of two activations."""

from collections.abc import Mapping

import numpy as np

from micronas.graph import fixed_point, products
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.codes import Kernel, Values, limits, scale, stored, zero_point
from micronas.graph.kernels.rule import Rule, product_scales


def batch_matmul(graph: Graph, op: Op) -> Kernel:
    left, right = (graph.tensors[name] for name in op.operands)
    output = graph.output_of(op)
    factor = fixed_point.quantize_multiplier(scale(left) * scale(right) / scale(output))
    zeros, rank = (zero_point(left), zero_point(right)), len(output.shape)
    is_wide = output.dtype == "int16"
    kind, rescale = (
        (np.int64, fixed_point.rescale_sums) if is_wide else (np.int32, fixed_point.rescale)
    )
    # the type holds every partial sum of products exactly, of 9-bit values in int8
    is_small = not is_wide and products.depth(graph, op) * 255**2 <= 2**24
    dtype = np.float32 if is_small else np.float64

    def matrices(x: Values, place: int) -> np.ndarray:
        wide = x.reshape(len(x), *(1,) * (rank + 1 - x.ndim), *x.shape[1:])
        values = wide.astype(dtype) - zeros[place]
        return values.swapaxes(-1, -2) if op.transposed[place] else values

    def multiply(x: Values, y: Values) -> Values:
        sums = np.matmul(matrices(x, 0), matrices(y, 1)).astype(kind)
        scaled = rescale(sums, *factor) + zero_point(output)
        return stored(np.clip(scaled, *limits(output)), output)

    return multiply


RULES: Mapping[str, Rule] = {
    "BATCH_MATMUL": Rule(
        products.product_shape,
        batch_matmul,
        scales=product_scales,
        mixes_examples=products.mixes_examples,
    )
}
