"""In-place operators of a recorded program, written as functional ones."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.export.from_torch.functional import make_functional
from tests.export.from_torch.cases import Case

Function = Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    ("function", "left"),
    [
        (lambda x: (y := (x * 2).add_(x), y.relu_(), y - 1)[-1], 0),
        (lambda x: (y := x - 1, before := y * 3, y.clamp_(0, 1), before + y)[-1], 0),
        (lambda x: F.hardtanh_(F.relu6(x - 0.5, inplace=True), 0.25, 2), 0),
        # the memory that changes is a view's, too, or dropout's, or the input's
        (lambda x: (y := x * 2, row := y[:, 0], y.relu_(), row)[-1], 1),
        (lambda x: (y := x * 2, y[:, 0].relu_(), y)[-1], 1),
        (lambda x: (y := x * 2, same := F.dropout(y, training=False), y.relu_(), same)[-1], 1),
        (lambda x: (x.relu_(), x + 1)[-1], 1),
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
