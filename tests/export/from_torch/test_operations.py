"""Operations of torch: the graph computes what torch does, and its integers are TFLM's."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.export.from_torch.module import to_tflite
from micronas.export.from_torch.trace import trace
from tests.export.from_torch.cases import Case, Cases, check_exact, check_float, quantize

MAPS, SEQUENCES, TOKENS = (8, 12, 10), (8, 16), (6, 8)
_LAYOUT = ("TRANSPOSE", "GATHER", "STRIDED_SLICE", "SLICE", "BROADCAST_TO")


def on_maps(function: Callable[..., Any], *layers: nn.Module) -> tuple[nn.Module, Any]:
    return Case(function, *layers), (MAPS,)


def on_sequences(function: Callable[..., Any], *layers: nn.Module) -> tuple[nn.Module, Any]:
    return Case(function, *layers), (SEQUENCES,)


def on_tokens(function: Callable[..., Any], *layers: nn.Module) -> tuple[nn.Module, Any]:
    return Case(function, *layers), (TOKENS,)


def _gated(x: Tensor, gate: nn.Module) -> Tensor:
    return x * torch.sigmoid(gate(x.mean((2, 3))))[:, :, None, None]


def _grouped(x: Tensor) -> Tensor:
    """Shuffle channels as ShuffleNet does: split, join, interleave."""
    left, right = x.chunk(2, 1)
    return F.channel_shuffle(torch.cat([left, F.relu(right)], 1), 2)


def _qkv(x: Tensor, qkv: nn.Linear, out: nn.Linear) -> Tensor:
    n, t, c = x.shape
    q, k, v = qkv(x).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
    return out(y)


def _transformer(
    x: Tensor, norm: nn.Module, qkv: nn.Linear, out: nn.Linear, mlp: nn.Module
) -> Tensor:
    """A block of a vision transformer, behind a class token."""
    x = torch.cat([torch.ones(len(x), 1, x.shape[2]), x], 1)
    x = x + _qkv(norm(x), qkv, out)
    return (x + mlp(x))[:, 0]


def _rows_alone(x: Tensor, qkv: nn.Linear, out: nn.Linear) -> Tensor:
    """Attention of one head: matrices of rows, between convolutions of maps."""
    q, k, v = qkv(F.relu(x)).chunk(3, -1)
    return out((q @ k.transpose(1, 2)).softmax(-1) @ v)


def _talking_heads(x: Tensor, mix: nn.Linear) -> Tensor:
    heads = x.unflatten(2, (4, 2)).transpose(1, 2)
    scores = mix((heads @ heads.transpose(2, 3)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return scores.softmax(-1)


def _unfolded(x: Tensor, norm: nn.Module, conv: nn.Conv2d) -> Tensor:
    """Compute with patches of 2x2, one pixel of each side by side, as MobileViTv2 does."""
    parts = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 1, 3, 5, 2, 4)
    y = parts.flatten(4, 5).flatten(2, 3)
    y = y + conv(norm(y))
    parts = y.reshape(parts.shape).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(x.shape)


def _patches(x: Tensor) -> Tensor:
    """Bring the pixels of patches of 2x2 into the order of MobileViT."""
    parts = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return parts.permute(0, 3, 5, 2, 4, 1).reshape(len(x), -1, x.shape[1])


def _every_third_row_of_patches(x: Tensor) -> Tensor:
    parts = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return parts[:, :, ::3, :, ::2].flatten(1)


def _mixed(x: Tensor, norm: nn.Module, widen: nn.Module, mix: nn.Module) -> Tensor:
    """Gates computed across pixels, twice, as gMLP does."""
    x = x.flatten(2).transpose(1, 2)
    for _ in range(2):
        u, v = F.gelu(widen(norm(x))).chunk(2, -1)
        x = x + u * mix(v.transpose(1, 2)).transpose(1, 2)
    return x.mean(1)


def _radix(x: Tensor, norm: nn.Module, score: nn.Module) -> Tensor:
    """Add up two halves of the channels, weighted by a softmax, as ResNeSt does."""
    halves = norm(x).unflatten(1, (2, 4))
    shares = score(halves.sum(1).mean((2, 3))).unflatten(1, (2, 4)).softmax(1)
    return (halves * shares[..., None, None]).sum(1)


def _boxes(x: Tensor, head: nn.Conv2d) -> Tensor:
    """Decode two anchors per pixel as YOLO does: centres, then sizes."""
    y = head(x).unflatten(1, (2, 5)).permute(0, 1, 3, 4, 2)
    return torch.cat([y[..., :3].sigmoid(), y[..., 3:].tanh()], -1).flatten(1, 3)


CASES: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "silu": lambda: on_maps(F.silu),
    "gelu": lambda: on_maps(F.gelu),
    "mish": lambda: on_maps(F.mish),
    "elu": lambda: on_maps(F.elu),
    "elu of another alpha": lambda: on_maps(lambda x: F.elu(x, 0.5)),
    "leaky": lambda: on_maps(F.leaky_relu),
    "prelu": lambda: on_maps(lambda x, a: a(x), nn.PReLU(8)),
    "tanh": lambda: on_maps(torch.tanh),
    "abs": lambda: on_maps(torch.abs),
    "softplus": lambda: on_maps(F.softplus),
    "hardsigmoid": lambda: on_maps(F.hardsigmoid),
    "folded hardsigmoid": lambda: on_maps(lambda x, c: F.hardsigmoid(c(x)), nn.Conv2d(8, 4, 1)),
    "hardtanh": lambda: on_maps(lambda x, c: F.hardtanh(c(x)), nn.Conv2d(8, 4, 1)),
    "clamp": lambda: on_maps(lambda x: x.clamp(-0.5, 0.75)),
    "log softmax": lambda: on_maps(lambda x: F.log_softmax(x, 1)),
    "softmax over rows": lambda: on_tokens(lambda x: F.softmax(x, -1)),
    "constants": lambda: on_maps(lambda x: (1 - x) * 2 / 3 + 0.5),
    "normalised input": lambda: on_maps(
        lambda x, c: c((x - torch.arange(8.0).view(1, 8, 1, 1)) / 4), nn.Conv2d(8, 4, 1)
    ),
    "subtraction": lambda: on_maps(lambda x, c: c(x) - x, nn.Conv2d(8, 8, 1)),
    "square": lambda: on_maps(lambda x: x**2),
    "gate": lambda: on_maps(_gated, nn.Linear(8, 8)),
    "maximum": lambda: on_maps(lambda x, c: torch.maximum(c(x), x), nn.Conv2d(8, 8, 1)),
    "a bound for each row": lambda: on_maps(
        lambda x, c: x.maximum(c.weight.view(-1, 1)), nn.Linear(1, MAPS[1])
    ),
    "outer product": lambda: on_maps(lambda x: x.mean((2, 3), True) * x.mean(1, True)),
    "groups": lambda: on_maps(lambda x, c: c(x), nn.Conv2d(8, 12, 3, 2, 1, groups=4)),
    "dilation": lambda: on_maps(lambda x, c: c(x), nn.Conv2d(8, 4, 3, padding=2, dilation=2)),
    "depthwise of more": lambda: on_maps(lambda x, c: c(x), nn.Conv2d(8, 16, 3, groups=8)),
    "transposed convolution": lambda: on_maps(lambda x, c: c(x), nn.ConvTranspose2d(8, 4, 2, 2)),
    "its norm": lambda: on_maps(
        lambda x, c, n: n(c(x)), nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.BatchNorm2d(4)
    ),
    "nearest": lambda: on_maps(lambda x: F.interpolate(x, scale_factor=2)),
    "bilinear": lambda: on_maps(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    "corners": lambda: on_maps(
        lambda x: F.interpolate(x, size=(23, 19), mode="bilinear", align_corners=True)
    ),
    "ceil mode": lambda: on_maps(lambda x: F.max_pool2d(x.relu(), 3, 2, ceil_mode=True)),
    "maximum beyond edges": lambda: on_maps(lambda x: F.max_pool2d(x, 3, 2, 1)),
    "maximum of channels": lambda: on_maps(lambda x: x.amax(1, keepdim=True)),
    "mean of channels": lambda: on_maps(lambda x: x.mean(1, keepdim=True)),
    "mean of a row": lambda: on_maps(lambda x: x.mean(3)),
    "sum": lambda: on_maps(lambda x: x.sum((1, 2))),
    "chunk": lambda: on_maps(lambda x: torch.cat(x.chunk(2, 1)[::-1], 1)),
    "shuffle": lambda: on_maps(lambda x, c: c(_grouped(x)), nn.Conv2d(8, 4, 1)),
    "pixel shuffle": lambda: on_maps(lambda x: F.pixel_shuffle(x, 2)),
    "flip": lambda: on_maps(lambda x: x.flip(3)),
    "roll": lambda: on_maps(lambda x: x.roll(1, 2)),
    "reflection": lambda: on_maps(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")),
    "every second": lambda: on_maps(lambda x: x[:, :, ::2, 1::2]),
    "patches": lambda: on_maps(_patches),
    "patches in steps": lambda: on_maps(_every_third_row_of_patches),
    "stack of an edge that is repeated": lambda: on_sequences(
        lambda x: torch.stack([F.pad(x, (1, 0), "reflect"), F.pad(x.abs(), (1, 0))], 1).sum(1)
    ),
    "stack": lambda: on_maps(
        lambda x, c: c(torch.stack([x, -x], 1).flatten(1, 2)), nn.Conv2d(16, 4, 1)
    ),
    "channels last": lambda: on_maps(
        lambda x, n: n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.LayerNorm(8)
    ),
    "group norm": lambda: on_maps(lambda x, n: n(x), nn.GroupNorm(2, 8)),
    "instance norm": lambda: on_maps(lambda x, n: n(x), nn.InstanceNorm2d(8, affine=True)),
    "unit vectors": lambda: on_maps(lambda x: F.normalize(x.mean((2, 3)))),
    "convolution of a sequence": lambda: on_sequences(
        lambda x, c, n: F.max_pool1d(F.relu(n(c(x))), 2),
        nn.Conv1d(8, 4, 3, padding=1),
        nn.BatchNorm1d(4),
    ),
    "dilated sequence": lambda: on_sequences(
        lambda x, c: c(F.pad(x, (4, 0))), nn.Conv1d(8, 4, 3, dilation=2)
    ),
    "sequence to features": lambda: on_sequences(
        lambda x, c, f: f(c(x).flatten(1)), nn.Conv1d(8, 4, 3), nn.Linear(56, 3)
    ),
    "mean over time": lambda: on_sequences(
        lambda x, c: torch.cat([c(x).mean(2), c(x).amax(2)], 1), nn.Conv1d(8, 4, 3)
    ),
    "tokens": lambda: on_tokens(lambda x, f: F.relu(f(x)), nn.Linear(8, 5)),
    "transposed tokens": lambda: on_tokens(lambda x, f: f(x.transpose(1, 2)), nn.Linear(6, 5)),
    "attention": lambda: on_tokens(_qkv, nn.Linear(8, 24), nn.Linear(8, 8)),
    "transformer": lambda: on_tokens(
        _transformer, nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 8)
    ),
    "attention of one head": lambda: on_tokens(_rows_alone, nn.Linear(8, 24), nn.Linear(8, 8)),
    "statistics": lambda: on_maps(
        lambda x, f: f(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)), nn.Linear(16, 3)
    ),
    "talking heads": lambda: on_tokens(_talking_heads, nn.Linear(4, 4)),
    "pixels mixed": lambda: on_maps(_mixed, nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(120, 120)),
    "two radices": lambda: on_maps(_radix, nn.Conv2d(8, 8, 1), nn.Linear(4, 8)),
    "differences from centres": lambda: on_tokens(
        lambda x: (x.unsqueeze(2) - torch.arange(24.0).view(3, 8)).relu().sum(1)
    ),
    "boxes": lambda: on_maps(_boxes, nn.Conv2d(8, 10, 1)),
    "unfolded": lambda: on_maps(_unfolded, nn.GroupNorm(1, 8), nn.Conv2d(8, 8, 1)),
    "matrices of patches": lambda: on_maps(
        lambda x: (y := _patches(x).unflatten(1, (4, 5, -1))) @ y.transpose(4, 3)
    ),
    "layer norm": lambda: on_tokens(lambda x, n: n(x), nn.LayerNorm(8)),
    "layer norm of large values": lambda: on_tokens(lambda x, n: n(1e5 * x), nn.LayerNorm(8)),
    "matrices": lambda: on_tokens(lambda x: x @ x.transpose(1, 2)),
    "lstm": lambda: on_tokens(lambda x, r: r(x)[0], nn.LSTM(8, 5, 2, batch_first=True)),
    "last step of an lstm": lambda: on_tokens(
        lambda x, r, f: f(r(x)[1][0][0]), nn.LSTM(8, 5, batch_first=True), nn.Linear(5, 3)
    ),
    "several": lambda: (
        Case(lambda x, y, c: {"sum": c(x) + y, "mean": y.mean((2, 3))}, nn.Conv2d(8, 8, 1)),
        (MAPS, MAPS),
    ),
    "attention of one token, and of one head": lambda: (
        Case(
            lambda x, y, a, b: {"token": a(x, x, x)[0], "head": b(y, y, y)[0]},
            nn.MultiheadAttention(16, 2, batch_first=True),
            nn.MultiheadAttention(8, 1, batch_first=True),
        ),
        ((1, 16), TOKENS),
    ),
    "sixteen parts": lambda: on_maps(lambda x: torch.cat([x] * 16, 1)),
    "with a constant": lambda: on_tokens(lambda x: torch.cat([torch.ones(len(x), 1, 8), x], 1)),
}
"""Modules and the shapes of their inputs."""
_MOST = {
    1: "pixel shuffle | flip | roll | every second | patches | transposed tokens | "
    "last step of an lstm",
    2: "chunk | shuffle | reflection | patches in steps | "
    "stack of an edge that is repeated | two radices | unfolded | matrices of patches",
    3: "attention of one head",
    4: "talking heads | boxes",
    5: "attention",
    6: "transformer | attention of one token, and of one head",
    8: "pixels mixed",
}
LAYOUTS = {name: most for most, names in _MOST.items() for name in names.split(" | ")}
"""Most layout operators, where there are any."""


RESHAPES = {
    **dict.fromkeys(("statistics", "maximum beyond edges", "reflection"), 0),
    "differences from centres": 1,
    **dict.fromkeys(("attention of one head", "talking heads", "boxes", "pixels mixed"), 2),
    **dict.fromkeys(("attention", "transformer", "two radices", "unfolded"), 4),
}
"""Most reshapes, which are needed only between different rows."""


def groups() -> Iterator[list[str]]:
    """Yield cases of one input that need no layout operator by eights, and the others alone."""
    plain: defaultdict[Any, list[str]] = defaultdict(list)
    for name, make in CASES.items():
        if name in LAYOUTS or name in RESHAPES:
            yield [name]
        else:
            plain[make()[1]].append(name)
    for names in plain.values():
        yield from (names[place : place + 8] for place in range(0, len(names), 8))


@pytest.mark.long
@pytest.mark.parametrize("names", [*groups()], ids=" | ".join)
def test_computes_what_torch_does(names: list[str]) -> None:
    torch.manual_seed(0)
    made = [CASES[name]() for name in names]
    module = Cases([case for case, _ in made]).eval()
    inputs = tuple(torch.randn(4, *shape) for shape in made[0][1])
    graph = trace(module, tuple(x[:1] for x in inputs))
    assert sum(op.kind in _LAYOUT for op in graph.ops) <= LAYOUTS.get(names[0], 0)
    assert sum(op.kind == "RESHAPE" for op in graph.ops) <= RESHAPES.get(names[0], len(graph.ops))
    with torch.no_grad():
        check_float(graph, inputs, module(*inputs), rtol=1e-4, atol=2e-4)
    check_exact(quantize(graph, [inputs]), inputs)


@pytest.mark.parametrize(
    "moved",
    [
        lambda x: F.channel_shuffle(x, 2).chunk(2, 1)[1].relu(),
        lambda x: x.chunk(2, 1)[1].relu(),
        lambda x: x[:, :, ::2],
    ],
)
def test_axes_are_cut_where_they_are_stored(moved: Callable[[Tensor], Tensor]) -> None:
    graph = trace(Case(moved).eval(), torch.randn(1, *MAPS))
    assert "RESHAPE" not in {op.kind for op in graph.ops}


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.LayerNorm(8), TOKENS),
        (nn.GroupNorm(2, 8), MAPS),
        (nn.InstanceNorm2d(8, affine=True), MAPS),
    ],
)
def test_norms_of_quiet_inputs_are_held_down_by_epsilon(
    norm: nn.Module, shape: tuple[int, ...]
) -> None:
    """Without it these would be three times as large."""
    torch.manual_seed(1)
    x = 1e-3 * torch.randn(4, *shape)
    with torch.no_grad():
        check_float(trace(norm.eval(), x[:1]), x, [norm(x)], atol=1e-4, rtol=1e-3)
    model = to_tflite(norm, x[:1], calibration=x, check=[(x, None)])
    check_exact(model, x)
    assert model.check.sqnr_db > 20
