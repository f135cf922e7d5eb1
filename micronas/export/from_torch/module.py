"""From a torch module to the bytes of an int8 ``.tflite`` file, in one call."""

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import torch
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from micronas.graph.averages import Average, with_averages
from micronas.graph.interface import Given, by_name
from micronas.graph.ir import Graph
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from micronas.train.calibration import Method
from micronas.train.network import Network
from micronas.train.quantize import LayerBits, QuantizedNetwork


def to_tflite(
    module: nn.Module,
    example_input: Tensor | Sequence[Tensor],
    *,
    calibration: Iterable[Given[Tensor]] | None = None,
    method: Method = "minmax",
    bits: LayerBits = 8,
    averages: Average = "parts",
    metadata: Mapping[str, bytes] | None = None,
) -> bytes:
    """Export a module as an int8 TFLite Micro flatbuffer, int8 in and int8 out.

    Parameters
    ----------
    module
        In eval mode; see `trace` for what it may do. Of a `QuantizedNetwork` the ranges and bits
        it was trained with are kept, and nothing is calibrated.
    example_input
        float32 [N, ...], one tensor for each input of the module. The device's inputs have the
        shape of one example; see `trace` for the order of maps and sequences.
    calibration
        Batches of typical inputs, each a tensor or one for each input, from which the ranges of
        activations follow. Left out, the example input is all there is: that is enough to try an
        export, but the accuracy of a network depends on at least a hundred examples like those it
        will see.
    method
        How ranges follow from the values seen: ``minmax``, ``percentile``, ``mse`` or ``average``.
    bits
        8, or 4 for the weights of convolutions (not depthwise ones) and linear layers, or a
        mapping from names of layers or patterns (``{"features.*": 4}``) to bits.
    averages
        How averages over whole maps are computed: ``pool`` in the map's scale; ``parts`` by a pool
        that leaves a few and MEAN, with a scale of its own, at most 1 % slower and 2 to 4 dB finer
        at the end of a network; ``mean`` by MEAN alone, 20 times as slow as the pool.
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
        if isinstance(module, Network):
            graph = module.graph()
        else:
            graph = with_averages(trace(module, example_input), averages)
        graph = quantize(
            graph,
            (example_input,) if calibration is None else calibration,
            method=method,
            bits=bits,
        )
    return to_flatbuffer(graph, metadata=metadata or describe(classes=(), meaning={}))


def quantize(
    graph: Graph,
    calibration: Iterable[Given[Tensor]],
    *,
    method: Method = "minmax",
    bits: LayerBits = 8,
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
    is_number = isinstance(bits, int) and not isinstance(bits, bool)
    if not isinstance(bits, Mapping) and not (is_number and bits in (8, 4)):
        raise ExportError(
            f"bits must be 8 or 4, or a mapping from layers to them, but is {bits!r}; choose one"
        )
    if not isinstance(calibration, Iterable) or isinstance(calibration, Tensor | str | bytes):
        raise ExportError(
            f"calibration must be batches of inputs, but is {type(calibration).__name__}; "
            "pass a list of tensors"
        )
    network = QuantizedNetwork(graph, bits=bits, ranges="average")
    network.calibrate((_batch(graph, batch) for batch in calibration), method=method)
    return network.eval().graph()


def _batch(graph: Graph, batch: object) -> dict[str, Tensor]:
    """Inputs by name, as the graph stores them: sequences as maps of width 1."""
    if not isinstance(batch, Tensor | Mapping | list | tuple):
        raise ExportError(
            f"calibration batches must be input tensors, but one is {type(batch).__name__}; "
            "of a loader with labels pass (inputs for inputs, labels in loader)"
        )
    found = {}
    for name, value in by_name(graph, batch).items():
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.is_meta:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ExportError(
                f"calibration batches must be floating-point tensors, but one is {kind}; "
                "of a loader with labels pass (inputs for inputs, labels in loader)"
            )
        if value.layout != torch.strided or not value.numel():
            raise ExportError(
                "calibration batches must be dense and have examples, but one is "
                f"{value.layout} {list(value.shape)}; leave it out"
            )
        is_sequence = value.ndim == 3 and len(graph.tensors[name].shape) == 4
        found[name] = (value.unsqueeze(-1) if is_sequence else value).detach().float()
    return found


def _only_for_floats(bits: LayerBits, calibration: object) -> None:
    if bits != 8 or calibration is not None:
        raise ExportError(
            "a QuantizedNetwork brings its own ranges and bits, but got "
            f"{'bits' if bits != 8 else 'calibration'} as well; leave it out"
        )
