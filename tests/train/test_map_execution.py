"""Float execution of operators on maps against torch's modules, and the trained network in int8."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from micronas.errors import ConfigError, ExportError
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph
from micronas.graph.transposing import Transposed, of_torch
from micronas.train.convolutions import linear
from micronas.train.network import Network, interpret
from micronas.train.quantize import QuantizedNetwork
from testing.builder import Builder
from testing.graphs import quantize_randomly


def run(
    graph: Graph, x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    assert weight is not None or not any(op.learnt for op in graph.ops)
    return interpret(graph, x, lambda op, y: linear(op, y, weight, bias))  # type: ignore[arg-type]


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))


Pair = tuple[int, int]


def pairs(least: int, most: int) -> st.SearchStrategy[Pair]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@settings(max_examples=40)
@given(pairs(1, 5), pairs(1, 5), pairs(1, 3), pairs(0, 2), pairs(0, 2), st.sampled_from([2, 17]))
def test_transposed_convolutions_of_torch(
    size: Pair, kernel: Pair, stride: Pair, padding: Pair, more: Pair, depth: int
) -> None:
    """Whatever `of_torch` writes in TFLite's terms is torch's own, and the device computes it."""
    more = min(more[0], stride[0] - 1), min(more[1], stride[1] - 1)
    found = of_torch(size, kernel, stride, padding, more, depth)
    if found is None:
        grows = all(k <= s for k, s in zip(kernel, stride, strict=True))
        assert any(padding) or min(k - s for k, s in zip(kernel, stride, strict=True)) < 0 or grows
        return
    (top, bottom), (left, right) = found.zeros
    weight, bias = maps(3, *kernel, seed=1)[:1].expand(depth, -1, -1, -1), torch.tensor([1.0, 2, 3])
    builder = Builder((*size, depth))
    out = builder.transposed(
        builder.input,
        "y",
        3,
        (kernel[0] + top + bottom, kernel[1] + left + right),
        stride=stride,
        padding=found.padding,
        reach=found.reach,
    )
    graph, x = builder.finish(out), maps(depth, *size)
    check_int8(quantize_randomly(graph))
    y = run(graph, x, F.pad(weight, (left, right, top, bottom)).transpose(0, 1), bias)
    module = F.conv_transpose2d(x, weight, bias, stride, padding, more)
    torch.testing.assert_close(y, module, atol=1e-4, rtol=1e-4)  # sums of up to 425 products


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "more", "depth", "expected"),
    [
        (2, 2, 0, 0, 8, Transposed("SAME", ((0, 0), (0, 0)), (2, 2))),
        (3, 2, 1, 1, 32, Transposed("SAME", ((0, 1), (0, 1)), (2, 2))),
        (4, 2, 1, 0, 32, Transposed("SAME", ((0, 0), (0, 0)), (2, 2))),
        (4, 2, 1, 0, 8, Transposed("SAME", ((1, 1), (0, 0)), (2, 2))),
        (3, 2, 0, 0, 8, Transposed("VALID", ((0, 0), (0, 0)), (3, 3))),
        (5, 2, 1, 0, 8, None),
    ],
)
def test_usual_transposed_convolutions(
    kernel: int, stride: int, padding: int, more: int, depth: int, expected: Transposed | None
) -> None:
    sides = ((each, each) for each in (kernel, stride, padding, more))
    assert of_torch((8, 8), *sides, depth) == expected


@pytest.mark.parametrize("size", [(5, 7), (4, 4), (1, 9), (11, 3)])
@pytest.mark.parametrize("out", [(10, 14), (7, 5), (1, 1), (9, 12)])
def test_resizing_is_that_of_torch(size: tuple[int, int], out: tuple[int, int]) -> None:
    x = maps(3, *size)

    def resized(kind: str, **corners: bool) -> Tensor:
        builder = Builder((*size, 3))
        name = builder.resize(builder.input, "y", out, kind, **corners)  # type: ignore[arg-type]
        return run(builder.finish(name), x)

    near, between = "RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR"
    for mode, half in (("nearest", False), ("nearest-exact", True)):
        torch.testing.assert_close(resized(near, half_pixel=half), F.interpolate(x, out, mode=mode))
    for corners in (False, True):
        module = F.interpolate(x, out, mode="bilinear", align_corners=corners)
        found = resized(between, align_corners=corners, half_pixel=not corners)
        torch.testing.assert_close(found, module)


def test_blocks_of_pixels_are_those_of_torch_in_another_order_of_channels() -> None:
    x = maps(8, 3, 5)
    builder = Builder((3, 5, 8))
    unfolded = run(builder.finish(builder.unfold(builder.input, "y", 2)), x)
    order = torch.arange(8).reshape(2, 4).T.reshape(-1)  # pixel by pixel, not channel by channel
    torch.testing.assert_close(unfolded, F.pixel_shuffle(x[:, order.argsort()], 2))
    builder = Builder((6, 10, 2))
    folded = run(builder.finish(builder.fold(builder.input, "y", 2)), unfolded)
    torch.testing.assert_close(folded, x)


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 2), (1, 3), (1, 2, 3)])
def test_reductions_keep_the_order_of_the_graph(axes: tuple[int, ...], keep: bool) -> None:
    x = maps(3, 4, 5)
    kinds = ("MEAN", torch.mean), ("SUM", torch.sum), ("REDUCE_MAX", torch.amax)
    for kind, function in kinds:
        builder = Builder((4, 5, 3))
        name = builder.reduce(builder.input, "y", kind, axes, keep=keep)  # type: ignore[arg-type]
        y = run(builder.finish(name), x)
        wanted = function(x.permute(0, 2, 3, 1), axes, keepdim=keep)
        torch.testing.assert_close(y, wanted.permute(0, 3, 1, 2) if keep else wanted)


def test_the_batch_cannot_be_reduced() -> None:
    builder = Builder((4, 5, 3))
    graph = builder.finish(builder.reduce(builder.input, "y", "MEAN", (0, 1)))
    with pytest.raises(ConfigError, match=r"leave dimension 0 alone, .* but MEAN 'y' does"):
        Network(graph)


def test_int4_is_refused_where_kernels_take_none() -> None:
    builder = Builder((4, 4, 4))
    name = builder.conv(builder.input, "grouped", 4, (3, 3), groups=2)
    name = builder.transposed(name, "up", 4, (2, 2), stride=(2, 2))
    graph = Network(builder.finish(name)).graph()
    quantized = QuantizedNetwork(graph, bits=4)
    quantized.calibrate([maps(4, 4, 4)])
    assert {t.dtype for t in quantized.graph().tensors.values() if t.constant} == {"int8", "int32"}
    with pytest.raises(ExportError, match=r"8 bits alone in groups .* up; leave these"):
        QuantizedNetwork(graph, bits={"up": 4})


def test_a_transposed_network_trains() -> None:
    """It learns to enlarge: the inverse of an average of four pixels, for smooth maps."""
    builder = Builder((6, 6, 1))
    graph = builder.finish(builder.transposed(builder.input, "up", 1, (4, 4), stride=(2, 2)))
    network = Network(graph, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(network.parameters(), 0.06)
    x = F.interpolate(maps(1, 3, 3), (12, 12), mode="bilinear")
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.mse_loss(network(F.avg_pool2d(x, 2)), x)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert math.prod(np.array(graph.tensors["up"].shape)) == 144
