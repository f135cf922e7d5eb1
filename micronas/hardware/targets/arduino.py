"""TFLM's Arduino library, whose kernels are older than those that are predicted elsewhere.

Measured with tensorflow/tflite-micro-arduino-examples 7948b85 (2023), built for a Cortex-M4.
"""

import math
from dataclasses import replace

from micronas.graph.ir import Graph, Op
from micronas.hardware.targets.cmsis_nn import CMSIS_NN


def _scratch(graph: Graph, op: Op) -> tuple[int, ...]:
    """A patch as int16 for depthwise filters of any size: 3x3 is no exception there yet."""
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
"""To which 11 to 16 bytes an operator come: its structures are those of full TensorFlow Lite."""
