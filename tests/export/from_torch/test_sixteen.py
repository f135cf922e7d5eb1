"""Networks with activations of 16 bits, byte for byte on TFLM's 16x8 kernels."""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from micronas import to_tflite
from micronas.errors import CalibrationWarning, ExportError, ModelError
from micronas.export.formats import export
from micronas.export.verify import verify_and_measure
from micronas.hardware.targets import CMSIS_NN
from micronas.hardware.targets.host import HOST
from micronas.tflite.reader import read
from micronas.train.codes import quantize_all_inputs
from micronas.train.network import Network
from testing.graphs import random_shapes
from tests.cases import first
from tests.export.from_torch.cases import Case


def residual(
    x: Tensor, stem: nn.Module, first: nn.Module, second: nn.Module, linear: nn.Module
) -> Tensor:
    """Convolutions with a shortcut, pools and a softmax."""
    x = F.max_pool2d(stem(x), 3, 2, padding=1)
    x = F.relu(second(F.relu6(first(x))) + x)
    return F.softmax(linear(F.avg_pool2d(x, 2).mean((2, 3))), -1)


def separable(
    x: Tensor, stem: nn.Module, depthwise: nn.Module, gate: nn.Module, head: nn.Module
) -> Tensor:
    """As MobileNetV3 has them: depthwise layers, gates of channels, SiLU and Hardswish."""
    x = F.hardswish(depthwise(F.silu(stem(x))))
    x = x * F.hardsigmoid(gate(F.adaptive_avg_pool2d(x, 1)))
    return F.interpolate(head(x), scale_factor=2)


def gates(x: Tensor, hidden: Tensor, entering: nn.Module, kept: nn.Module) -> tuple[Tensor, Tensor]:
    """One step of a gated cell, from two inputs to two outputs."""
    gate, candidate = (entering(x) + kept(hidden)).chunk(2, 1)
    new = torch.sigmoid(gate) * torch.tanh(candidate) - 0.3 * hidden
    return torch.cat((new, x.abs()), 1), F.leaky_relu(new)


def attention(x: Tensor, parts: nn.Module, out: nn.Module) -> Tensor:
    """Tokens that attend to each other, with a mask."""
    query, key, value = parts(x).chunk(3, -1)
    mask = torch.ones(6, 6).triu(1).bool()
    scores = (query @ key.transpose(1, 2)).masked_fill(mask, -torch.inf)
    return out(F.softmax(scores, -1) @ value)


def normed(layer: nn.Conv2d, *others: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.BatchNorm2d(layer.out_channels), *others)


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 16), nn.Tanh())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "residual": (
        lambda: Case(
            *(residual, normed(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())),
            *(nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)),
            nn.Linear(8, 5, bias=False),
        ),
        ((3, 16, 16),),
    ),
    "separable": (
        lambda: Case(
            *(separable, nn.Conv2d(3, 8, 3, 2, padding=1)),
            normed(nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)),
            *(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 6, 1)),
        ),
        ((3, 16, 16),),
    ),
    "gates": (lambda: Case(gates, nn.Linear(20, 32), nn.Linear(16, 32)), ((20,), (16,))),
    "attention": (lambda: Case(attention, nn.Linear(8, 24), nn.Linear(8, 4)), ((6, 8),)),
    "linear": (linear, ((12,),)),
}


def exact(model: bytes, inputs: tuple[Tensor, ...]) -> None:
    graph = read(model, wide=True)
    found, arena = verify_and_measure(model, quantize_all_inputs(graph, inputs))
    assert found.mismatches == 0
    plan = HOST.plan(graph)
    assert (plan.head, plan.total) == (arena.head, arena.total)


@first("name", NETWORKS, 1)
def test_bytes_and_arena_are_those_of_tflm(name: str) -> None:
    make, shapes = NETWORKS[name]
    torch.manual_seed(0)
    module, inputs = make().eval(), tuple(torch.randn(128, *shape) for shape in shapes)
    models = {
        bits: to_tflite(
            module,
            tuple(each[:1] for each in inputs),
            calibration=[inputs],
            activations=bits,
            check=[(inputs if len(inputs) > 1 else inputs[0], None)],
        )
        for bits in (8, 16)
    }
    exact(models[16], tuple(each[:8] for each in inputs))
    graph = read(models[16], wide=True)
    types = {
        op.kind: [graph.tensors[each].dtype for each in (*op.inputs, *op.outputs)]
        for op in graph.ops
    }
    assert {graph.tensors[each].dtype for each in (*graph.inputs, *graph.outputs)} == {"int16"}
    for kind in {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} & types.keys():
        assert types[kind] == ["int16", "int8", "int64", "int16"]
    assert models[16].check.sqnr_db > models[8].check.sqnr_db + 8


def test_eight_more_bits_are_worth_six_in_decibels() -> None:
    """With weights that int8 holds exactly, only activations are rounded.

    8 bits are 48 dB, of which a bit is kept for values beyond those seen; with a zero point of 0 a
    range that ReLU makes positive has another less.
    """
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU()).eval()
    with torch.no_grad():
        for layer in (module[0], module[2]):
            layer.weight.copy_(torch.randint(-127, 128, layer.weight.shape) / 2.0**9)
            layer.weight[0, 0] = 127 / 2.0**9
            layer.bias.zero_()
    x = torch.randn(2048, 16)
    found = [
        to_tflite(
            module, x[:1], calibration=x, method="minmax", activations=bits, check=[(x, None)]
        ).check.sqnr_db
        for bits in (8, 16)
    ]
    assert 36 < found[1] - found[0] < 43


@pytest.mark.parametrize("family", ["ds_cnn", "mobilenet"])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_networks_are_exact(family: str, seed: int) -> None:
    shapes = random_shapes(seed, family=family)
    torch.manual_seed(seed)
    module = Network(shapes).eval()
    _, height, width, channels = shapes.tensors[shapes.inputs[0]].shape
    x = torch.randn(4, channels, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        exact(to_tflite(module, x, calibration=x, activations=16), (x,))


def test_operators_without_a_kernel_are_all_named() -> None:
    class Refused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.grouped, self.gelu = nn.Conv2d(4, 4, 3, groups=2), nn.GELU()

        def forward(self, x: Tensor) -> Tensor:
            return self.gelu(self.gelu(self.grouped(x))).amax(3)

    x = torch.randn(8, 4, 6, 6)
    with pytest.raises(ExportError, match="activations=8") as caught:
        to_tflite(Refused().eval(), x, calibration=x, activations=16)
    for each in ("CONV_2D in groups (grouped)", "gelu (gelu and 1 more)", "REDUCE_MAX ("):
        assert each in str(caught.value)


def test_files_become_headers_and_nothing_of_int8(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x, labels = torch.randn(64, 12), torch.randint(16, (64,))
    model = to_tflite(linear().eval(), x, calibration=x, activations=16, check=[(x, labels)])
    assert re.fullmatch(r"float .*%, int16 .*%, .* dB on 64 examples", str(model.check))
    export(model, "c", name="net", out=tmp_path / "net.h")
    arena = CMSIS_NN.plan(read(model, wide=True)).required
    found = re.search(
        r"#else\nconstexpr std::size_t kNetArenaBytes = (\d+)", (tmp_path / "net.h").read_text()
    )
    assert 0 <= int(found[1]) - arena < 16
    export(model, "tflite", name="net", out=tmp_path / "net.tflite")
    assert (tmp_path / "net.tflite").read_bytes() == model
    for form in ("engine", "onnx", "project"):
        with pytest.raises(ModelError, match="activations=8"):
            export(model, form, name="net", out=tmp_path / form)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"activations": 12}, "activations must be 8 or 16"),
        ({"activations": 16, "bits": 4}, "weights of 8"),
        ({"activations": 16, "bits": {"*": 4}}, "weights of 8"),
        ({"activations": 16, "linear_scales": "output"}, "linear layers of one scale"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings_: dict[str, object], said: str) -> None:
    x = torch.randn(8, 12)
    with pytest.raises(ExportError, match=said):
        to_tflite(linear().eval(), x, calibration=x, **settings_)
