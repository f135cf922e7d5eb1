"""Networks as people write them in torch, exported without edits and run on TFLM."""

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import mobilenet_v2

import micronas
from micronas import to_tflite
from micronas.errors import CalibrationWarning, ExportError, MicronasError
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.tflite.metadata import describe, read_metadata
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_all_inputs, quantize_inputs
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork
from testing.graphs import random_shapes
from tests.export.from_torch.cases import Case, quantize


def block(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The residual block of MLPerf Tiny's ResNet-8."""
    body = nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, stride, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()),
        *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)),
    )
    shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()
    return Case(lambda x, body, shortcut: F.relu(body(x) + shortcut(x)), body, shortcut)


def resnet8() -> nn.Module:
    def forward(x: Tensor, body: nn.Module, linear: nn.Module) -> Tensor:
        x = F.avg_pool2d(body(x), 8)
        return F.softmax(linear(x.view(x.size(0), -1)), dim=-1)

    stem = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
    blocks = block(16, 16, 1), block(16, 32, 2), block(32, 64, 2)
    return Case(forward, nn.Sequential(*stem, *blocks), nn.Linear(64, 10))


def autoencoder() -> nn.Module:
    """MLPerf Tiny's anomaly detector: 640 features, seven of 128 or 8, and back."""
    widths = [640, *[128] * 4, 8, *[128] * 4]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(128, 640))


def prepared(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> nn.Module:
    """A network whose batch norms have seen data."""
    torch.manual_seed(0)
    module = make().train()
    with torch.no_grad():
        for _ in range(8):
            module(torch.randn(16, *shape))
    return module.eval()


FOREIGN: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mobilenet_v2": (lambda: mobilenet_v2(width_mult=0.35, num_classes=10), (3, 96, 96)),
    "resnet8": (resnet8, (3, 32, 32)),
    "autoencoder": (autoencoder, (640,)),
}


@pytest.mark.long
def test_a_network_whose_activations_have_vanished_still_loads_on_tflm() -> None:
    """Without training, MobileNetV2's deep activations are so small that 6 is beyond int32."""
    torch.manual_seed(0)
    module = mobilenet_v2(width_mult=0.35, num_classes=10).eval()
    model = to_tflite(module, torch.randn(1, 3, 96, 96), calibration=torch.randn(1, 3, 96, 96))
    codes = np.random.default_rng(0).integers(-128, 128, (2, 96, 96, 3)).astype(np.int8)
    assert verify(model, codes).mismatches == 0


def test_a_branch_of_zeros_is_added_to_others() -> None:
    """As residual branches begin: their last batch norm has a weight of zero."""
    norm = nn.BatchNorm2d(3)
    nn.init.zeros_(norm.weight)
    branch = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), norm)
    module, x = Case(lambda x, branch: x + branch(x), branch).eval(), 100 * torch.randn(16, 3, 6, 6)
    model = to_tflite(module, x[:1], calibration=x, check=[(x, None)])
    assert model.check.sqnr_db > 30
    assert verify(model, quantize_inputs(read(model), x[:2])).mismatches == 0


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[pytest.mark.long] * ("mobile" in each)) for each in FOREIGN]
)
def test_foreign_networks_export_without_edits(name: str) -> None:
    make, shape = FOREIGN[name]
    module = prepared(make, shape)
    inputs = torch.randn(32, *shape)
    model = to_tflite(module, inputs[:1], calibration=inputs.split(8))
    graph = read(model)
    kinds = {op.kind for op in graph.ops}
    weighted = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert kinds <= {*weighted, "ADD", "PAD", "AVERAGE_POOL_2D", "MEAN", "SOFTMAX"}
    assert graph.tensors[graph.outputs[0]].dtype == "int8"
    codes = quantize_inputs(graph, inputs[:8])
    found = verify(model, codes)
    assert found.bytes_compared > 0
    assert found.mismatches == 0
    output = graph.tensors[graph.outputs[0]].quantization
    real = (integer.run(graph, codes).astype(np.float64) - output.zero_point) * output.scale
    with torch.no_grad():
        expected = module(inputs[:8]).numpy()
    # Signal-to-noise ratio; the networks measure 38 to 42 dB.
    noise = np.square(real.reshape(expected.shape) - expected).mean() / np.square(expected).mean()
    assert 10 * np.log10(1 / noise) > 30


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Hardswish()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    ).eval()


def weight_types(model: bytes) -> dict[str, str]:
    graph = read(model)
    return {name: t.dtype for name, t in graph.tensors.items() if name.endswith("weights")}


class TestBits:
    x = torch.randn(4, 3, 6, 6)

    def test_four_spares_depthwise(self) -> None:
        types = weight_types(to_tflite(small(), self.x, calibration=self.x, bits=4))
        assert types == {"0/weights": "int4", "2/weights": "int8", "6/weights": "int4"}

    def test_layers_by_name_or_pattern_and_exact_on_tflm(self) -> None:
        model = to_tflite(small(), self.x, calibration=self.x, bits={"0": 8, "[02]": 4})
        types = {"0/weights": "int8", "2/weights": "int4", "6/weights": "int8"}
        assert weight_types(model) == types
        assert verify(model, quantize_inputs(read(model), self.x)).mismatches == 0


class Heads(nn.Module):
    """A tensor under each name that another one would have had by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.classes, self.embedding = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Any]:
        scaled = self.embedding(x) * scale
        boxes = [scaled.tanh(), scaled.relu()]
        return {"classes": self.classes(x).softmax(1), "found": {"boxes": boxes}}


def test_inputs_and_outputs_keep_their_names() -> None:
    x, scale = torch.randn(16, 4), torch.randn(16, 2)
    model = to_tflite(Heads().eval(), (x, scale), calibration=[(x, scale)])
    graph = read(model)
    assert graph.inputs == ("x", "scale")
    assert graph.outputs == ("classes", "found.boxes.0", "found.boxes.1")
    classes, *_ = (graph.output_of(op) for op in graph.ops if op.kind == "SOFTMAX")
    assert classes.name == "classes"
    assert verify(model, quantize_all_inputs(graph, (x, scale))).mismatches == 0


class TestCalibration:
    def test_methods_on_values_of_0_to_1_and_one_of_100(self) -> None:
        x = torch.linspace(0, 1, 200_000).reshape(1, -1)
        x[0, 7] = 100
        traced = trace(nn.ReLU().eval(), x)

        def highest(method: Any) -> float:
            found = quantize(traced, [x], method=method).tensors["input"].quantization
            assert found.zero_point == -128
            return float(found.scale[0]) * 255

        assert highest("minmax") == pytest.approx(100)
        # One in 200,000 is less than the tail that may be left out; a bin is 100 / 2048 wide.
        assert 1 <= highest("percentile") <= 1 + 100 / 2048
        values = x.numpy().astype(np.float64)

        def error(high: float) -> float:
            codes = np.clip(np.rint(values * 255 / high), 0, 255)
            return float(np.square(values - codes * high / 255).sum())

        highs = 100 * np.linspace(1, 0.2, 17)
        best = highs[np.argmin([error(high) for high in highs])]
        assert best < 90
        assert abs(highest("mse") - best) <= 5.01

    def test_average_is_the_mean_of_the_batches_extremes(self) -> None:
        graph = trace(nn.ReLU().eval(), torch.ones(1, 2))
        batches = [torch.tensor([[-1.0, 2.0]]), torch.tensor([[-3.0, 6.0]])]
        for method, span in (("average", 6), ("minmax", 9)):
            found = quantize(graph, iter(batches), method=method).tensors["input"].quantization
            assert float(found.scale[0]) == pytest.approx(span / 255)

    @pytest.mark.parametrize(
        "settings",
        [
            {"calibration": []},
            {"calibration": torch.tensor(1.0)},
            {"calibration": torch.randn(2, 3, 5, 6)},
            {"calibration": [[torch.randn(1, 3, 6, 6), 1, 2]]},
            {"calibration": [torch.ones(1, 3, 6, 6, dtype=torch.uint8)]},
            {"calibration": [torch.randn(1, 3, 5, 6)]},
            {"calibration": [torch.full((1, 3, 6, 6), torch.inf)]},
            {"calibration": 3},
            {"method": "entropy"},
        ],
    )
    def test_wrong_settings_end_in_one_line(self, settings: dict[str, Any]) -> None:
        with pytest.raises(MicronasError) as caught:
            to_tflite(small(), torch.randn(1, 3, 6, 6), **settings)
        assert "\n" not in str(caught.value)

    def test_a_tensor_batches_and_a_loader_with_labels_are_the_same(self) -> None:
        x, module = torch.randn(8, 3, 6, 6), small()
        labels = torch.zeros(8)
        loader = DataLoader(TensorDataset(x, labels), batch_size=8)
        found = [
            to_tflite(module, x[:1], calibration=given)
            for given in (x, [x], [(x, labels)], [[[x], labels]], loader, iter(loader))
        ]
        assert {*found} == {found[0]}

    def test_labels_beside_several_inputs(self) -> None:
        class Sum(nn.Module):
            def forward(self, x: Tensor, y: Tensor) -> Tensor:
                return x + 2 * y

        x, y = torch.randn(4, 5), torch.randn(4, 5)
        given = ([(x, y)], [(x, y, 1)], [((x, y), 1)], [{"x": x, "y": y}], [({"x": x, "y": y}, 1)])
        found = [to_tflite(Sum().eval(), (x, y), calibration=each) for each in given]
        assert {*found} == {found[0]}

    def test_left_out_a_warning_names_the_risk(self) -> None:
        x = torch.randn(2, 3, 6, 6)
        with pytest.warns(CalibrationWarning, match="the 2 of example_input .* accuracy") as seen:
            model = to_tflite(small(), x)
        assert [each.filename for each in seen] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert to_tflite(small(), x, calibration=x) == model

    @pytest.mark.parametrize("value", [0.0, 0.5])
    def test_inputs_without_spread_are_refused(self, value: float) -> None:
        x = torch.full((2, 3, 6, 6), value)
        with pytest.raises(ExportError, match=f"all values of input are {value:g}"):
            to_tflite(small(), x)
        with pytest.raises(ExportError, match="must vary"):
            to_tflite(small(), x, calibration=[x, x])
        to_tflite(small(), x, calibration=[x, x + 1])

    def test_one_default_everywhere(self) -> None:
        functions = to_tflite, QuantizedNetwork.calibrate
        defaults = {inspect.signature(each).parameters["method"].default for each in functions}
        assert defaults == {"mse"}

    def test_of_a_softmax_leaves_its_fixed_scale(self) -> None:
        x = torch.randn(2, 5)
        graph = quantize(trace(nn.Sequential(nn.Linear(5, 3), nn.Softmax(1)).eval(), x), [x])
        found = graph.tensors[graph.outputs[0]].quantization
        assert (float(found.scale[0]), found.zero_point) == (1 / 256, -128)


def test_concatenated_tensors_share_one_range() -> None:
    """What is joined reads what it is joined with."""

    def dense(x: Tensor, one: nn.Module, two: nn.Module) -> Tensor:
        x = torch.cat([x, F.relu(one(x))], 1)
        return torch.cat([x, two(x)], 1)

    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 4, 3, padding=1)
    module, x = Case(dense, *layers).eval(), torch.randn(4, 3, 6, 6)
    graph = quantize(trace(module, x), [x], method="minmax")
    (shared,) = {t.quantization for t in graph.tensors.values() if not t.constant}
    assert float(shared.scale[0]) >= float((x.max() - x.min()) / 255)
    assert graph.tensors[graph.outputs[0]].shape[3] == 3 + 4 + 4
    assert verify(to_flatbuffer(graph), quantize_inputs(graph, x)).mismatches == 0


def described(graph: Graph) -> bytes:
    """The file of a graph, with the metadata a file has in any case."""
    return to_flatbuffer(graph, metadata=describe(classes=(), meaning={}))


class TestOwnNetworks:
    def test_trained_ranges_are_carried_through(self) -> None:
        x = torch.randn(4, 3, 6, 6)
        network = QuantizedNetwork(trace(small(), x))
        network.calibrate([x])
        with torch.no_grad():
            for scale in network.ranges.children():
                scale.log2_scale.add_(0.25)
        assert to_tflite(network, x) == described(network.graph())
        with pytest.raises(ExportError, match="leave it out"):
            to_tflite(network, x, bits=4)
        with pytest.raises(ExportError, match="leave it out"):
            to_tflite(network, x, calibration=[x])

    def test_networks_of_a_search_need_no_tracing(self) -> None:
        network = Network(random_shapes(0, family="ds_cnn")).eval()
        _, height, width, channels = network.graph().tensors["input"].shape
        x = torch.randn(2, channels, height, width)
        assert to_tflite(network, x, calibration=x) == described(quantize(network.graph(), [x]))


def test_weight_normalisation_is_computed_at_export() -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)).eval()
    graph = trace(layer, torch.randn(1, 4))
    assert [op.kind for op in graph.ops] == ["FULLY_CONNECTED"]
    assert np.allclose(graph.constant_of(graph.ops[0]).data, layer.weight.detach().numpy())


def test_training_mode_is_refused_by_name() -> None:
    module = small()
    module[2].train()
    with pytest.raises(ExportError, match="2 is in training mode"):
        to_tflite(module, torch.randn(1, 3, 6, 6))


def test_labels_and_the_meaning_of_the_input_travel_in_the_file() -> None:
    module, x = nn.Linear(3, 2).eval(), torch.randn(4, 3)
    meaning = {"mean": 0.5, "scale": 2.0}
    metadata = describe(classes=("left", "right"), meaning=meaning)
    found = read_metadata(to_tflite(module, x, calibration=x, metadata=metadata))
    assert found == {"version": micronas.__version__, "labels": ["left", "right"], "input": meaning}
    assert read_metadata(to_tflite(module, x, calibration=x))["version"] == micronas.__version__


class TestLoss:
    """Channels of very different sizes share one scale: most of them are lost."""

    @staticmethod
    def network(largest: float) -> nn.Module:
        class Scaled(nn.Module):
            def __init__(self, factor: Tensor) -> None:
                super().__init__()
                self.factor = nn.Parameter(factor)

            def forward(self, x: Tensor) -> Tensor:
                return x * self.factor

        sizes = torch.logspace(0, np.log10(largest), 8).view(8, 1, 1)
        return nn.Sequential(
            OrderedDict(wide=Scaled(sizes), relu=nn.ReLU(), narrow=Scaled(1 / sizes))
        ).eval()

    def test_the_layer_is_named(self) -> None:
        x = torch.randn(32, 8, 6, 6)
        with pytest.warns(CalibrationWarning, match=r"one is at -?\d+.\d dB; most is lost in wide"):
            to_tflite(self.network(1e6), x, calibration=x)

    def test_nothing_is_said_of_a_good_network(self) -> None:
        x = torch.randn(32, 8, 6, 6)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            to_tflite(self.network(2.0), x, calibration=x)
