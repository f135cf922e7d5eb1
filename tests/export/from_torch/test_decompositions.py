"""Operators that are written in terms of others: equal in float, exact on TFLM."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas import to_tflite
from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from micronas.graph.averages import with_averages
from micronas.graph.integer import run_outputs
from micronas.tflite.reader import read
from micronas.train.codes import quantize_all_inputs
from tests.export.from_torch.cases import Case, Cases, check_exact, check_float, quantize

FEATURES, TOKENS, MAPS = (8,), (6, 10), (4, 8, 8)


def case(function: Callable[..., Any], shape: tuple[int, ...]) -> nn.Module:
    """A layer, and a function of what it gives and of the input."""
    layer = nn.Conv2d(4, 4, 1) if len(shape) == 3 else nn.Linear(shape[-1], shape[-1])
    return Case(lambda x, layer: function(layer(x), x), layer)


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
BY_SHAPE: dict[tuple[int, ...], dict[str, Callable[[Tensor, Tensor], Any]]] = {
    FEATURES: {
        "addcmul": lambda y, x: torch.addcmul(x, y, x, value=0.5),
        "cosine": lambda y, x: F.cosine_similarity(y[:, None], x[:, None] + 3, 2),
        "lerp": lambda y, x: torch.lerp(y, x, 0.3),
        "product": lambda y, x: y.view(-1, 4, 2).prod(2),
        "addmm": lambda y, x: torch.addmm(x.new_ones(3), y, x.new_ones(8, 3)),
        "quotient": lambda y, x: x / (1 + y.sigmoid()),
        "reciprocal": lambda y, x: 2 / (1 + y.sigmoid()),
        "softsign": lambda y, x: F.softsign(y),
        "without autocast": in_float32,
        "unit vectors in five dimensions": lambda y, x: F.normalize(
            y.relu().view(len(y), 2, -1, 1, 2) + 0.1, dim=2
        ).flatten(1),
        "normalised by sums": lambda y, x: F.normalize(y.relu() + 0.1, p=1.0),
        "some columns": lambda y, x: y[:, [0, 2]],
        "floor": lambda y, x: (4 * x).floor(),
        "power of two": lambda y, x: torch.pow(2.0, y),
        "log1p": lambda y, x: torch.log1p(y.relu()),
        "threshold": lambda y, x: F.threshold(y, 0.1, -0.2),
        "where": lambda y, x: torch.where(x > 0, y, 0.5 * y),
        "product with a mask": lambda y, x: y * (x >= 0.25),
        "larger of two, by a mask": lambda y, x: torch.where(x > y, x, y),
        "soft shrink": lambda y, x: F.softshrink(y),
        "clamped by tensors": lambda y, x: y.clamp(torch.arange(8) / 8 - 0.9, x.new_ones(8)),
        "distances": lambda y, x: torch.cdist(y, 2 * torch.eye(8)[:4]),
        "place of the largest": lambda y, x: y.argmax(1),
    },
    MAPS: {
        "glu": lambda y, x: F.glu(y, 1),
        "columns of windows": lambda y, x: F.unfold(y, 3, padding=1),
        "response norm": grn,
        "turned by 90 degrees": lambda y, x: torch.rot90(y, 1, (2, 3)),
        "response norm of neighbours": lambda y, x: F.local_response_norm(y, 3),
        "windows added up": lambda y, x: F.fold(F.unfold(y, 3, padding=1), (8, 8), 3, padding=1),
        "resized by cubes": lambda y, x: F.interpolate(
            y, (5, 11), mode="bicubic", align_corners=True
        ),
        "resized by a factor": lambda y, x: F.interpolate(y, scale_factor=1.3, mode="bilinear"),
        "nearest by a factor": lambda y, x: F.interpolate(y, scale_factor=1.3),
        "a sequence resized by a factor": lambda y, x: F.interpolate(
            y.flatten(2), scale_factor=1.3, mode="linear"
        ).flatten(1),
        "resized without aliases": lambda y, x: F.interpolate(
            y, (5, 5), mode="bilinear", antialias=True
        ),
        "windows pooled one by one": windows,
        "classes of pixels": lambda y, x: y.argmax(1),
        "sequences one by one": lambda y, x: F.conv1d(
            y.reshape(2, 4, 32), TAPS[..., 0], padding=1
        ).reshape(1, -1),
        "sequences padded and pooled one by one": lambda y, x: F.max_pool1d(
            F.pad(y.reshape(2, 4, 32), (1, 2)), 3, 2, 1
        ).reshape(1, -1),
        "a number for each example": lambda y, x: y.mean((1, 2, 3)),
        "padded with ones": lambda y, x: F.pad(y, (1, 0, 2, 1), value=1.0),
        "padded and cropped": lambda y, x: F.pad(y, (-1, 2, 1, -2)),
        "edges of minus infinity": lambda y, x: F.max_pool2d(
            F.pad(y, (0, 1, 0, 1), value=-torch.inf), 3, 2
        ),
        "averages of uneven windows": lambda y, x: F.adaptive_avg_pool2d(y, (3, 4)),
        "averages of more than there are": lambda y, x: F.adaptive_avg_pool2d(y, 12),
        "a map that is repeated": lambda y, x: F.adaptive_avg_pool2d(
            y.mean((2, 3), keepdim=True), (3, 2)
        ),
        "maxima of a row that is repeated": lambda y, x: F.adaptive_max_pool2d(y[:, :, :1], (2, 5)),
        "averages of windows that overlap": lambda y, x: F.adaptive_avg_pool2d(y, (7, 1)),
        "maxima of uneven windows": lambda y, x: F.adaptive_max_pool2d(y, 3),
        "maxima of pixels apart": lambda y, x: F.max_pool2d(y, 3, 2, 1, 2),
        "averages of another divisor": lambda y, x: F.avg_pool2d(y, 2, divisor_override=3),
        "groups convolved backwards": lambda y, x: F.conv_transpose2d(
            y, TAPS[:, :2], None, 2, 1, 1, groups=2
        ),
        "channels convolved backwards": lambda y, x: F.conv_transpose2d(
            y, TAPS[:, :2], TAPS[0, 0, 0, :1].repeat(8), (1, 2), groups=4
        ),
        "groups convolved backwards and cut": lambda y, x: F.conv_transpose2d(
            y, TAPS[:, :2, :2, :2], None, 2, 2, groups=2
        ),
        "taps apart, backwards": lambda y, x: F.conv_transpose2d(y, TAPS, None, 1, 2, dilation=2),
        "convolved backwards and cut": lambda y, x: F.conv_transpose2d(y, TAPS, None, 2, 2),
        "strides beyond the taps, backwards": lambda y, x: F.conv_transpose2d(
            y, TAPS[..., :2, :2], None, 3, 1, 1
        ),
        "average of what is inside": lambda y, x: F.avg_pool2d(y, 3, 2, 1, count_include_pad=False),
    },
    TOKENS: {
        "rms norm": lambda y, x: F.rms_norm(y, (10,), x.new_ones(10) * 2),
        "standard deviation": lambda y, x: y.std(1),
        "variance and mean": lambda y, x: torch.cat(torch.var_mean(y, 1), 1),
        "population variance": lambda y, x: y.var(1, unbiased=False),
        "unfold": lambda y, x: y.unfold(2, 3, 1).flatten(2),
        "repeat interleaved": lambda y, x: y.repeat_interleave(2, 1),
        "cumulative sum": lambda y, x: y.cumsum(1),
        "log of a sum": lambda y, x: y.logsumexp(2),
        "smallest": lambda y, x: y.amin(1),
        "difference": lambda y, x: y.diff(dim=1),
        "einsum of two values": lambda y, x: torch.einsum("bqc,bkc->bqk", y, x),
        "einsum with a constant": lambda y, x: torch.einsum(
            "btc,dc->btd", y, torch.arange(30.0).view(3, 10) / 30
        ),
        "a matrix for each head": lambda y, x: y.view(-1, 6, 2, 5).transpose(1, 2) @ HEADS,
        "a matrix in front for each head": lambda y, x: (
            HEADS.transpose(1, 2) @ y.view(-1, 6, 2, 5).permute(0, 2, 3, 1)
        ),
        "matrices of heads by a shared one": lambda y, x: (
            y.view(-1, 2, 3, 10) @ x[:, None, :2].transpose(2, 3)
        ),
        "a shared matrix by matrices in five dimensions": lambda y, x: (
            x[:, None, :1, None] @ y.view(-1, 3, 2, 10, 1)
        ).flatten(2),
        "assigned in place": assigned,
        "rows by index": lambda y, x: y.index_select(1, torch.tensor([4, 0])),
        "masked scores": lambda y, x: (
            (y @ x.transpose(1, 2)).masked_fill(CAUSAL < 0, -8.0).softmax(-1)
        ),
        "scores filled with minus infinity": lambda y, x: (
            (y @ x.transpose(1, 2)).masked_fill(CAUSAL < 0, -torch.inf).softmax(-1)
        ),
        "scores or minus infinity": lambda y, x: torch.where(
            CAUSAL == 0, y @ x.transpose(1, 2), -1e9
        ).softmax(-1),
        "scores and minus infinity": lambda y, x: (y @ x.transpose(1, 2) + HIDDEN).softmax(-1),
        "causal attention": lambda y, x: F.scaled_dot_product_attention(y, x, x, is_causal=True),
        "attention to some": lambda y, x: F.scaled_dot_product_attention(
            y, x, x, attn_mask=CAUSAL == 0
        ),
        "attention with a computed bias": lambda y, x: F.scaled_dot_product_attention(
            y, x, x, attn_mask=y[:, :, :6]
        ),
        "a multiple added": lambda y, x: torch.add(y, x, alpha=2) - torch.sub(y, x, alpha=0.5),
        "distances of pairs": lambda y, x: F.pairwise_distance(y, x),
        "place of the smallest": lambda y, x: y.argmin(-1, keepdim=True),
        "smallest in rows": lambda y, x: y.min(1).values,
        "attention with a bias": lambda y, x: F.scaled_dot_product_attention(
            y, x, x, attn_mask=CAUSAL
        ),
        "tokens padded with a half": lambda y, x: F.pad(y, (0, 1), value=0.5),
    },
    (4, 8, 7): {
        "averages beyond their padding": lambda y, x: F.avg_pool2d(y, 3, 2, 1, ceil_mode=True)
    },
}
CASES = {name: (each, shape) for shape, cases in BY_SHAPE.items() for name, each in cases.items()}


def groups() -> Iterator[list[str]]:
    for cases in BY_SHAPE.values():
        names = [*cases]
        yield from (names[place : place + 8] for place in range(0, len(names), 8))


@pytest.mark.long
@pytest.mark.parametrize("names", [*groups()], ids=" | ".join)
def test_equal_in_float_and_exact_on_tflm(names: list[str]) -> None:
    torch.manual_seed(0)
    module = Cases([case(*CASES[name]) for name in names]).eval()
    x = torch.randn(32, *CASES[names[0]][1])
    with torch.no_grad():
        answers = zip(*(module(each) for each in x.split(1)), strict=True)
        wanted = [torch.cat(parts) for parts in answers]
    graph = trace(module, x[:1])
    check_float(graph, x, wanted, names, rtol=1e-3, atol=1e-4)
    # as to_tflite does, which traces anew
    check_exact(quantize(with_averages(graph, "parts"), x), x[:8])


@pytest.mark.parametrize("value", [-torch.inf, -1e9])
def test_values_that_leave_no_codes_are_refused(value: float) -> None:
    module = case(lambda y, x: y.masked_fill(x > 0, value), FEATURES).eval()
    with pytest.raises(ExportError, match=r"aten.masked_fill .*; fill with a value within 1,000"):
        trace(module, torch.randn(1, 8))


def test_a_code_is_the_place_of_the_largest() -> None:
    torch.manual_seed(0)
    module, x = case(lambda y, x: tuple(y.max(1)), FEATURES).eval(), torch.randn(64, 8)
    model = to_tflite(module, x[:1], calibration=x)
    found = run_outputs(read(model), quantize_all_inputs(read(model), x))
    values, places = found.values()
    assert values.dtype == places.dtype == np.int8
    agree = places.ravel().astype(int) + 128 == module(x)[1].numpy()
    assert agree.mean() > 0.9  # but where two are within a step


def test_a_map_that_is_cut_off_is_refused() -> None:
    with pytest.raises(ExportError, match="all are cut off"):
        trace(nn.ZeroPad2d((0, 0, -1, 1)).eval(), torch.zeros(1, 4, 1, 20))
