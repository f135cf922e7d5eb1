"""TFLM's Arduino library, whose kernels are older than those of the other targets.

Measured with tensorflow/tflite-micro-arduino-examples 7948b85 (2023), built for a Cortex-M4.
"""

import math
from dataclasses import replace

from micronas.graph.ir import Graph, Op
from micronas.hardware.targets.cmsis_nn import CMSIS_NN


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """Return scratch sizes: a patch as int16 for depthwise filters of any size, 3x3 included."""
    if op.kind != "DEPTHWISE_CONV_2D":
        return CMSIS_NN.scratch(graph, op)
    channels, weights = graph.input_of(op).shape[3], graph.constant_of(op)
    if weights.shape[3] != channels or op.dilation != (1, 1):
        return ()
    return (2 * math.prod(weights.shape[1:3]) * channels,)


ARDUINO = replace(
    CMSIS_NN,
    name="arduino",
    title="TFLM's Arduino library on a Cortex-M with the DSP extension",
    scratch=_scratch,
)
"""Prediction to which 11 to 16 bytes per operator come: the library has TensorFlow Lite's full
structures."""
