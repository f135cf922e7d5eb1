"""Networks that imitate integer execution: ranges, constants, and agreement to the bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError, ExportError, MicronasError
from micronas.graph import integer, ir
from micronas.graph.batches import keeps_examples
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.operators import WEIGHTED
from micronas.train.codes import quantize_inputs
from micronas.train.fake_quantize import Range
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork
from testing import elements
from testing.graphs import random_op_graph, random_shapes
from testing.movement import MOVEMENT
from tests.train.imitation import calibrated, differences, float_network, random_batch


class TestRange:
    def test_scale_and_zero_point_by_hand(self) -> None:
        signed = Range(learnt=True, nonnegative=False)
        signed.cover(torch.tensor([-1.0, 3.0]))
        assert signed.scale.item() == pytest.approx(4 / 255, rel=1e-6)
        assert signed.zero_point == -64  # -128 + 255 / 4 = -64.25
        relu = Range(learnt=True, nonnegative=True)
        relu.cover(torch.tensor([0.0, 6.0]))
        assert relu.scale.item() == pytest.approx(6 / 255, rel=1e-6)
        assert relu.zero_point == -128

    @given(low=st.floats(-100, 100), high=st.floats(-100, 100))
    def test_zero_is_always_exact(self, low: float, high: float) -> None:
        found = Range(learnt=True, nonnegative=False)
        found.cover(torch.tensor([min(low, high), max(low, high)]))
        assert -128 <= found.zero_point <= 127
        assert found(torch.zeros(1)).item() == 0

    def test_nothing_seen_still_has_a_scale(self) -> None:
        dead = Range(learnt=True, nonnegative=True)
        dead.cover(torch.zeros(2))
        assert dead.scale.item() == pytest.approx(1 / 255)

    def test_rounding_and_gradients_by_hand(self) -> None:
        half = Range(learnt=True, nonnegative=False)
        with torch.no_grad():
            half.log2_scale.fill_(-1)
        x = torch.tensor([0.6, -0.8, 100.0, -100.0], requires_grad=True)
        y = half(x)
        assert y.tolist() == [0.5, -1.0, 63.5, -64.0]
        (y * torch.tensor([1.0, 10.0, 100.0, 1000.0])).sum().backward()
        assert x.grad.tolist() == [1.0, 10.0, 0.0, 0.0]
        # d y / d log2(scale) = ln 2 * scale * d y / d scale
        slope = (0.5 - 0.6) * 1 + (-1 + 0.8) * 10 + 63.5 * 100 - 64 * 1000
        assert half.log2_scale.grad.item() == pytest.approx(np.log(2) * slope, rel=1e-6)


def dense_graph(weights: list[list[float]], bias: list[float]) -> Graph:
    data = np.array(weights, np.float32), np.array(bias, np.float32)
    builder = Builder((1, 1, len(weights[0])))
    return holding(builder.finish(builder.dense(builder.input, "classifier", len(weights))), *data)


def convolution_graph(weights: list[list[float]], bias: list[float]) -> Graph:
    filters = np.array(weights, np.float32)[:, None, None, :]
    data = filters, np.array(bias, np.float32)
    builder = Builder((1, 1, len(weights[0])))
    return holding(builder.finish(builder.conv(builder.input, "conv", len(weights))), *data)


def holding(graph: Graph, *data: npt.NDArray[np.float32]) -> Graph:
    """Give weights and bias of the only operator their values."""
    pairs = zip(graph.ops[0].learnt, data, strict=True)
    held = {name: replace(graph.tensors[name], data=values) for name, values in pairs}
    return replace(graph, tensors=graph.tensors | held)


class TestConstants:
    def quantize(self, graph: Graph, largest: float = 127.5) -> Graph:
        network = QuantizedNetwork(graph)
        channels = graph.tensors["input"].shape[3]
        # An input range of 255 steps of 1 around zero.
        span = torch.full((2, channels, 1, 1), largest)
        span[0] *= -1
        network.calibrate([span])
        return network.graph()

    def test_convolution_has_a_scale_for_each_channel(self) -> None:
        graph = self.quantize(convolution_graph([[1.27, -0.5], [0.0254, 0.0127]], [3.0, -2.0]))
        weights, bias = graph.tensors["conv/weights"], graph.tensors["conv/bias"]
        assert (weights.dtype, weights.quantization.axis) == ("int8", 0)
        assert weights.data.reshape(2, 2).tolist() == [[127, -50], [127, 64]]
        assert weights.quantization.scale.tolist() == pytest.approx([0.01, 0.0002])
        source = graph.tensors["input"].quantization.scale
        assert (bias.quantization.scale == source * weights.quantization.scale).all()
        assert bias.quantization.scale.dtype == np.float32
        assert (bias.dtype, bias.data.dtype) == ("int32", np.int32)
        assert bias.data.tolist() == [300, -10000]

    def test_dense_layer_has_one_scale(self) -> None:
        graph = self.quantize(dense_graph([[1.27, -0.5], [0.0254, 0.0127]], [3.0, -2.0]))
        weights, bias = graph.tensors["classifier/weights"], graph.tensors["classifier/bias"]
        assert weights.data.tolist() == [[127, -50], [3, 1]]
        assert weights.quantization.scale.shape == (1,)
        assert weights.quantization.axis is None
        assert bias.quantization.axis is None
        assert bias.data.tolist() == [300, -200]

    def test_channel_of_zeros_keeps_its_bias(self) -> None:
        graph = self.quantize(convolution_graph([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], [0, 3.0, 0]))
        weights, bias = graph.tensors["conv/weights"], graph.tensors["conv/bias"]
        assert (weights.quantization.scale > 0).all()
        assert weights.data[:2].any() == np.False_
        assert bias.data.tolist()[0] == 0
        assert bias.data[1] * bias.quantization.scale[1] == pytest.approx(3, rel=1e-6)
        output = graph.tensors["conv"].quantization
        codes = integer.run(graph, np.zeros((1, 1, 1, 2), np.int8)).astype(float)
        values = (codes.flatten() - output.zero_point) * output.scale
        assert values.tolist() == pytest.approx([0, 3, 0], abs=output.scale.item())

    def test_large_bias_does_not_overflow(self) -> None:
        graph = self.quantize(convolution_graph([[1e-9], [1.0]], [1e4, -1e4]), largest=1e-3)
        bias = graph.tensors["conv/bias"]
        real = bias.data * bias.quantization.scale.astype(np.float64)
        assert np.abs(bias.data.astype(np.int64)).max() <= 2**30 + 64
        assert real.tolist() == pytest.approx([1e4, -1e4], rel=1e-6)

    def test_steps_of_an_output_are_no_finer_than_the_accumulators(self) -> None:
        """The sum of equal and opposite inputs is zero, whatever the range of each."""
        graph = self.quantize(convolution_graph([[1.0, -1.0]], [0.0]))
        source, weights, output = (
            graph.tensors[name].quantization.scale for name in ("input", "conv/weights", "conv")
        )
        assert output.item() == pytest.approx((source * weights).item(), rel=1e-6)


class TestGraph:
    def test_tensors_that_share_a_scale(self) -> None:
        graph = calibrated(float_network(4, "mobilenet").graph()).graph()
        assert {tensor.dtype for tensor in graph.tensors.values()} == {"int8", "int32"}
        shared = ("PAD", "AVERAGE_POOL_2D", "RESHAPE")
        kinds = set()
        for op in graph.ops:
            source, target = graph.input_of(op).quantization, graph.output_of(op).quantization
            same = source.scale == target.scale and source.zero_point == target.zero_point
            assert same == (op.kind in shared)
            kinds.add(op.kind)
            if op.activation != "NONE":
                assert target.zero_point == -128
            if op.activation == "RELU6":
                assert target.scale.item() <= np.float32(6 / 255 * (1 + 1e-6))
        assert kinds > {*shared, "ADD"}

    def test_four_bits_and_a_scale_for_each_depthwise_channel(self) -> None:
        graph = calibrated(float_network(0, "ds_cnn").graph(), bits=4).graph()
        types = {op.name: graph.constant_of(op).dtype for op in graph.ops if len(op.inputs) == 3}
        assert types["stem"] == types["block0/pw"] == types["classifier"] == "int4"
        assert types["block0/dw"] == "int8"
        data = graph.tensors["block0/pw/weights"].data
        assert (data.min(), data.max()) == (-7, 7)
        weights = graph.tensors["block0/dw/weights"]
        assert weights.quantization.axis == 3
        assert weights.quantization.scale.shape == weights.shape[3:]

    def test_integer_constants_stay(self) -> None:
        source = float_network(5, "mobilenet").graph()
        graph = calibrated(source).graph()
        (op,) = (op for op in graph.ops if op.kind == "RESHAPE")
        assert graph.constant_of(op) is source.constant_of(op)

    def test_softmax_output_has_the_scale_tflm_demands(self) -> None:
        float_graph = dense_graph([[1.0, -1.0], [0.5, 2.0]], [0.0, 0.0])
        tensors = dict(float_graph.tensors)
        tensors["softmax"] = replace(tensors["classifier"], name="softmax")
        op = Op("SOFTMAX", "softmax", ("classifier",), ("softmax",))
        float_graph = Graph(tensors, (*float_graph.ops, op), ("input",), ("softmax",))
        for ranges in ("gradient", "average"):
            network = calibrated(float_graph, ranges=ranges).train()
            network(10 * random_batch(float_graph, 4)).sum().backward()
            quantization = network.graph().tensors["softmax"].quantization
            assert quantization.scale.item() == 1 / 256
            assert quantization.zero_point == -128


class TestAgreesWithIntegers:
    @pytest.mark.parametrize("bits", [8, 4])
    @pytest.mark.parametrize("family", ["ds_cnn", "mobilenet", "maps", "series"])
    @pytest.mark.parametrize("seed", range(2))
    def test_every_operator(self, family: str, seed: int, bits: int) -> None:
        """TFLM rounds twice, first to at least half the accumulator's step, then to the output's.

        So at most that share of the outputs moves, by one step; averages may be ties as well.
        """
        network = calibrated(float_network(seed, family).graph(), bits=bits)
        graph = network.graph()
        found = differences(network, random_batch(graph, 128, seed=9), local=True)
        assert max(steps.max() for steps in found.values()) <= 1
        for op in graph.ops:
            moved = (found[op.outputs[0]] > 0).mean()
            if op.kind in WEIGHTED:
                source, weights, output = (
                    tensor.quantization.scale
                    for tensor in (graph.input_of(op), graph.constant_of(op), graph.output_of(op))
                )
                assert moved <= (source * weights / output).max() + 0.02
            elif op.kind not in ("AVERAGE_POOL_2D", "MEAN", "RESIZE_BILINEAR"):  # ties
                assert moved <= 0.01

    @pytest.mark.parametrize(
        ("kind", "tolerated"),
        [
            ("CONV_2D", 0.02),
            ("DEPTHWISE_CONV_2D", 0.02),
            ("FULLY_CONNECTED", 0.02),
            ("PAD", 0.0),
            ("PADV2", 0.0),
            ("BATCH_MATMUL", 0.02),
            ("MAX_POOL_2D", 0.0),
            ("RESHAPE", 0.0),
            ("TRANSPOSE", 0.0),
            ("SLICE", 0.0),
            ("STRIDED_SLICE", 0.0),
            ("GATHER", 0.0),
            ("BROADCAST_TO", 0.0),
            # Averages of few integers are often ties, as are products with round slopes.
            ("MEAN", 0.3),
            ("AVERAGE_POOL_2D", 0.3),
            *((kind, 0.1) for kind in (*elements.PAIRS, *elements.SINGLE) if kind != "RSQRT"),
        ],
    )
    def test_options_of_each_kind(self, kind: Kind, tolerated: float) -> None:
        """Any options, ranks and constants; also without a bias."""
        steps = []
        for seed in range(20 if kind in (*MOVEMENT, "BATCH_MATMUL") else 12):
            shapes = random_op_graph(kind, seed)
            if not keeps_examples(shapes, shapes.ops[0]):
                with pytest.raises(ConfigError, match="must leave dimension 0 alone"):
                    Network(shapes)
                continue
            rng = np.random.default_rng(seed)
            tensors = dict(shapes.tensors)
            for name, tensor in tensors.items():
                if tensor.quantization:
                    tensors[name] = ir.Tensor(name, tensor.shape)
                if tensor.quantization and tensor.constant:
                    data = rng.normal(size=tensor.shape).astype(np.float32)
                    tensors[name] = replace(tensors[name], constant=True, data=data)
            graph = replace(shapes, tensors=tensors)
            network = calibrated(graph)
            steps.append(differences(network, random_batch(graph, 8, seed=9), local=True)["output"])
        together = np.concatenate([array.ravel() for array in steps])
        assert together.max() <= 1
        assert (together > 0).mean() <= tolerated


class TestQuantizeInputs:
    def test_layout_rounding_and_clipping(self) -> None:
        graph = TestConstants().quantize(dense_graph([[1.0, 1.0]], [0.0]), largest=255 / 2)
        scale = graph.tensors["input"].quantization.scale.item()
        zero_point = graph.tensors["input"].quantization.zero_point
        assert (scale, zero_point) == (pytest.approx(1), 0)
        x = torch.tensor([[[[1.4]], [[-2.6]]], [[[1e9]], [[-1e9]]]])
        codes = quantize_inputs(graph, x)
        assert (codes.dtype, codes.shape) == (np.int8, (2, 1, 1, 2))
        assert codes.reshape(2, 2).tolist() == [[1, -3], [127, -128]]

    def test_float_graph_is_refused(self) -> None:
        with pytest.raises(ExportError, match="quantise the network first"):
            quantize_inputs(dense_graph([[1.0]], [0.0]), torch.zeros(1, 1, 1, 1))


class TestErrors:
    def test_ranges_are_needed_first(self) -> None:
        network = QuantizedNetwork(dense_graph([[1.0]], [0.0]))
        for early in (lambda: network(torch.zeros(1, 1, 1, 1)), network.graph):
            with pytest.raises(MicronasError, match=r"call calibrate\(batches\)"):
                early()

    @pytest.mark.parametrize(
        ("batches", "method", "message"),
        [
            ([], "mse", "batches=0"),
            ([torch.full((1, 1, 1, 1), np.inf)], "mse", r"must be finite .* input spans"),
            ([torch.zeros(1, 1, 1, 1)], "mean", r"method must be one of average, .* is 'mean'"),
        ],
    )
    def test_calibration_needs_finite_data_and_a_method(
        self, batches: list[torch.Tensor], method: Any, message: str
    ) -> None:
        network = QuantizedNetwork(dense_graph([[1.0]], [0.0]))
        with pytest.raises(MicronasError, match=message):
            network.calibrate(batches, method=method)

    def test_shapes_are_not_enough(self) -> None:
        with pytest.raises(ExportError, match="stem/weights has no data"):
            QuantizedNetwork(random_shapes(0, family="ds_cnn"))
