"""LSTMs in ONNX: one operator, in float32 between QuantizeLinears.

The device rounds outputs to int8 before the next step reads them, and gates to 16 bits; ONNX's
operator does not, so that long sequences differ by a few codes.
"""

import numpy as np

from micronas.errors import ExportError
from micronas.export.onnx_writer import Writer
from micronas.graph import recurrent
from micronas.graph.ir import Op, Quantization, Tensor

_ORDER = ("input", "output", "forget", "cell")


def lstm(writer: Writer, op: Op) -> None:
    _check_clip(writer, op)
    source, output = writer.graph.input_of(op), writer.graph.output_of(op)
    gates = dict(zip(recurrent.GATES, recurrent.gates(writer.graph, op), strict=True))
    constants = []
    for place, part in enumerate(("weights", "recurrent", "bias")):
        tensors = [gates[gate][place] for gate in _ORDER]
        constants.append(_joined(writer, f"{output.name}:{part}", tensors))
    zeros = writer.constant(
        f"{output.name}:second_bias", np.zeros((1, 4 * output.shape[2]), np.float32)
    )
    constants[2] = writer.node("Concat", [constants[2], zeros], f"{output.name}:biases", axis=1)
    value = writer.node(
        "Transpose", [writer.real(source.name)], f"{output.name}:steps", perm=[1, 0, 2]
    )
    value = writer.node(
        "LSTM", [value, *constants], f"{output.name}:units", hidden_size=output.shape[2]
    )
    value = writer.node("Transpose", [value], f"{output.name}:rows", perm=[2, 0, 1, 3])
    shape = writer.constant(f"{output.name}:shape", np.array(writer.leading(output.shape)))
    writer.finish(op, "Reshape", [value, shape])


def _joined(writer: Writer, name: str, tensors: list[Tensor]) -> str:
    """Dequantise one kind of constants of all gates, joined, with a leading direction of 1."""
    codes = np.concatenate([np.asarray(tensor.data) for tensor in tensors])[None]
    scales = [
        np.repeat(tensor.quantization.scale, len(np.asarray(tensor.data)))
        for tensor in tensors
        if tensor.quantization is not None
    ]
    dtype = np.int8 if codes.ndim == 3 else np.int32
    constant = writer.constant(f"{name}:codes", codes.astype(dtype))
    return writer.dequantise(constant, name, Quantization(np.concatenate(scales), 0, 1), dtype)


def _check_clip(writer: Writer, op: Op) -> None:
    cells = writer.graph.tensors[op.inputs[-1]].quantization
    if op.clip and cells is not None and op.clip < 32767 * cells.scale[0]:
        raise ExportError(
            f"ONNX's LSTM cannot limit its cells, but {op.name!r} limits them to {op.clip:g}; "
            "train it without a limit"
        )
