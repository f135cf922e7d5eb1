"""Signal to noise of what TFLM lacks, composed of what it has: activations and normalisation.

Every composition runs in integers, bit for bit as on the device, on random inputs: normal, and for
normalisation of strengths that differ from row to row by a factor of up to 4. Noise is against the
exact function of the same int8 inputs. ``ideal`` rounds the exact output once, over its own range.

    python benchmarks/compositions.py
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.graph import integer
from micronas.graph.builder import Builder
from micronas.graph.ir import Activation, Graph, Kind, Op
from micronas.train.codes import quantize_inputs
from micronas.train.quantize import QuantizedNetwork

Compose = Callable[["Sketch"], str]
EPSILON = 1e-5


class Sketch(Builder):
    """A graph of operators on one input [1, height, width, channels]."""

    def op(
        self, kind: Kind, *inputs: str | float | np.ndarray, activation: Activation = "NONE"
    ) -> str:
        """Append an operator on tensors and constants; return its output."""
        name = f"{kind.lower()}{len(self._ops)}"
        read = tuple(
            each
            if isinstance(each, str)
            else self.constant(f"{name}/{place}", np.atleast_1d(np.asarray(each, np.float32)))
            for place, each in enumerate(inputs)
        )
        shapes = [self.shape(each) for each in read]
        shape = tuple(int(size) for size in np.broadcast_shapes(*shapes))
        return self.append(Op(kind, name, read, (name,), activation=activation), shape)

    def mean(self, source: str, axes: tuple[int, ...]) -> str:  # type: ignore[override]
        name = f"mean{len(self._ops)}"
        table = self.constant(f"{name}/axes", np.array(axes, np.int32))
        shape = tuple(1 if axis in axes else n for axis, n in enumerate(self.shape(source)))
        return self.append(Op("MEAN", name, (source, table), (name,)), shape)

    def by_channel(self, source: str, factor: np.ndarray, offset: np.ndarray) -> str:
        """DEPTHWISE_CONV_2D 1x1: a factor and an offset a channel."""
        name = f"affine{len(self._ops)}"
        self._parameters = lambda _: (factor.reshape(1, 1, 1, -1), offset)
        return self.depthwise(source, name, (1, 1))


def decibels(exact: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((exact**2).sum() / ((exact - found) ** 2).sum()))


def measured(compose: Compose, function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """SQNR in dB of a composition against a function of [N, C, H, W]."""
    shape = (x.shape[2], x.shape[3], x.shape[1])
    sketch = Sketch(shape)
    graph = sketch.finish(compose(sketch))
    return decibels(*outputs(graph, function, x))


def outputs(
    graph: Graph, function: Callable[[Tensor], Tensor], x: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    network = QuantizedNetwork(graph)
    network.calibrate([x], method="minmax")
    device = network.graph()
    codes = quantize_inputs(device, x)
    source, target = (
        device.tensors[name].quantization for name in (device.inputs[0], device.outputs[0])
    )
    assert source is not None
    assert target is not None
    real = torch.tensor((codes.astype(np.float32) - source.zero_point) * source.scale)
    exact = function(real.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    found = (integer.run(device, codes).astype(np.float32) - target.zero_point) * target.scale
    return exact, found


def ideal(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    exact = function(x).numpy()
    step = (max(exact.max(), 0) - min(exact.min(), 0)) / 255
    return decibels(exact, np.rint(exact / step) * step)


def table(
    title: str,
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    forms: dict[str, Compose],
) -> None:
    print(f"{title}: ideal {ideal(function, x):.1f} dB")
    for name, compose in forms.items():
        sketch = Sketch((x.shape[2], x.shape[3], x.shape[1]))
        count = len(sketch.finish(compose(sketch)).ops)
        print(f"  {name:64} {count} operators {measured(compose, function, x):5.1f} dB")


def activations(x: Tensor) -> None:
    def hard_sigmoid(b: Sketch) -> str:
        return b.op("MUL", b.op("ADD", b.input, 3.0, activation="RELU6"), 1 / 6)

    def clipped(b: Sketch) -> str:
        low = b.op("MAXIMUM", b.op("ADD", b.op("MUL", b.input, 1 / 6), 0.5), 0.0)
        return b.op("MINIMUM", low, 1.0)

    table(
        "hardsigmoid",
        F.hardsigmoid,
        x,
        {
            "ADD 3 with RELU6, MUL 1/6": hard_sigmoid,
            "a table: POSITIONS, TABLE": lambda b: b.function(b.input, "y", "hardsigmoid"),
            "MUL 1/6, ADD 0.5, MAXIMUM 0, MINIMUM 1": clipped,
        },
    )
    table(
        "hardtanh",
        F.hardtanh,
        x,
        {
            "ADD 0 with RELU_N1_TO_1": lambda b: b.op(
                "ADD", b.input, 0.0, activation="RELU_N1_TO_1"
            ),
            "MUL 1 with RELU_N1_TO_1": lambda b: b.op(
                "MUL", b.input, 1.0, activation="RELU_N1_TO_1"
            ),
            "MAXIMUM -1, MINIMUM 1": lambda b: b.op("MINIMUM", b.op("MAXIMUM", b.input, -1.0), 1.0),
        },
    )
    table(
        "SiLU",
        F.silu,
        x,
        {
            "LOGISTIC, MUL": lambda b: b.op("MUL", b.input, b.op("LOGISTIC", b.input)),
            "a table: POSITIONS, TABLE": lambda b: b.function(b.input, "y", "silu"),
        },
    )
    table(
        "x * hardsigmoid(x)",
        F.hardswish,
        x,
        {
            "HARD_SWISH": lambda b: b.op("HARD_SWISH", b.input),
            "ADD 3 with RELU6, MUL 1/6, MUL": lambda b: b.op("MUL", b.input, hard_sigmoid(b)),
        },
    )

    def gelu_tanh(b: Sketch) -> str:
        square = b.op("MUL", b.input, b.input)
        slope = b.op("ADD", b.op("MUL", square, 0.0356774), 0.7978846)
        curve = b.op("TANH", b.op("MUL", b.input, slope))
        return b.op("MUL", b.input, b.op("ADD", b.op("MUL", curve, 0.5), 0.5))

    def gelu_cubic(b: Sketch) -> str:
        square = b.op("MUL", b.input, b.input)
        slope = b.op("ADD", b.op("MUL", square, 0.0713548), 1.5957691)
        return b.op("MUL", b.input, b.op("LOGISTIC", b.op("MUL", b.input, slope)))

    def gelu_root(b: Sketch) -> str:
        square = b.op("SQUARED_DIFFERENCE", b.op("MUL", b.input, 0.2671232), 0.0)
        slope = b.op("ADD", square, 1.5957691)
        return b.op("MUL", b.input, b.op("LOGISTIC", b.op("MUL", b.input, slope)))

    forms: dict[str, Compose] = {
        "a table: POSITIONS, TABLE": lambda b: b.function(b.input, "y", "gelu"),
        "x LOGISTIC(1.702 x): MUL, LOGISTIC, MUL": lambda b: b.op(
            "MUL", b.input, b.op("LOGISTIC", b.op("MUL", b.input, 1.702))
        ),
        "x LOGISTIC(x (1.596 + 0.0714 x^2))": gelu_cubic,
        "the same, with SQUARED_DIFFERENCE of 0.267 x": gelu_root,
        "x (1 + TANH(x (0.798 + 0.0357 x^2))) / 2": gelu_tanh,
    }
    for strength in (1.0, 0.5):
        table(f"GELU of values of deviation {2 * strength:g}", F.gelu, strength * x, forms)


def centred_and_scaled(b: Sketch, axes: tuple[int, ...], square: str, epsilon: bool) -> str:
    centred = b.op("SUB", b.input, b.mean(b.input, axes))
    if square == "SQUARED_DIFFERENCE":
        squares = b.op("SQUARED_DIFFERENCE", b.input, b.mean(b.input, axes))
    else:
        squares = b.op("MUL", centred, centred)
    variance = b.mean(squares, axes)
    if epsilon:
        variance = b.op("ADD", variance, EPSILON)
    return b.op("MUL", centred, b.op("RSQRT", variance))


def layer_norm(x: Tensor) -> None:
    channels = x.shape[1]
    rng = np.random.default_rng(0)
    gamma = rng.uniform(0.3, 2, channels).astype(np.float32)
    beta = rng.normal(0, 0.3, channels).astype(np.float32)

    def plain(values: Tensor) -> Tensor:
        return F.layer_norm(values.permute(0, 2, 3, 1), (channels,), eps=EPSILON).permute(
            0, 3, 1, 2
        )

    def affine(values: Tensor) -> Tensor:
        sized = torch.tensor(gamma)[:, None, None] * plain(values)
        return sized + torch.tensor(beta)[:, None, None]

    def unit(b: Sketch) -> str:
        return b.op("L2_NORMALIZATION", b.op("SUB", b.input, b.mean(b.input, (3,))))

    root = float(np.sqrt(channels))
    table(
        f"LayerNorm over {channels}, no weights",
        plain,
        x,
        {
            "MEAN, SUB, L2_NORMALIZATION, MUL sqrt(C)": lambda b: b.op("MUL", unit(b), root),
            "MEAN, SUB, MUL, MEAN, RSQRT, MUL": lambda b: centred_and_scaled(b, (3,), "MUL", False),
            "the same with ADD epsilon": lambda b: centred_and_scaled(b, (3,), "MUL", True),
            "the same with SQUARED_DIFFERENCE (MEAN twice)": lambda b: centred_and_scaled(
                b, (3,), "SQUARED_DIFFERENCE", False
            ),
        },
    )
    table(
        f"LayerNorm over {channels}, with weights and bias",
        affine,
        x,
        {
            "L2 form, DEPTHWISE_CONV_2D 1x1": lambda b: b.by_channel(unit(b), gamma * root, beta),
            "L2 form, MUL, ADD": lambda b: b.op("ADD", b.op("MUL", unit(b), gamma * root), beta),
            "RSQRT form, DEPTHWISE_CONV_2D 1x1": lambda b: b.by_channel(
                centred_and_scaled(b, (3,), "MUL", False), gamma, beta
            ),
            "RSQRT form, MUL, ADD": lambda b: b.op(
                "ADD", b.op("MUL", centred_and_scaled(b, (3,), "MUL", False), gamma), beta
            ),
        },
    )


def instance_norm(x: Tensor) -> None:
    table(
        f"InstanceNorm, {list(x.shape[1:])}",
        lambda values: F.instance_norm(values, eps=EPSILON),
        x,
        {
            "MEAN, SUB, MUL, MEAN, RSQRT, MUL": lambda b: centred_and_scaled(
                b, (1, 2), "MUL", False
            ),
            "the same with ADD epsilon": lambda b: centred_and_scaled(b, (1, 2), "MUL", True),
            "the same with SQUARED_DIFFERENCE (MEAN twice)": lambda b: centred_and_scaled(
                b, (1, 2), "SQUARED_DIFFERENCE", False
            ),
        },
    )


def main() -> None:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def strengths(*shape: int) -> Tensor:
        return 2 ** (2 * torch.rand(*shape, generator=generator) - 1)

    activations(2 * normal(4, 8, 16, 16))
    for channels in (16, 64, 192, 384):
        layer_norm(
            strengths(4, 1, 16, 1) * (normal(4, channels, 16, 1) + 0.5 * normal(4, 1, 16, 1))
        )
    instance_norm(strengths(4, 8, 1, 1) * (normal(4, 8, 16, 16) + normal(4, 8, 1, 1)))


if __name__ == "__main__":
    main()
