"""From a torch module to the bytes of an int8 ``.tflite`` file, in one call."""

from collections.abc import Iterable, Iterator, Mapping
from typing import get_args

from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from micronas.graph.ir import Graph
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from micronas.train.calibration import Method
from micronas.train.network import Network
from micronas.train.quantize import LayerBits, QuantizedNetwork


def to_tflite(
    module: nn.Module,
    example_input: Tensor,
    *,
    calibration: Iterable[Tensor] | None = None,
    method: Method = "minmax",
    bits: LayerBits = 8,
    metadata: Mapping[str, bytes] | None = None,
) -> bytes:
    """Export a module as an int8 TFLite Micro flatbuffer, int8 in and int8 out.

    Parameters
    ----------
    module
        In eval mode; see `trace` for what it may do. Of a `QuantizedNetwork` the ranges and bits
        it was trained with are kept, and nothing is calibrated.
    example_input
        float32 [N, features] or [N, channels, height, width]. The device's input has the shape of
        one example, NHWC.
    calibration
        Batches of typical inputs, from which the ranges of activations follow. Left out, the
        example input is all there is: that is enough to try an export, but the accuracy of a
        network depends on at least a hundred examples like those it will see.
    method
        How ranges follow from the values seen: ``minmax``, ``percentile``, ``mse`` or ``average``.
    bits
        8, or 4 for the weights of convolutions (not depthwise ones) and linear layers, or a
        mapping from names of layers or patterns (``{"features.*": 4}``) to bits.
    metadata
        From `micronas.tflite.metadata.describe`: labels and the meaning of the input. The version
        of micronas is written in any case.

    Raises
    ------
    ExportError
        If the module or its settings cannot be expressed in TFLite Micro.
    DataError
        If a calibration batch is not of the example's shape.
    MicronasError
        If there is no calibration batch, or a `QuantizedNetwork` has no ranges yet.
    """
    if isinstance(module, QuantizedNetwork):
        _only_for_floats(bits, calibration)
        graph = module.graph()
    else:
        graph = quantize(
            module.graph() if isinstance(module, Network) else trace(module, example_input),
            (example_input,) if calibration is None else calibration,
            method=method,
            bits=bits,
        )
    return to_flatbuffer(graph, metadata=metadata or describe(classes=(), meaning={}))


def quantize(
    graph: Graph, calibration: Iterable[Tensor], *, method: Method = "minmax", bits: LayerBits = 8
) -> Graph:
    """Make a float32 graph int8 without training: ranges from the calibration inputs.

    Raises
    ------
    ExportError
        If the settings do not fit the graph, or an activation is not finite.
    MicronasError
        If there is no batch, or one is not of the graph's input shape.
    """
    if method not in get_args(Method):
        raise ExportError(
            f"method must be one of {', '.join(get_args(Method))}, but is {method!r}; choose one"
        )
    if not isinstance(calibration, Iterable) or isinstance(calibration, Tensor):
        raise ExportError(
            f"calibration must be batches of inputs, but is {type(calibration).__name__}; "
            "pass a list of tensors"
        )
    network = QuantizedNetwork(graph, bits=bits, ranges="average")
    network.calibrate(_batches(calibration), method=method)
    return network.eval().graph()


def _batches(calibration: Iterable[Tensor]) -> Iterator[Tensor]:
    for batch in calibration:
        if not isinstance(batch, Tensor):
            raise ExportError(
                f"calibration batches must be input tensors, but one is {type(batch).__name__}; "
                "of a loader with labels pass (inputs for inputs, labels in loader)"
            )
        yield batch.detach().float()


def _only_for_floats(bits: LayerBits, calibration: object) -> None:
    if bits != 8 or calibration is not None:
        raise ExportError(
            "a QuantizedNetwork brings its own ranges and bits, but got "
            f"{'bits' if bits != 8 else 'calibration'} as well; leave it out"
        )
