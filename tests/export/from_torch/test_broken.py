"""More than two hundred modules that cannot be exported; each says why in one line."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.module import to_tflite
from tests.export.from_torch.test_trace import Apply, image


def unsupported() -> Iterator[tuple[str, Callable[[], nn.Module], Any]]:
    """Operations without an operator, each with its ATen name, alone and behind a layer."""
    functions: dict[str, Callable[[Tensor], Any]] = {
        "silu": F.silu,
        "mish": F.mish,
        "gelu": F.gelu,
        "elu": F.elu,
        "selu": F.selu,
        "celu": F.celu,
        "leaky_relu": F.leaky_relu,
        "softplus": F.softplus,
        "softsign": F.softsign,
        "hardsigmoid": F.hardsigmoid,
        "tanh": torch.tanh,
        "log_softmax": lambda x: F.log_softmax(x, 1),
        "hardtanh": F.hardtanh,
        "hardshrink": F.hardshrink,
        "softshrink": F.softshrink,
        "tanhshrink": F.tanhshrink,
        "logsigmoid": F.logsigmoid,
        "threshold": lambda x: F.threshold(x, 1.0, 2.0),
        "exp": torch.exp,
        "log": torch.log1p,
        "sqrt": lambda x: x.abs().sqrt(),
        "abs": torch.abs,
        "neg": torch.neg,
        "sin": torch.sin,
        "cos": torch.cos,
        "pow": lambda x: x**2,
        "square": torch.square,
        "reciprocal": torch.reciprocal,
        "rsqrt": lambda x: torch.rsqrt(x.abs() + 1),
        "erf": torch.erf,
        "sign": torch.sign,
        "floor": torch.floor,
        "round": torch.round,
        "mul_scalar": lambda x: x * 2,
        "div": lambda x: x / 2,
        "sub": lambda x: x - 1,
        "add_scalar": lambda x: x + 1,
        "rsub": lambda x: 1 - x,
        "maximum": lambda x: torch.maximum(x, -x),
        "clamp": lambda x: x.clamp(-1, 1),
        "clamp_max": lambda x: x.clamp(max=1),
        "where": lambda x: torch.where(x > 0, x, 0.0),
        "cumsum": lambda x: x.cumsum(1),
        "flip": lambda x: x.flip(1),
        "roll": lambda x: x.roll(1, 1),
        "sort": lambda x: x.sort(1).values,
        "norm": lambda x: F.normalize(x, dim=1),
        "softmax_rows": lambda x: torch.softmax(x, 0),
        "slice": lambda x: x[:, :1],
        "repeat": lambda x: x.repeat(1, 2, *[1] * (x.ndim - 2)),
        "expand": lambda x: x[:, :1].expand(x.shape),
        "chunk": lambda x: x.chunk(2, 1)[0],
        "stack": lambda x: torch.stack([x, x], 1).flatten(1),
        "cat_batch": lambda x: torch.cat([x, x], 0)[:1],
        "addcmul": lambda x: torch.addcmul(x, x, x),
        "sum": lambda x: x.sum(1, keepdim=True),
        "mean_channels": lambda x: x.mean(1, keepdim=True),
        "matmul": lambda x: x.flatten(1) @ torch.ones(x[0].numel(), 2),
        "dropout": lambda x: F.dropout(x),
        "rand": lambda x: x + torch.rand_like(x),
        "pad_ones": lambda x: F.pad(x, (1, 1), value=1.0),
        "crop": lambda x: F.pad(x, (-1, 0)),
        "gather": lambda x: x.gather(1, torch.zeros_like(x, dtype=torch.long)),
        "index": lambda x: x[:, [0]],
        "einsum": lambda x: torch.einsum("n...,n...->n...", x, x),
        "logsumexp": lambda x: x.logsumexp(1, keepdim=True),
        "prod": lambda x: x.prod(1, keepdim=True),
        "amax": lambda x: x.amax(1, keepdim=True),
        "var": lambda x: x.var(1, keepdim=True),
        "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
        "double": lambda x: x.double().relu().float(),
        "half": lambda x: x.half().float(),
        "int": lambda x: x.int().float(),
        "alpha": lambda x: torch.add(x, x, alpha=2),
        "constant_sum": lambda x: x + torch.ones(x.shape),
        "broadcast": lambda x: x + x[:, :1],
        "transposed_sum": lambda x: x + x.transpose(0, 1).reshape(x.shape).flip(0),
    }
    for name, function in functions.items():
        yield f"{name}-features", lambda f=function: Apply(f), torch.randn(1, 4)
        yield (
            f"{name}-map",
            lambda f=function: nn.Sequential(nn.Conv2d(3, 4, 1), Apply(f)),
            image(3, 4, 4),
        )


class NoForward(nn.Module):
    pass


class Parameterless(nn.Module):
    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


def raises(error: Exception) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        raise error

    return forward


def odd() -> Iterator[tuple[str, Callable[[], Any], Any]]:
    """Modules and inputs that break a rule other than having an operator."""
    four, maps = torch.randn(1, 4), image(4, 6, 6)
    for error in (
        ValueError("a\nb"),
        KeyError("k"),
        RuntimeError(""),
        TypeError("no"),
        OSError(5, "io"),
        AssertionError(),
        NotImplementedError("later"),
        ZeroDivisionError(),
        StopIteration(),
        RecursionError("deep"),
        MemoryError(),
        UnicodeError("ü"),
        AttributeError("x" * 5000),
    ):
        yield f"raises-{type(error).__name__}", lambda e=error: Apply(raises(e)), four
    layers: dict[str, tuple[Callable[[], Any], Any]] = {
        "no-forward": (NoForward, four),
        "class": (lambda: NoForward, four),
        "function": (lambda: F.relu, four),
        "none": (lambda: None, four),
        "script": (lambda: torch.jit.script(nn.ReLU().eval()), four),
        "lazy": (lambda: nn.LazyLinear(3), four),
        "wrong-features": (lambda: nn.Linear(5, 2), four),
        "wrong-channels": (lambda: nn.Conv2d(3, 2, 1), maps),
        "kernel-too-large": (lambda: nn.Conv2d(4, 2, 9), maps),
        "dilated": (lambda: nn.Conv2d(4, 2, 2, dilation=2), maps),
        "transposed-conv": (lambda: nn.ConvTranspose2d(4, 2, 2), maps),
        "reflect": (lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), maps),
        "circular": (lambda: nn.CircularPad2d(1), maps),
        "replicate": (lambda: nn.ReplicationPad2d(1), maps),
        "constant-pad": (lambda: nn.ConstantPad2d(1, 2.0), maps),
        "conv1d": (
            lambda: Apply(lambda m, x: m.c(x.flatten(2)).flatten(1), c=nn.Conv1d(4, 2, 1)),
            maps,
        ),
        "conv3d": (
            lambda: Apply(lambda m, x: m.c(x[:, None]).flatten(1), c=nn.Conv3d(1, 2, 1)),
            maps,
        ),
        "lstm": (lambda: Apply(lambda m, x: m.c(x[:, None])[0][:, 0], c=nn.LSTM(4, 2)), four),
        "gru": (lambda: Apply(lambda m, x: m.c(x[:, None])[0][:, 0], c=nn.GRU(4, 2)), four),
        "attention": (
            lambda: Apply(
                lambda m, x: m.c(x[None], x[None], x[None])[0][0], c=nn.MultiheadAttention(4, 2)
            ),
            four,
        ),
        "layer-norm": (lambda: nn.LayerNorm(4), four),
        "group-norm": (lambda: nn.GroupNorm(2, 4), maps),
        "instance-norm": (lambda: nn.InstanceNorm2d(4), maps),
        "batch-statistics": (lambda: nn.BatchNorm2d(4, track_running_stats=False), maps),
        "local-response": (lambda: nn.LocalResponseNorm(2), maps),
        "prelu": (nn.PReLU, maps),
        "rrelu": (nn.RReLU, maps),
        "upsample": (lambda: nn.Upsample(scale_factor=2), maps),
        "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), maps),
        "pixel-shuffle": (lambda: nn.PixelShuffle(2), maps),
        "channel-shuffle": (lambda: nn.Sequential(nn.ChannelShuffle(2), nn.Conv2d(4, 2, 1)), maps),
        "unfold": (lambda: Apply(lambda x: F.unfold(x, 2).flatten(1)), maps),
        "ceil-pool": (lambda: nn.MaxPool2d(4, ceil_mode=True), maps),
        "dilated-pool": (lambda: nn.MaxPool2d(2, dilation=2), maps),
        "padded-max-pool": (lambda: nn.MaxPool2d(3, 2, 1), maps),
        "padded-average-pool": (lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False), maps),
        "divisor": (lambda: nn.AvgPool2d(2, divisor_override=3), maps),
        "lp-pool": (lambda: nn.LPPool2d(2, 2), maps),
        "uneven-adaptive-pool": (lambda: nn.AdaptiveAvgPool2d(4), maps),
        "linear-on-map": (lambda: nn.Linear(6, 2), maps),
        "transposed-map": (
            lambda: nn.Sequential(Apply(lambda x: x.transpose(2, 3)), nn.Conv2d(4, 2, 1)),
            image(4, 6, 5),
        ),
        "flat-to-map": (
            lambda: nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 1, 1)),
            four,
        ),
        "flattened-output": (lambda: nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten()), maps),
        "embedding": (lambda: nn.Embedding(5, 2), torch.zeros(1, 4, dtype=torch.long)),
        "bilinear-layer": (lambda: Apply(lambda m, x: m.c(x, x), c=nn.Bilinear(4, 4, 2)), four),
        "nothing": (nn.Identity, four),
        "constant": (lambda: Apply(lambda x: torch.ones(1, 2)), four),
        "sigmoid-and-relu": (lambda: Apply(lambda x: torch.cat([x.sigmoid(), x.relu()], 1)), four),
        "eleven-parts": (lambda: Apply(lambda x: torch.cat([x] * 11, 1)), four),
        "two-outputs": (lambda: Apply(lambda x: (x.relu(), x)), four),
        "dictionary": (lambda: Apply(lambda x: {"y": x.relu()}), four),
        "number": (lambda: Apply(lambda x: x.sum().item()), four),
        "returns-none": (lambda: Apply(lambda x: None), four),
        "scalar": (lambda: Apply(lambda x: x.mean()), four),
        "vector": (lambda: Apply(lambda x: x.relu()[0]), four),
        "three-dimensions": (lambda: Apply(lambda x: x.relu()[None]), four),
        "integers": (lambda: Apply(lambda x: x.argmax(1, keepdim=True)), four),
        "if": (lambda: Apply(lambda x: x.relu() if x.sum() > 0 else x), four),
        "while": (lambda: Apply(lambda x: x.relu() if int(x.sum() * 0) == 0 else x), four),
        "nonzero": (lambda: Apply(lambda x: x.relu() + x.nonzero().shape[0]), four),
        "numpy": (lambda: Apply(lambda x: torch.tensor(x.numpy() * 2).relu()), four),
        "list": (lambda: Apply(lambda x: torch.tensor(x.tolist()).relu()), four),
        "two-inputs": (lambda: Apply(lambda x, y: x + y), four),
        "no-input": (lambda: Apply(lambda: torch.ones(1, 1)), four),
        "missing-method": (lambda: Apply(lambda x: x.no_such_method()), four),
        "missing-part": (lambda: Apply(lambda m, x: m.absent(x), c=nn.ReLU()), four),
        "not-callable": (lambda: Apply(3), four),
        "complex": (lambda: Parameterless(torch.complex64), four.to(torch.complex64)),
        "complex-weights": (lambda: Parameterless(torch.complex64), four),
        "half-weights": (lambda: Parameterless(torch.float16), four),
        "double-weights": (lambda: Parameterless(torch.float64), four),
        "meta-weights": (lambda: nn.Linear(4, 2, device="meta"), four),
        "infinite-weights": (
            lambda: Apply(lambda m, x: m.c(x), c=_with(nn.Linear(4, 2), torch.inf)),
            four,
        ),
        "nan-weights": (
            lambda: Apply(lambda m, x: m.c(x), c=_with(nn.Linear(4, 2), torch.nan)),
            four,
        ),
        "fft": (lambda: Apply(lambda x: torch.fft.rfft(x).abs()), four),
        "half-input": (nn.ReLU, four.half()),
        "bool-input": (nn.ReLU, four > 0),
        "nan-input": (nn.ReLU, four * torch.nan),
        "list-input": (nn.ReLU, [1.0]),
        "tuple-input": (nn.ReLU, (four,)),
        "no-example": (nn.ReLU, None),
        "empty-batch": (nn.ReLU, four[:0]),
        "vector-input": (nn.ReLU, four[0]),
        "sequence-input": (nn.ReLU, four[None]),
    }
    for name, (make, x) in layers.items():
        yield name, make, x


def _with(layer: nn.Linear, value: float) -> nn.Linear:
    with torch.no_grad():
        layer.weight[0, 0] = value
    return layer


BROKEN = {name: (make, x) for name, make, x in (*unsupported(), *odd())}


ALIKE = [name for name in BROKEN if name.endswith("-map")]
RARER = {name for name in BROKEN if name.endswith("-features")} | {*ALIKE} - {*ALIKE[::4]}
"""Alone on features says little more than behind a convolution, and those differ by name alone."""


def test_there_are_two_hundred_broken_modules() -> None:
    assert len(BROKEN) >= 200


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in RARER else name for name in BROKEN],
)
def test_broken_modules_end_in_one_line(name: str) -> None:
    make, x = BROKEN[name]
    module = make()
    if isinstance(module, nn.Module):
        module.eval()
    with pytest.raises(ExportError) as caught:
        to_tflite(module, x)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 700
    assert "; " in message


def test_messages_name_the_operation_the_module_and_the_way_out() -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), nn.SiLU())).eval()
    with pytest.raises(ExportError) as caught:
        to_tflite(module, torch.randn(1, 4))
    assert str(caught.value) == (
        "aten.silu in module '1.1': every operation must have an operator to export, but this "
        "has none; use torch.nn.Hardswish"
    )


def test_torch_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ExportError, match="same steps for every input"):
        to_tflite(Apply(lambda x: x.relu() if x.sum() > 0 else x).eval(), torch.randn(1, 4))
    assert capfd.readouterr() == ("", "")
