"""Functions of torch as modules, several of them side by side, and what becomes of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from micronas.export.verify import verify
from micronas.graph.ir import Graph
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from micronas.train.calibration import Method
from micronas.train.codes import quantize_all_inputs
from micronas.train.inputs import Calibration, by_input, calibration_batches
from micronas.train.post_training import calibrated
from micronas.train.quantize import QuantizedNetwork, float_outputs


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


def check_float(
    graph: Graph,
    inputs: object,
    wanted: Iterable[Tensor],
    names: Sequence[str] = (),
    *,
    rtol: float = 1.3e-6,
    atol: float = 1e-5,
) -> None:
    """Compare what a graph computes of inputs, before it is rounded, with what torch did.

    `names` are of the answers, in place of those that the graph has for them.
    """
    found = float_outputs(QuantizedNetwork(graph), by_input(graph, inputs)).values()
    for name, got, want in zip(names or graph.outputs, found, wanted, strict=True):
        got, want = got.reshape(want.shape), want.float()
        said = f"{name}: {got} must be {want}"
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol, msg=said)


def quantize(graph: Graph, calibration: Calibration, method: Method = "mse") -> Graph:
    """Round a graph as `to_tflite` does by default."""
    batches = list(calibration_batches(graph, calibration))
    return calibrated(graph, batches, method=method).eval().graph()


def check_exact(rounded: Graph | bytes, inputs: object) -> None:
    """Compare each byte that a rounded network gives for inputs with TFLM's."""
    model = to_flatbuffer(rounded) if isinstance(rounded, Graph) else rounded
    graph = read(model)
    codes = quantize_all_inputs(graph, by_input(graph, inputs))
    assert verify(model, codes).mismatches == 0
