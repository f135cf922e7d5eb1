"""Rewrites of a graph: scales that meet, reductions that write the shape that is read, rows."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.export.from_torch.module import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.graph.builder import Builder
from micronas.graph.dropped import with_dropped_axes
from micronas.graph.ir import Graph, Kind, Op, table
from micronas.graph.ir import Tensor as Stored
from micronas.graph.requantize import requantized
from micronas.graph.reshapes import without_reshapes
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from tests.train.test_network import run_float


def joined(kinds: tuple[Kind, ...], *, bound: float | None = None) -> Graph:
    """Functions of one input, concatenated; or the first of them with a constant upper bound."""
    builder = Builder((2, 2, 3))
    parts = tuple(
        builder.append(Op(kind, kind, (builder.input,), (kind,)), (1, 2, 2, 3)) for kind in kinds
    )
    if bound is not None:
        limit = builder.constant("limit", np.array([bound], np.float32))
        op = Op("MINIMUM", "y", (parts[0], limit), ("y",))
        return builder.finish(builder.append(op, (1, 2, 2, 3)))
    op = Op("CONCATENATION", "y", parts, ("y",), axis=3)
    return builder.finish(builder.append(op, (1, 2, 2, 3 * len(parts))))


@pytest.mark.parametrize(
    ("kinds", "read"),
    [
        (("LOGISTIC", "HARD_SWISH"), ("y/quantize", "HARD_SWISH")),
        (("HARD_SWISH", "TANH"), ("HARD_SWISH", "y/quantize")),
        (("TANH", "LOGISTIC"), ("y/quantize", "y/quantize1")),
    ],
)
def test_a_fixed_scale_is_left_before_it_meets_another(
    kinds: tuple[Kind, ...], read: tuple[str, ...]
) -> None:
    graph = requantized(joined(kinds))
    assert graph.ops[-1].inputs == read
    inserted = [op for op in graph.ops if op.kind == "QUANTIZE"]
    assert [op.outputs[0] for op in inserted] == [name for name in read if "/" in name]
    assert {graph.output_of(op).shape for op in inserted} == {(1, 2, 2, 3)}
    assert requantized(graph) is graph


@pytest.mark.parametrize(
    "graph",
    [
        joined(("HARD_SWISH", "ELU")),
        joined(("LOGISTIC", "SOFTMAX")),
        joined(("LOGISTIC",), bound=0.5),
        joined(("HARD_SWISH",), bound=9.0),
    ],
)
def test_what_can_share_a_scale_is_left_alone(graph: Graph) -> None:
    assert requantized(graph) is graph


def test_a_constant_beyond_a_fixed_range_counts_as_another_scale() -> None:
    graph = requantized(joined(("LOGISTIC",), bound=1.5))
    assert [op.kind for op in graph.ops] == ["LOGISTIC", "QUANTIZE", "MINIMUM"]


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


def test_a_square_of_a_map_keeps_the_dimensions_of_the_map() -> None:
    """Operands may lack leading ones, but not both: y would have three dimensions."""
    shapes = {"x": (1, 1, 16), "map": (1, 1, 1, 16), "y": (1, 1, 1, 16)}
    tensors = {name: Stored(name, shape) for name, shape in shapes.items()}
    tensors["shape"] = table("shape", (1, 1, 1, 16))
    ops = (Op("RESHAPE", "map", ("x", "shape"), ("map",)), Op("MUL", "y", ("map", "map"), ("y",)))
    graph = without_reshapes(Graph(tensors, ops, ("x",), ("y",)))
    (multiplied,) = (op for op in graph.ops if op.kind == "MUL")
    assert any(len(graph.tensors[name].shape) == 4 for name in multiplied.inputs)
