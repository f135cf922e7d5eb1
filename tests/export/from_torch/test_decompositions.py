"""Operators that are written in terms of others: equal in float, exact on TFLM."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export import to_tflite
from micronas.export.from_torch.module import quantize
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.graph.averages import with_averages
from micronas.graph.integer import run_outputs
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
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


def windows(y: Tensor, x: Tensor) -> Tensor:
    """Pool windows of a map, put side by side along the batch."""
    parts = y.view(-1, 4, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 4, 4, 4)
    return F.max_pool2d(parts, 2).view(-1, 4 * 4 * 4)


def assigned(y: Tensor, x: Tensor) -> Tensor:
    """Change some rows in place, every second one, one element of each, and one row."""
    y = y.clone()
    y[:, 2:] += x[:, 2:]
    y[:, ::2] = x[:, 1::2]
    y[:, :, 3] = y[:, :, 4]
    y[:, 1] = 0.5
    return y


HEADS = torch.linspace(-1, 1, 2 * 5 * 3).sin().reshape(2, 5, 3)
TAPS = torch.linspace(-1, 1, 4 * 4 * 9).reshape(4, 4, 3, 3)
CAUSAL = torch.full((6, 6), -8.0).triu(1)
HIDDEN = torch.where(CAUSAL < 0, -torch.inf, 0.5)
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
    "a matrix for each head": (lambda y, x: y.view(-1, 6, 2, 5).transpose(1, 2) @ HEADS, TOKENS),
    "a matrix in front for each head": (
        lambda y, x: HEADS.transpose(1, 2) @ y.view(-1, 6, 2, 5).permute(0, 2, 3, 1),
        TOKENS,
    ),
    "matrices of heads by a shared one": (
        lambda y, x: y.view(-1, 2, 3, 10) @ x[:, None, :2].transpose(2, 3),
        TOKENS,
    ),
    "a shared matrix by matrices in five dimensions": (
        lambda y, x: (x[:, None, :1, None] @ y.view(-1, 3, 2, 10, 1)).flatten(2),
        TOKENS,
    ),
    "assigned in place": (assigned, TOKENS),
    "addmm": (lambda y, x: torch.addmm(x.new_ones(3), y, x.new_ones(8, 3)), FEATURES),
    "quotient": (lambda y, x: x / (1 + y.sigmoid()), FEATURES),
    "reciprocal": (lambda y, x: 2 / (1 + y.sigmoid()), FEATURES),
    "softsign": (lambda y, x: F.softsign(y), FEATURES),
    "without autocast": (in_float32, FEATURES),
    "response norm": (grn, MAPS),
    "unit vectors in five dimensions": (
        lambda y, x: F.normalize(y.relu().view(len(y), 2, -1, 1, 2) + 0.1, dim=2).flatten(1),
        FEATURES,
    ),
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
    "scores filled with minus infinity": (
        lambda y, x: (y @ x.transpose(1, 2)).masked_fill(CAUSAL < 0, -torch.inf).softmax(-1),
        TOKENS,
    ),
    "scores or minus infinity": (
        lambda y, x: torch.where(CAUSAL == 0, y @ x.transpose(1, 2), -1e9).softmax(-1),
        TOKENS,
    ),
    "scores and minus infinity": (
        lambda y, x: (y @ x.transpose(1, 2) + HIDDEN).softmax(-1),
        TOKENS,
    ),
    "causal attention": (
        lambda y, x: F.scaled_dot_product_attention(y, x, x, is_causal=True),
        TOKENS,
    ),
    "attention to some": (
        lambda y, x: F.scaled_dot_product_attention(y, x, x, attn_mask=CAUSAL == 0),
        TOKENS,
    ),
    "attention with a computed bias": (
        lambda y, x: F.scaled_dot_product_attention(y, x, x, attn_mask=y[:, :, :6]),
        TOKENS,
    ),
    "a multiple added": (
        lambda y, x: torch.add(y, x, alpha=2) - torch.sub(y, x, alpha=0.5),
        TOKENS,
    ),
    "distances": (lambda y, x: torch.cdist(y, 2 * torch.eye(8)[:4]), FEATURES),
    "distances of pairs": (lambda y, x: F.pairwise_distance(y, x), TOKENS),
    "response norm of neighbours": (lambda y, x: F.local_response_norm(y, 3), MAPS),
    "windows added up": (
        lambda y, x: F.fold(F.unfold(y, 3, padding=1), (8, 8), 3, padding=1),
        MAPS,
    ),
    "resized by cubes": (
        lambda y, x: F.interpolate(y, (5, 11), mode="bicubic", align_corners=True),
        MAPS,
    ),
    "resized by a factor": (
        lambda y, x: F.interpolate(y, scale_factor=1.3, mode="bilinear"),
        MAPS,
    ),
    "nearest by a factor": (lambda y, x: F.interpolate(y, scale_factor=1.3), MAPS),
    "resized without aliases": (
        lambda y, x: F.interpolate(y, (5, 5), mode="bilinear", antialias=True),
        MAPS,
    ),
    "windows pooled one by one": (windows, MAPS),
    "place of the largest": (lambda y, x: y.argmax(1), FEATURES),
    "place of the smallest": (lambda y, x: y.argmin(-1, keepdim=True), TOKENS),
    "classes of pixels": (lambda y, x: y.argmax(1), MAPS),
    "smallest in rows": (lambda y, x: y.min(1).values, TOKENS),
    "sequences one by one": (
        lambda y, x: F.conv1d(y.reshape(2, 4, 32), TAPS[..., 0], padding=1).reshape(1, -1),
        MAPS,
    ),
    "sequences padded and pooled one by one": (
        lambda y, x: F.max_pool1d(F.pad(y.reshape(2, 4, 32), (1, 2)), 3, 2, 1).reshape(1, -1),
        MAPS,
    ),
    "a number for each example": (lambda y, x: y.mean((1, 2, 3)), MAPS),
    "attention with a bias": (
        lambda y, x: F.scaled_dot_product_attention(y, x, x, attn_mask=CAUSAL),
        TOKENS,
    ),
    "padded with ones": (lambda y, x: F.pad(y, (1, 0, 2, 1), value=1.0), MAPS),
    "padded and cropped": (lambda y, x: F.pad(y, (-1, 2, 1, -2)), MAPS),
    "tokens padded with a half": (lambda y, x: F.pad(y, (0, 1), value=0.5), TOKENS),
    "edges of minus infinity": (
        lambda y, x: F.max_pool2d(F.pad(y, (0, 1, 0, 1), value=-torch.inf), 3, 2),
        MAPS,
    ),
    "averages of uneven windows": (lambda y, x: F.adaptive_avg_pool2d(y, (3, 4)), MAPS),
    "averages of more than there are": (lambda y, x: F.adaptive_avg_pool2d(y, 12), MAPS),
    "a map that is repeated": (
        lambda y, x: F.adaptive_avg_pool2d(y.mean((2, 3), keepdim=True), (3, 2)),
        MAPS,
    ),
    "maxima of a row that is repeated": (
        lambda y, x: F.adaptive_max_pool2d(y[:, :, :1], (2, 5)),
        MAPS,
    ),
    "averages of windows that overlap": (lambda y, x: F.adaptive_avg_pool2d(y, (7, 1)), MAPS),
    "maxima of uneven windows": (lambda y, x: F.adaptive_max_pool2d(y, 3), MAPS),
    "maxima of pixels apart": (lambda y, x: F.max_pool2d(y, 3, 2, 1, 2), MAPS),
    "averages of another divisor": (lambda y, x: F.avg_pool2d(y, 2, divisor_override=3), MAPS),
    "averages beyond their padding": (
        lambda y, x: F.avg_pool2d(y, 3, 2, 1, ceil_mode=True),
        (4, 8, 7),
    ),
    "groups convolved backwards": (
        lambda y, x: F.conv_transpose2d(y, TAPS[:, :2], None, 2, 1, 1, groups=2),
        MAPS,
    ),
    "channels convolved backwards": (
        lambda y, x: F.conv_transpose2d(
            y, TAPS[:, :2], TAPS[0, 0, 0, :1].repeat(8), (1, 2), groups=4
        ),
        MAPS,
    ),
    "groups convolved backwards and cut": (
        lambda y, x: F.conv_transpose2d(y, TAPS[:, :2, :2, :2], None, 2, 2, groups=2),
        MAPS,
    ),
    "taps apart, backwards": (
        lambda y, x: F.conv_transpose2d(y, TAPS, None, 1, 2, dilation=2),
        MAPS,
    ),
    "convolved backwards and cut": (lambda y, x: F.conv_transpose2d(y, TAPS, None, 2, 2), MAPS),
    "strides beyond the taps, backwards": (
        lambda y, x: F.conv_transpose2d(y, TAPS[..., :2, :2], None, 3, 1, 1),
        MAPS,
    ),
    "max pool around negative values": (lambda y, x: F.max_pool2d(y, 3, 2, 1), MAPS),
    "average of what is inside": (
        lambda y, x: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
        MAPS,
    ),
}


class Cases(nn.Module):
    """Several cases side by side, each with a layer of its own: torch traces them at once."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.cases = nn.ModuleList(Case(*CASES[name]) for name in names)

    def forward(self, x: Tensor) -> Any:
        return tuple(case(x) for case in self.cases)


def groups() -> Iterator[list[str]]:
    for shape in dict.fromkeys(shape for _, shape in CASES.values()):
        names = [name for name, (_, own) in CASES.items() if own == shape]
        yield from (names[place : place + 8] for place in range(0, len(names), 8))


@pytest.mark.parametrize("names", [*groups()], ids=" | ".join)
def test_equal_in_float_and_exact_on_tflm(names: list[str]) -> None:
    torch.manual_seed(0)
    module, x = Cases(names).eval(), torch.randn(32, *CASES[names[0]][1])
    with torch.no_grad():
        answers = zip(*(module(each) for each in x.split(1)), strict=True)
        wanted = [torch.cat(parts) for parts in answers]
    graph = trace(module, x[:1])
    found = float_outputs(QuantizedNetwork(graph), by_input(graph, x)).values()
    for name, got, want in zip(names, found, wanted, strict=True):
        torch.testing.assert_close(
            got.reshape(want.shape),
            want.float(),
            rtol=1e-3,
            atol=1e-4,
            msg=f"{name}: {got} must be {want}",
        )
    written = quantize(with_averages(graph, "parts"), x)  # as to_tflite does, which traces anew
    codes = quantize_all_inputs(written, by_input(written, x[:8]))
    assert verify(to_flatbuffer(written), codes).mismatches == 0


@pytest.mark.parametrize("value", [-torch.inf, -1e9])
def test_values_that_leave_no_codes_are_refused(value: float) -> None:
    module = Case(lambda y, x: y.masked_fill(x > 0, value), FEATURES).eval()
    with pytest.raises(ExportError, match=r"aten.masked_fill .*; fill with a value within 1,000"):
        trace(module, torch.randn(1, 8))


def test_a_code_is_the_place_of_the_largest() -> None:
    torch.manual_seed(0)
    module, x = Case(lambda y, x: tuple(y.max(1)), FEATURES).eval(), torch.randn(64, 8)
    model = to_tflite(module, x[:1], calibration=x)
    found = run_outputs(read(model), quantize_all_inputs(read(model), x))
    values, places = found.values()
    assert values.dtype == places.dtype == np.int8
    agree = places.ravel().astype(int) + 128 == module(x)[1].numpy()
    assert agree.mean() > 0.9  # but where two are within a step


def test_a_map_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ExportError, match="all are cut off"):
        trace(nn.ZeroPad2d((0, 0, -1, 1)).eval(), torch.zeros(1, 4, 1, 20))
