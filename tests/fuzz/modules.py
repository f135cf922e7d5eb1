"""Modules of torch, put together at random, given to the exporter.

What torch runs is exported, or refused in one line. What is exported gives the bytes of integer
execution on TFLM, and in float what torch gives; see `tests.fuzz._harness` for the bounds.
"""

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas import to_tflite
from micronas.errors import MicronasError
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.graph.ir import Graph
from micronas.tflite.reader import read
from micronas.train.codes import quantize_all_inputs
from micronas.train.network import interpret_outputs
from micronas.train.quantize import QuantizedNetwork
from tests.export.from_torch.cases import Case
from tests.fuzz._harness import rounds

_LARGEST = 8000
"""Elements of one example that a step may give."""
_FLOAT_APART = 1e-2
"""Of the largest answer."""
_CANCELLED = 1e-6
"""Beside that: what float32 leaves of values near 1 that cancel."""
_MOST_STEPS = 64
"""Of a recurrent layer, which torch records one by one: 512 take longer than a case may."""
_ODD = (0, 1, 1, 1, 2, 2, 3, 4, 5, 7)


class Again(nn.Module):
    """Steps around which their input comes back."""

    def __init__(self, inner: nn.Module, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.join = inner, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(x, self.inner(x))


Maker = Callable[[random.Random, Sequence[int]], tuple[Any, ...]]
"""From the shape of a batch, a function of it and its layers; torch may refuse them."""


def _n(source: random.Random) -> int:
    return source.choice(_ODD)


def _pair(source: random.Random) -> tuple[int, int]:
    return _n(source), _n(source)


def _call(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(x)


def _conv(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    kind = (nn.Conv1d, nn.Conv2d)[len(shape) == 4]
    channels = shape[1]
    groups = source.choice((1, 1, channels, 2))
    out = source.choice((groups, 2 * groups, 8, 5))
    some = _pair if len(shape) == 4 else _n
    padding = source.choice((some(source), 0, "same"))
    mode = source.choice(("zeros", "zeros", "zeros", "reflect", "replicate", "circular"))
    layer = kind(  # type: ignore[operator]
        channels,
        out,
        some(source),
        source.choice((1, 1, some(source))),
        padding,
        source.choice((1, 1, some(source))),
        groups,
        bias=source.random() < 0.5,
        padding_mode=mode,
    )
    return _call, layer


def _transposed(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    steps, kernel = source.randint(1, 3), source.randint(1, 4)
    return _call, nn.ConvTranspose2d(shape[1], 4, kernel, steps, _n(source), source.choice((0, 1)))


def _norm(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    layers = [nn.LayerNorm(list(shape[-source.randint(1, len(shape) - 1) :]))]
    if len(shape) > 2:
        kind = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
        layers += [kind(shape[1]), nn.GroupNorm(source.choice((1, 2)), shape[1])]  # type: ignore[list-item]
    layer = source.choice(layers)
    for values in layer.parameters():
        nn.init.normal_(values, 1, 0.3)
    return _call, layer


def _pool(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    maps = len(shape) == 4
    kind = source.choice(
        ((nn.MaxPool1d, nn.AvgPool1d), (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d))[maps]
    )
    some = _pair if maps else _n
    if kind is nn.LPPool2d:
        return _call, kind(2, some(source))
    return _call, kind(some(source), some(source), _n(source) // 3, ceil_mode=source.random() < 0.3)  # type: ignore[operator]


def _adaptive(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    kinds = ((nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), (nn.AdaptiveAvgPool2d,))[len(shape) == 4]
    return _call, source.choice(kinds)(source.choice((1, 1, 2, 3)))


def _activation(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    kinds = "ReLU ReLU6 Hardswish Sigmoid Tanh GELU SiLU ELU LeakyReLU PReLU Softplus Mish Hardtanh"
    kinds += " SELU CELU LogSigmoid Softsign Tanhshrink Hardsigmoid ReLU"
    return _call, getattr(nn, source.choice(kinds.split()))()


def _linear(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    return _call, nn.Linear(shape[-1], source.choice((1, 3, 8, 16)), bias=source.random() < 0.8)


def _recurrent(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    if shape[1] > _MOST_STEPS:
        raise ValueError("too many steps")
    kind = source.choice((nn.GRU, nn.LSTM))
    layer = kind(shape[-1], source.choice((3, 8)), batch_first=True)
    return (lambda x, cell: cell(x)[0]), layer


def _attention(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    layer = nn.MultiheadAttention(shape[-1], source.choice((1, 2)), batch_first=True)
    return (lambda x, cell: cell(x, x, x, need_weights=False)[0]), layer


def _around(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    sides = [source.choice((0, 0, 1, 2, -1)) for _ in range(2 * source.randint(1, len(shape) - 1))]
    mode = source.choice(("constant", "constant", "reflect", "replicate"))
    value = source.choice((0.0, 1.0, -2.5)) if mode == "constant" else None
    return (lambda x: F.pad(x, sides, mode, value),)


def _resize(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    mode = source.choice(("nearest", "bilinear") if len(shape) == 4 else ("nearest", "linear"))
    corners = source.choice((None, True, False)) if mode != "nearest" else None
    if source.random() < 0.5:
        return (lambda x: F.interpolate(x, scale_factor=2, mode=mode, align_corners=corners),)
    size = [source.randint(1, 12) for _ in shape[2:]]
    return (lambda x: F.interpolate(x, size, mode=mode, align_corners=corners),)


def _moved(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    order = [0, *source.sample(range(1, len(shape)), len(shape) - 1)]
    axis, other = source.randrange(1, len(shape)), source.randrange(-1, len(shape))
    step, start = source.choice((1, 1, 2, 3)), source.choice((0, 0, 1, -2))
    parts = source.choice((2, 3))
    return source.choice(
        [
            (lambda x: x.permute(order),),
            (lambda x: x.transpose(axis, other),),
            (lambda x: x.flatten(axis),),
            (lambda x: x.narrow(axis, 1, x.shape[axis] - 1),),
            (lambda x: x[:, start::step],),
            (lambda x: x.flip(axis),),
            (lambda x: x.roll(1, axis),),
            (lambda x: x.unflatten(axis, (parts, -1)).transpose(1, axis + 1).flatten(1, 2),),
            (lambda x: torch.cat(x.chunk(parts, axis)[::-1], axis),),
            (lambda x: x.reshape(len(x), -1, parts),),
            (lambda x: x.reshape(len(x), x.shape[-1], -1),),
            (lambda x: x.unsqueeze(axis).squeeze(axis),),
            (lambda x: x.repeat_interleave(2, axis),),
            (lambda x: F.pixel_unshuffle(x, 2),),
            (lambda x: F.channel_shuffle(x, parts),),
        ]
    )


def _reduced(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    some = source.sample(range(1, len(shape)), source.randint(1, len(shape) - 1))
    keep, axis = source.random() < 0.5, some[0]
    return source.choice(
        [
            (lambda x: x.mean(some, keepdim=keep),),
            (lambda x: x.sum(some, keepdim=keep),),
            (lambda x: x.amax(some, keepdim=keep),),
            (lambda x: x.softmax(axis),),
            (lambda x: x.log_softmax(axis),),
            (lambda x: F.normalize(x, dim=axis),),
            (lambda x: x.var(axis, keepdim=True),),
            (lambda x: x.std(axis),),
            (lambda x: x.norm(dim=axis),),
            (lambda x: x.cumsum(axis),),
        ]
    )


def _computed(source: random.Random, shape: Sequence[int]) -> tuple[Any, ...]:
    number = source.choice((0.5, -1.0, 2, 3.7, 0))
    constant = torch.randn(shape[1:] if source.random() < 0.3 else shape[-1:])
    return source.choice(
        [
            (lambda x: x + number,),
            (lambda x: number - x,),
            (lambda x: x * number,),
            (lambda x: x / (number or 1),),
            (lambda x: x + constant,),
            (lambda x: x * constant,),
            (lambda x: x * x,),
            (lambda x: x.abs().sqrt(),),
            (lambda x: x.clamp(-1, number),),
            (lambda x: torch.maximum(x, constant),),
            (lambda x: torch.where(x > 0, x, number * x),),
            (lambda x: x.exp() if x.abs().max() < 5 else x,),
            (lambda x: (x.sigmoid() * x).neg(),),
            (lambda x: x @ x.transpose(-1, -2),),
            (lambda x: x - x.mean(-1, keepdim=True),),
            (lambda x: x.square().mean(1, keepdim=True).add(0.1).rsqrt() * x,),
            (lambda x: torch.atan2(x, x + 3),),
            (lambda x: x.round(),),
            (lambda x: x.float().half().float(),),
        ]
    )


_STEPS: Mapping[int, Sequence[Maker]] = {
    2: (_linear, _linear, _activation, _norm, _moved, _reduced, _computed),
    3: (
        *(_conv, _conv, _norm, _pool, _adaptive, _activation, _linear, _recurrent, _attention),
        *(_around, _resize, _moved, _moved, _reduced, _computed),
    ),
    4: (
        *(_conv, _conv, _conv, _transposed, _norm, _pool, _adaptive, _activation, _linear),
        *(_around, _resize, _moved, _moved, _reduced, _computed),
    ),
}
"""By the number of dimensions, that of the batch included."""
_SHAPES = ((3, 16, 16), (1, 25, 10), (8, 7, 5), (4, 1, 20), (6, 40), (1, 16), (7, 8), (16,), (30,))
_JOINS: Sequence[Callable[[Tensor, Tensor], Tensor]] = (
    torch.add,
    torch.mul,
    torch.sub,
    lambda x, y: torch.cat([x, y], 1),
    lambda x, y: torch.stack([x, y], 1).sum(1),
)


def run(seconds: float, seed: int) -> None:
    """Export modules until the time is over."""
    rounds(seconds, seed, _case)


def _case(source: random.Random) -> str:
    shape = source.choice(_SHAPES)
    return _exported(_steps(source, shape), shape, source)


def _steps(source: random.Random, shape: Sequence[int]) -> nn.Sequential:
    """Return one to six steps that torch can run one after the other."""
    count = source.randint(1, 6)
    torch.manual_seed(source.randrange(2**31))
    found: list[nn.Module] = []
    x = torch.randn(2, *shape)
    for _ in range(count):
        for _ in range(20):
            maker = source.choice(_STEPS.get(x.dim(), (_moved, _reduced, _computed)))
            # torch refuses by exceptions of every type
            with suppress(Exception), warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                step: nn.Module = Case(*maker(source, x.shape))
                if source.random() < 0.2:
                    step = Again(step, source.choice(_JOINS))
                y = step.eval()(x)
                usable = 0 < y[0].numel() < _LARGEST and y.isfinite().all()
                # of values that are alike a mean over examples would not be seen
                if usable and all(_stand_alone(step, each) for each in (x, torch.randn_like(x))):
                    found.append(step)
                    x = y
                    break
    return nn.Sequential(*found)


def _stand_alone(step: nn.Module, x: Tensor) -> bool:
    """Whether examples do not mix: a network is exported for one."""
    y, alone = step(x), torch.cat([step(x[:1]), step(x[1:])])
    return y.shape == alone.shape and torch.allclose(y, alone, atol=1e-4, equal_nan=True)


def _exported(module: nn.Sequential, shape: Sequence[int], source: random.Random) -> str:
    names = [getattr(each, "name", "again") for each in module]
    what = f"{tuple(shape)} {' '.join(names)}"
    x = torch.randn(16, *shape) * source.choice((0.03, 1.0, 1.0, 20.0))
    try:
        graph = trace(module.eval(), x[:1])
        network = QuantizedNetwork(graph)
        with torch.no_grad():
            exact = _resized_exactly(network.float_graph)
            (found,) = interpret_outputs(exact, x, network.exact).values()
            wanted = module(x)
        scale = float(wanted.abs().max())
        if not 1e-6 < scale < 1e6:
            return f"{what}: no answers to compare"
        apart = float((found.reshape(wanted.shape) - wanted).abs().max())
        assert apart <= _FLOAT_APART * scale + _CANCELLED, f"{what}: {apart} from torch's {scale}"
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            model = to_tflite(module, x[:1], calibration=x)
    except MicronasError as error:
        assert str(error).isprintable(), (what, error)  # noqa: PT017
        return f"{what}: refused: {error}"
    except Exception as error:
        raise AssertionError(what) from error
    written = read(model)
    is_map = len(written.tensors[written.inputs[0]].shape) == 4  # so are most sequences
    given = x[:4].unsqueeze(-1) if is_map and len(shape) == 2 else x[:4]
    assert verify(model, quantize_all_inputs(written, given)).mismatches == 0, what
    return what


def _resized_exactly(graph: Graph) -> Graph:
    """Resize maps at real positions: TFLM's, in 1/1024 of a pixel, are no claim of the exporter's.

    What they lose is bounded where a map is resized, but not after what enlarges it.
    """
    names = [op.outputs[0] for op in graph.ops if op.kind == "RESIZE_BILINEAR"]
    marked = {name: replace(graph.tensors[name], dtype="float32") for name in names}
    return replace(graph, tensors={**graph.tensors, **marked})
