"""Linear layers and pointwise convolutions whose parts are read one by one."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from micronas import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.graph.ir import Graph
from micronas.graph.parts import computed_apart
from micronas.tflite.reader import read
from tests.cases import first
from tests.export.from_torch.cases import Case, check_exact, check_float


def of_layer(layer: nn.Module, function: Callable[[Tensor], Tensor]) -> nn.Module:
    """A layer of which a function reads the output."""
    return Case(lambda x, layer: function(layer(x)), layer)


def gated(x: Tensor) -> Tensor:
    value, gate = x.chunk(2, 1)
    return value * gate.sigmoid()


def attended(x: Tensor) -> Tensor:
    """One head for [N, time, 3 x 4]; the keys are read as they are."""
    queries, keys, values = x.chunk(3, 2)
    return (queries @ keys.transpose(1, 2)).softmax(-1) @ values


def heads(x: Tensor) -> Tensor:
    """Two heads: parts are arranged as heads before they are read."""
    parts = x.reshape(len(x), -1, 3, 2, 2).permute(2, 0, 3, 1, 4)
    return (parts[0].tanh() * parts[1]).flatten(1)


def pairs(x: Tensor) -> Tensor:
    """A softmax over two channels far apart."""
    return x.unflatten(1, (2, 4)).softmax(1).sum(2)


def anchors(x: Tensor) -> Tensor:
    """The same channels of two anchors, which are not side by side."""
    parts = x.unflatten(1, (2, 4))
    return (parts[:, :, :2].sigmoid() * parts[:, :, 2:].tanh()).flatten(1, 2)


def kinds(graph: Graph) -> Counter[str]:
    return Counter(str(op.kind) for op in graph.ops)


@first(
    ("layer", "function", "shape", "expected"),
    [
        (nn.Linear(6, 8), gated, (6,), {"FULLY_CONNECTED": 2, "LOGISTIC": 1, "MUL": 1}),
        (nn.Conv2d(3, 8, 1), gated, (3, 4, 5), {"CONV_2D": 2, "LOGISTIC": 1, "MUL": 1}),
        (nn.Linear(6, 12), attended, (5, 6), {"CONV_2D": 3, "SLICE": 0}),
        (nn.Linear(6, 12), heads, (5, 6), {"SLICE": 0}),
        (nn.Linear(6, 9), lambda x: x[:, 2:5].tanh(), (6,), {"FULLY_CONNECTED": 1, "TANH": 1}),
        (nn.Linear(6, 8), pairs, (6,), {"FULLY_CONNECTED": 1, "GATHER": 0}),
        (nn.Conv2d(3, 8, 1), anchors, (3, 4, 5), {"CONV_2D": 2, "GATHER": 0}),
    ],
    1,
)
def test_parts_are_computed_apart(
    layer: nn.Module,
    function: Callable[[Tensor], Tensor],
    shape: tuple[int, ...],
    expected: dict[str, int],
) -> None:
    module, x = of_layer(layer, function).eval(), torch.randn(32, *shape)
    traced = trace(module, x[:1])
    apart = computed_apart(traced)
    assert {kind: kinds(apart)[kind] for kind in expected} == expected
    assert len(apart.ops) <= len(traced.ops)
    check_float(apart, x, [module(x).detach()])
    model = to_tflite(module, x[:1], calibration=x)
    assert kinds(read(model)) == kinds(apart)
    check_exact(model, x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :5].tanh() + x[:, 4:],  # parts overlap
        lambda x: x[:, :4] + x[:, 4:8] + x.sum(1, keepdim=True),  # the whole is read, too
        lambda x: torch.cat([x, x[:, :4]], 1),
    ],
)
def test_a_layer_read_otherwise_stays_whole(function: Callable[[Tensor], Tensor]) -> None:
    module = of_layer(nn.Linear(6, 9), function).eval()
    traced = trace(module, torch.randn(1, 6))
    assert kinds(computed_apart(traced)) == kinds(traced)


def test_a_filter_with_a_window_is_not_moved_twice() -> None:
    module = of_layer(nn.Conv2d(3, 8, 3), gated).eval()
    assert kinds(computed_apart(trace(module, torch.randn(1, 3, 8, 8))))["SLICE"] == 2


def test_operators_have_names_of_their_own() -> None:
    """Names of layers in reports, and the pass that replaces them, depend on it."""
    graph = trace(of_layer(nn.Linear(6, 12), attended).eval(), torch.randn(1, 5, 6))
    assert len({op.name for op in graph.ops}) == len(graph.ops)
