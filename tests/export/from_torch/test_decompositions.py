"""Operators that are written in terms of others: equal in float, exact on TFLM."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.tflite.reader import read
from micronas.train.codes import quantize_all_inputs
from micronas.train.inputs import by_input
from micronas.train.quantize import QuantizedNetwork, float_outputs

FEATURES, TOKENS, MAPS = (8,), (6, 10), (4, 8, 8)


class Case(nn.Module):
    """A layer, and a function of what it gives and of the input."""

    def __init__(self, function: Callable[..., Any], shape: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.layer = nn.Conv2d(4, 4, 1) if len(shape) == 3 else nn.Linear(shape[-1], shape[-1])

    def forward(self, x: Tensor) -> Any:
        return self.function(self.layer(x), x)


def grn(y: Tensor, x: Tensor) -> Tensor:
    """Global response normalisation, as ConvNeXt V2 has it."""
    size = y.norm(2, (2, 3), True)
    return y * (size / (size.mean(1, True) + 1e-6))


def in_float32(y: Tensor, x: Tensor) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        return y.float() / (1 + x.abs())


CAUSAL = torch.full((6, 6), -8.0).triu(1)
CASES: dict[str, tuple[Callable[[Tensor, Tensor], Any], tuple[int, ...]]] = {
    "addcmul": (lambda y, x: torch.addcmul(x, y, x, value=0.5), FEATURES),
    "glu": (lambda y, x: F.glu(y, 1), MAPS),
    "rms norm": (lambda y, x: F.rms_norm(y, (10,), x.new_ones(10) * 2), TOKENS),
    "standard deviation": (lambda y, x: y.std(1), TOKENS),
    "variance and mean": (lambda y, x: torch.cat(torch.var_mean(y, 1), 1), TOKENS),
    "population variance": (lambda y, x: y.var(1, unbiased=False), TOKENS),
    "cosine": (lambda y, x: F.cosine_similarity(y[:, None], x[:, None] + 3, 2), FEATURES),
    "lerp": (lambda y, x: torch.lerp(y, x, 0.3), FEATURES),
    "unfold": (lambda y, x: y.unfold(2, 3, 1).flatten(2), TOKENS),
    "columns of windows": (lambda y, x: F.unfold(y, 3, padding=1), MAPS),
    "repeat interleaved": (lambda y, x: y.repeat_interleave(2, 1), TOKENS),
    "product": (lambda y, x: y.view(-1, 4, 2).prod(2), FEATURES),
    "cumulative sum": (lambda y, x: y.cumsum(1), TOKENS),
    "log of a sum": (lambda y, x: y.logsumexp(2), TOKENS),
    "smallest": (lambda y, x: y.amin(1), TOKENS),
    "difference": (lambda y, x: y.diff(dim=1), TOKENS),
    "einsum of two values": (lambda y, x: torch.einsum("bqc,bkc->bqk", y, x), TOKENS),
    "einsum with a constant": (
        lambda y, x: torch.einsum("btc,dc->btd", y, torch.arange(30.0).view(3, 10) / 30),
        TOKENS,
    ),
    "addmm": (lambda y, x: torch.addmm(x.new_ones(3), y, x.new_ones(8, 3)), FEATURES),
    "quotient": (lambda y, x: x / (1 + y.sigmoid()), FEATURES),
    "reciprocal": (lambda y, x: 2 / (1 + y.sigmoid()), FEATURES),
    "softsign": (lambda y, x: F.softsign(y), FEATURES),
    "without autocast": (in_float32, FEATURES),
    "response norm": (grn, MAPS),
    "normalised by sums": (lambda y, x: F.normalize(y.relu() + 0.1, p=1.0), FEATURES),
    "some columns": (lambda y, x: y[:, [0, 2]], FEATURES),
    "rows by index": (lambda y, x: y.index_select(1, torch.tensor([4, 0])), TOKENS),
    "turned by 90 degrees": (lambda y, x: torch.rot90(y, 1, (2, 3)), MAPS),
    "floor": (lambda y, x: (4 * x).floor(), FEATURES),
    "power of two": (lambda y, x: torch.pow(2.0, y), FEATURES),
    "log1p": (lambda y, x: torch.log1p(y.relu()), FEATURES),
    "threshold": (lambda y, x: F.threshold(y, 0.1, -0.2), FEATURES),
    "where": (lambda y, x: torch.where(x > 0, y, 0.5 * y), FEATURES),
    "product with a mask": (lambda y, x: y * (x >= 0.25), FEATURES),
    "larger of two, by a mask": (lambda y, x: torch.where(x > y, x, y), FEATURES),
    "soft shrink": (lambda y, x: F.softshrink(y), FEATURES),
    "clamped by tensors": (
        lambda y, x: y.clamp(torch.arange(8) / 8 - 0.9, x.new_ones(8)),
        FEATURES,
    ),
    "masked scores": (
        lambda y, x: (y @ x.transpose(1, 2)).masked_fill(CAUSAL < 0, -8.0).softmax(-1),
        TOKENS,
    ),
    "attention with a bias": (
        lambda y, x: F.scaled_dot_product_attention(y, x, x, attn_mask=CAUSAL),
        TOKENS,
    ),
    "max pool around negative values": (lambda y, x: F.max_pool2d(y, 3, 2, 1), MAPS),
    "average of what is inside": (
        lambda y, x: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
        MAPS,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_in_float_and_exact_on_tflm(name: str) -> None:
    torch.manual_seed(0)
    function, shape = CASES[name]
    module, x = Case(function, shape).eval(), torch.randn(64, *shape)
    with torch.no_grad():
        wanted = torch.cat([module(each) for each in x.split(1)])
    graph = trace(module, x[:1])
    (found,) = float_outputs(QuantizedNetwork(graph), by_input(graph, x)).values()
    torch.testing.assert_close(found.reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-4)
    model = to_tflite(module, x[:1], calibration=x)
    codes = quantize_all_inputs(read(model), by_input(read(model), x[:8]))
    assert verify(model, codes).mismatches == 0


@pytest.mark.parametrize("value", [-torch.inf, -1e9])
def test_values_that_leave_no_codes_are_refused(value: float) -> None:
    module = Case(lambda y, x: y.masked_fill(x > 0, value), FEATURES).eval()
    with pytest.raises(ExportError, match=r"aten.masked_fill .*; fill with a value within 1,000"):
        trace(module, torch.randn(1, 8))
