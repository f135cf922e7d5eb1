"""Random UNIDIRECTIONAL_SEQUENCE_LSTMs."""

from dataclasses import replace

import numpy as np

from micronas.graph import recurrent
from micronas.graph.ir import Graph, Op, Quantization, Tensor


def lstm_op(tensors: dict[str, Tensor], rng: np.random.Generator) -> Op:
    """Make an LSTM from "input" to "output", which it adds to `tensors`."""
    steps, depth, units = (int(size) for size in rng.integers(1, (9, 12, 12)))
    tensors["input"] = Tensor("input", (1, steps, depth))
    op = lstm("input", "output", (depth, units), tensors)
    tensors["output"] = Tensor("output", (1, steps, units))
    return replace(op, clip=float(rng.choice([0.0, 10.0, 0.5])))


def lstm(source: str, name: str, sizes: tuple[int, int], tensors: dict[str, Tensor]) -> Op:
    """Make an LSTM; add weights without data, and states, to `tensors`.

    Parameters
    ----------
    sizes
        Features that are read, and units.
    """
    depth, units = sizes
    inputs = [source]
    for part, shape in (
        ("weights", (units, depth)),
        ("recurrent", (units, units)),
        ("bias", (units,)),
    ):
        for gate in recurrent.GATES:
            inputs.append(f"{name}/{gate}/{part}")
            tensors[inputs[-1]] = Tensor(inputs[-1], shape, constant=True)
    states = (Tensor(f"{name}/hidden", (1, units)), Tensor(f"{name}/cells", (1, units), "int16"))
    for tensor in states:
        inputs.append(tensor.name)
        tensors[tensor.name] = replace(tensor, constant=True, variable=True)
    return Op("UNIDIRECTIONAL_SEQUENCE_LSTM", name, tuple(inputs), (name,))


def quantize_lstm(op: Op, tensors: dict[str, Tensor], rng: np.random.Generator) -> Quantization:
    """Draw weights with which gates neither die nor saturate, and scales; return the output's."""
    source = tensors[op.inputs[0]].quantization
    assert source is not None
    scale, zero = rng.uniform(1 / 250, 1 / 60), int(rng.integers(-40, 40))
    output = Quantization(np.array([scale], np.float32), zero)
    for place, gate in enumerate(recurrent.gates(Graph(tensors, (op,), (), ()), op)):
        for tensor, read in zip(gate[:2], (source, output), strict=True):
            spread = 40 * 40 * float(read.scale[0]) * np.sqrt(tensor.shape[1])
            step = np.array([rng.uniform(0.5, 4) / spread], np.float32)
            if read is output:  # below 8: CMSIS-NN lets more through before it adds
                most = 127 * 168 * scale * tensor.shape[1]
                step = np.minimum(step, np.float32(7.9 / most))
            codes = rng.integers(-127, 128, tensor.shape).astype(np.int8)
            tensors[tensor.name] = replace(
                tensor, dtype="int8", quantization=Quantization(step), data=codes
            )
        weights = tensors[op.learnt[place]].quantization
        assert weights is not None
        step = source.scale * weights.scale
        bias = np.rint(rng.normal(0, 1, gate[2].shape) / step).astype(np.int32)
        tensors[gate[2].name] = replace(
            gate[2], dtype="int32", quantization=Quantization(step), data=bias
        )
    hidden, cells = op.inputs[-2:]
    tensors[hidden] = replace(tensors[hidden], dtype="int8", quantization=output)
    power = int(rng.integers(-13, -8))
    tensors[cells] = replace(
        tensors[cells], quantization=Quantization(np.array([2.0**power], np.float32))
    )
    return output
