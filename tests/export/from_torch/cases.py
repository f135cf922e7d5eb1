"""Functions of torch as modules, and several of them side by side."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn


class Case(nn.Module):
    """A function of inputs and of layers."""

    def __init__(self, function: Callable[..., Any], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs, *self.layers)


class Cases(nn.Module):
    """Several cases, which torch traces at once; their answers follow each other."""

    def __init__(self, cases: Sequence[nn.Module]) -> None:
        super().__init__()
        self.cases = nn.ModuleList(cases)

    def forward(self, *inputs: Tensor) -> Any:
        return tuple(y for case in self.cases for y in _answers(case(*inputs)))


def _answers(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return list(result.values() if isinstance(result, dict) else result)
