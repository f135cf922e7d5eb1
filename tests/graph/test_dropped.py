"""Reductions write the shape that is read."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.export.from_torch.module import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.graph.dropped import with_dropped_axes
from micronas.graph.ir import Graph, Op, table
from micronas.graph.ir import Tensor as Stored
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from tests.train.test_network import run_float


class Places(nn.Module):
    """The class of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(6, 9, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2).argmax(-1)


class Sums(nn.Module):
    """Sums over rows and over columns of a softmax over pixels."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        p = F.softmax(x.flatten(2), -1).view(x.shape)
        return p.sum(3), p.sum(2)


@pytest.mark.parametrize(
    ("module", "shape", "reshapes"), [(Places(), (20, 6), 1), (Sums(), (5, 8, 6), 2)]
)
def test_traced_reductions_have_no_reshape_behind_them(
    module: nn.Module, shape: tuple[int, ...], reshapes: int
) -> None:
    module.eval()
    x = torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))
    graph = trace(module, x)
    assert sum(op.kind == "RESHAPE" for op in graph.ops) == reshapes
    model = to_tflite(module, x[:1], calibration=x)
    written = read(model)
    checked = verify(model, {written.inputs[0]: quantize_inputs(written, x)})
    assert checked.bytes_compared > 0
    assert checked.mismatches == 0


def reduced(axes: list[int], between: tuple[int, ...], target: tuple[int, ...]) -> Graph:
    """A maximum of [1, 4, 1, 6], a function of it, and a RESHAPE."""
    tensors = {"axes": table("axes", axes), "shape": table("shape", target)}
    shapes = {"x": (1, 4, 1, 6), "most": between, "abs": between, "y": target}
    tensors |= {name: Stored(name, shape) for name, shape in shapes.items()}
    ops = (
        Op("REDUCE_MAX", "most", ("x", "axes"), ("most",)),
        Op("ABS", "abs", ("most",), ("abs",)),
        Op("RESHAPE", "y", ("abs", "shape"), ("y",)),
    )
    return Graph(tensors, ops, ("x",), ("y",))


@pytest.mark.parametrize(
    ("axes", "target", "dropped"),
    [([3], (1, 4), [2, 3]), ([3], (1, 4, 1), [3]), ([1, 2], (1, 6), [1, 2])],
)
def test_axes_of_one_go_with_those_that_are_reduced(
    axes: list[int], target: tuple[int, ...], dropped: list[int]
) -> None:
    between = tuple(1 if axis in axes else size for axis, size in enumerate((1, 4, 1, 6)))
    before = reduced(axes, between, target)
    after = with_dropped_axes(before)
    assert [op.kind for op in after.ops] == ["REDUCE_MAX", "ABS"]
    assert after.tensors["axes"].data.tolist() == dropped
    x = torch.randn(3, 6, 4, 1)
    np.testing.assert_array_equal(run_float(after, x), run_float(before, x))


@pytest.mark.parametrize("target", [(1, 2, 2), (4, 1), (1, 1, 4)])
def test_other_reshapes_stay(target: tuple[int, ...]) -> None:
    graph = with_dropped_axes(reduced([3], (1, 4, 1, 1), target))
    assert [op.kind for op in graph.ops] == ["REDUCE_MAX", "ABS", "RESHAPE"]
