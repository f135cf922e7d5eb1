"""In-place operators of a recorded program, written as functional ones."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.export.from_torch.functional import make_functional
from tests.export.from_torch.cases import Case

Function = Callable[[Tensor], Tensor]


def _residual(x: Tensor) -> Tensor:
    y = x * 2
    y += x
    F.relu_(y)
    return y - 1


def _read_before(x: Tensor) -> Tensor:
    y = x - 1
    before = y * 3
    y.clamp_(0, 1)
    return before + y


def _twice(x: Tensor) -> Tensor:
    return F.hardtanh_(F.relu6(x - 0.5, inplace=True), 0.25, 2)


def _changed_behind_a_view(x: Tensor) -> Tensor:
    y = x * 2
    row = y[:, 0]
    y.relu_()
    return row


def _changed_through_a_view(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 0].relu_()
    return y


def _changed_behind_dropout(x: Tensor) -> Tensor:
    y = x * 2
    same = F.dropout(y, training=False)
    y.relu_()
    return same


def _changed_input(x: Tensor) -> Tensor:
    x.relu_()
    return x + 1


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (_residual, 0),
        (_read_before, 0),
        (_twice, 0),
        (_changed_behind_a_view, 1),
        (_changed_through_a_view, 1),
        (_changed_behind_dropout, 1),
        (_changed_input, 1),
    ],
)
def test_results_stay(function: Function, left: int) -> None:
    x = torch.tensor([[-3.0, 0.25, 4.0], [1.0, -0.5, 7.0]])
    program = torch.export.export(Case(function), (x.clone(),), strict=False)
    make_functional(program.graph)
    program.graph_module.recompile()
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert sum(name.split(".")[1].endswith("_") for name in names if "." in name) == left
    torch.testing.assert_close(program.module()(x.clone()), function(x.clone()))
