"""The same network through TensorFlow's converter: weights and ranges as FakeQuant operators.

Needs tensorflow (2.21 was used), which no part of micronas imports.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micronas.graph.ir import Array, Graph, Op, Quantization, Tensor

Scales = NDArray[np.float32]
_UNSCALED = ("PAD", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE")


def convert(graph: Graph) -> bytes:
    """Write an int8 graph with TFLiteConverter.

    TensorFlow keeps ranges, not scales: exact for scales of at most 16 significant bits.
    """
    return convert_function(function(graph))


def function(graph: Graph) -> Any:
    """Return the graph as a tf.function in float32 that rounds where the int8 graph does."""
    import tensorflow as tf

    source = graph.tensors[graph.inputs[0]]
    real = {t.name: _real(t) for t in graph.tensors.values() if t.constant and t.dtype != "int4"}

    signature = [tf.TensorSpec(source.shape, tf.float32, name="input")]

    def network(x: Any) -> Any:
        values = {source.name: _rounded(x, source)}
        for op in graph.ops:
            value = _computed(graph, op, values, real)
            if op.kind not in _UNSCALED:
                value = _rounded(value, graph.output_of(op))
            values[op.outputs[0]] = value
        return values[graph.outputs[0]]

    return tf.function(network, input_signature=signature, autograph=False)


def convert_function(network: Any) -> bytes:
    """Convert a tf.function whose ranges are all known."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [network.get_concrete_function()], network
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def snapped(scale: Scales) -> Scales:
    """Round scales to 12 significant bits, which survive (max - min) / 255 in float32."""
    mantissa, exponent = np.frexp(scale.astype(np.float64))
    rounded = np.ldexp(np.round(mantissa * 2**12), exponent - 12)
    return np.asarray(rounded, np.float32)


def with_snapped_scales(graph: Graph) -> Graph:
    """Return the graph with scales that TensorFlow's ranges carry exactly."""
    tensors = dict(graph.tensors)
    for name, tensor in graph.tensors.items():
        if tensor.quantization is not None and tensor.dtype == "int8":
            scale = snapped(tensor.quantization.scale)
            quantization = replace(tensor.quantization, scale=scale)
            tensors[name] = replace(tensor, quantization=quantization)
    for op in graph.ops:
        for name in op.inputs[2:] if op.kind not in ("ADD", "CONCATENATION") else ():
            scales = [_quantization(tensors[key]).scale for key in op.inputs[:2]]
            axis = _quantization(tensors[name]).axis
            tensors[name] = replace(
                tensors[name], quantization=Quantization(scales[0] * scales[1], 0, axis)
            )
    return replace(graph, tensors=tensors)


def _computed(graph: Graph, op: Op, values: dict[str, Any], real: dict[str, Array]) -> Any:
    import tensorflow as tf

    x = values[op.inputs[0]]
    strides = [1, *op.stride, 1]
    match op.kind:
        case "CONV_2D":
            weights = _weights(graph, op, np.moveaxis(real[op.inputs[1]], 0, -1))
            x = tf.nn.conv2d(x, weights, strides, op.padding) + real[op.inputs[2]]
        case "DEPTHWISE_CONV_2D":
            weights = _weights(graph, op, real[op.inputs[1]][0])
            weights = tf.reshape(weights, (*weights.shape, 1))
            x = tf.nn.depthwise_conv2d(x, weights, strides, op.padding) + real[op.inputs[2]]
        case "FULLY_CONNECTED":
            weights = _weights(graph, op, real[op.inputs[1]].T)
            flat = tf.reshape(x, (1, weights.shape[0]))
            x = tf.matmul(flat, weights) + real[op.inputs[2]]
        case "ADD":
            x = x + values[op.inputs[1]]
        case "PAD":
            x = tf.pad(x, graph.constant_of(op).data)
        case "AVERAGE_POOL_2D":
            x = tf.nn.avg_pool2d(x, op.window, op.stride, op.padding)
        case "RESHAPE":
            x = tf.reshape(x, graph.output_of(op).shape)
        case _:
            raise ValueError(f"the cross-check converts only the spaces' operators, not {op.kind}")
    return {"NONE": tf.identity, "RELU": tf.nn.relu, "RELU6": tf.nn.relu6}[op.activation](x)


def _weights(graph: Graph, op: Op, real: Array) -> Any:
    """Weights through FakeQuant; the output channels are their last dimension.

    Nothing but a reshape may come between them and the operator, or the converter gives up.
    """
    import tensorflow as tf

    largest = _quantization(graph.constant_of(op)).scale * np.float32(127)
    if len(largest) == 1:
        return tf.quantization.fake_quant_with_min_max_args(
            real, -largest[0], largest[0], narrow_range=True
        )
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        real, -largest, largest, narrow_range=True
    )


def _rounded(x: Any, tensor: Tensor) -> Any:
    import tensorflow as tf

    quantization = _quantization(tensor)
    low, high = (
        np.float32(quantization.scale[0] * (code - quantization.zero_point)) for code in (-128, 127)
    )
    return tf.quantization.fake_quant_with_min_max_args(x, low, high)


def _real(tensor: Tensor) -> Array:
    quantization = tensor.quantization
    assert tensor.data is not None
    if quantization is None:
        return tensor.data
    shape = [1] * len(tensor.shape)
    shape[quantization.axis or 0] = len(quantization.scale)
    scale = quantization.scale.astype(np.float64).reshape(shape)
    return np.asarray(tensor.data.astype(np.float64) * scale, np.float32)


def _quantization(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization
