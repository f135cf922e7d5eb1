"""Export a torch module as the bytes of an int8 ``.tflite`` file, in one call."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from torch import Tensor, nn

from micronas.errors import CalibrationWarning, ExportError
from micronas.export.from_torch.check import Exported, Labelled, compare
from micronas.export.from_torch.trace import trace
from micronas.graph.averages import Average, with_averages
from micronas.graph.ir import Graph
from micronas.graph.parts import computed_apart
from micronas.graph.wide import widened
from micronas.train.calibration import EXAMPLES, Method, check_method
from micronas.train.fake_quantize import LinearScales
from micronas.train.inputs import Calibration, calibration_batches
from micronas.train.memory import return_freed_memory
from micronas.train.network import Network
from micronas.train.post_training import calibrated, largest_loss, tuned
from micronas.train.quantize import LayerBits, QuantizedNetwork

_LEAST_DB = 10
"""Ratio of outputs to rounding noise below which a warning names the layer that loses most."""
_MEASURED = 2
"""Number of examples for this ratio."""


def to_tflite(
    module: nn.Module,
    example_input: Tensor | Sequence[Tensor],
    *,
    calibration: Calibration | None = None,
    method: Method = "mse",
    bits: LayerBits = 8,
    activations: Literal[8, 16] = 8,
    averages: Average = "parts",
    linear_scales: LinearScales = "tensor",
    tune: bool = False,
    check: Labelled | None = None,
    metadata: Mapping[str, bytes] | None = None,
) -> Exported:
    """Export a module as an int8 TFLite Micro flatbuffer, int8 in and int8 out.

    Raises ExportError if the module or its settings cannot be expressed in TFLite Micro, or an
    input has the same value throughout the calibration; DataError if a calibration batch is not of
    the example's shape; MicronasError if there is no calibration batch, or a `QuantizedNetwork` has
    no ranges yet.

    Parameters
    ----------
    module
        Module in eval mode; see `trace` for its limits. A `QuantizedNetwork` keeps the ranges and
        bits it was trained with, and is not calibrated.
    example_input
        float32 [N, ...], one tensor for each input of the module. The device's inputs have the
        shape of one example; see `trace` for the order of maps and sequences.
    calibration
        Typical inputs, which determine the ranges of activations and the correction of biases by
        which each channel keeps its mean: 128 examples like those on the device. A tensor of
        examples; or batches as from a DataLoader, each a tensor, or one for each input, alone or in
        a pair with labels. All are held in memory. Without it the example input is used, with a
        `CalibrationWarning`: enough to try an export.
    method
        Rule by which ranges follow from observed values: ``mse`` clips where that costs less than
        finer steps gain; see `Method` for ``minmax``, ``percentile`` and ``average``.
    bits
        8, or 4 for the weights of convolutions (not depthwise ones) and linear layers, or a
        mapping from names of layers or patterns (``{"features.*": 4}``) to bits. A layer read in
        parts, such as one for queries, keys and values, is several: ``qkv.part0`` and so on.
    activations
        Bits of activations, inputs and outputs. 16 (with weights of 8 bits, TFLM's 16x8 kernels)
        is for networks that lose too much signal with 8: twice the arena, and for tables of
        functions, LSTMs and convolutions in groups there is no kernel.
    averages
        Form of averages over whole maps: ``pool`` in the map's scale; ``parts`` by a pool to at
        most 64 parts, then MEAN with its own scale, at most 3 % slower and 1 to 6 dB finer than
        ``pool``; ``mean`` by MEAN alone, 20 times as slow as the pool.
    linear_scales
        Scales of linear layers: one for all weights (``tensor``), which every TFLM takes, or one
        per ``output``, finer where their sizes differ. An output then costs 9 instructions and 16
        bytes of flash more, and 8 of the arena. TFLM takes several scales since September 2024;
        before, and in its Arduino library, it silently uses the first.
    tune
        Try each method, channels of equal ranges, and uncorrected biases, on the calibration
        batches, and keep the network nearest to float; `method` is ignored. Takes twelve runs.
    check
        Batches of inputs and labels (class numbers [N], or None), on which float and int8 are
        compared; the result is `Exported.check`.
    metadata
        Labels and the meaning of the input, from `micronas.tflite.metadata.describe`. The version
        of micronas is written in any case.

    Returns
    -------
    The file's contents, which are bytes.
    """
    _check_choice("averages", averages, get_args(Average))
    if isinstance(module, QuantizedNetwork):
        _only_for_floats(bits, activations, calibration, tune)
        network, graph = module, None
    else:
        if isinstance(module, Network):
            graph = module.graph()
        else:
            graph = computed_apart(
                with_averages(trace(module, example_input, copy=False), averages)
            )
        graph = _of_activations(graph, activations, bits, linear_scales)
        seen = [example_input] if calibration is None else calibration
        network = _calibrated(
            graph, seen, method=method, bits=bits, linear_scales=linear_scales, tune=tune
        )
        if calibration is None:
            _warn_of(example_input)
    written, checked = network.graph(), None
    if check is not None:
        # the float network has the uncorrected biases
        reference = network if graph is None else QuantizedNetwork(graph, copy=False)
        checked = compare(written, reference, check)
        del reference
    del network, graph  # and weights in float32 with them
    # the schema takes 6 MB, which are not there at the peak if imported late
    from micronas.tflite.metadata import describe
    from micronas.tflite.writer import packed

    content = packed(written, metadata=metadata or describe(classes=(), meaning={}))
    del written
    return_freed_memory()  # of the constants, before there is a copy of the file
    model = Exported(content)
    model.check = checked
    return model


def _calibrated(
    graph: Graph,
    calibration: Calibration,
    *,
    method: Method,
    bits: LayerBits,
    linear_scales: LinearScales,
    tune: bool,
) -> QuantizedNetwork:
    check_method(method)
    _check_choice("linear_scales", linear_scales, get_args(LinearScales))
    is_number = isinstance(bits, int) and not isinstance(bits, bool)
    if not isinstance(bits, Mapping) and not (is_number and bits in (8, 4)):
        raise ExportError(
            f"bits must be 8 or 4, or a mapping from layers to them, but is {bits!r}; choose one"
        )
    batches = list(calibration_batches(graph, calibration))
    _check_spread(graph, batches)
    if tune:
        network = tuned(graph, batches, bits=bits, linear_scales=linear_scales)
    else:
        network = calibrated(graph, batches, method=method, bits=bits, linear_scales=linear_scales)
    network.eval()
    _warn_of_loss(network, batches[0])
    return network


def _check_choice(name: str, chosen: str, choices: Sequence[str]) -> None:
    if chosen not in choices:
        raise ExportError(
            f"{name} must be one of {', '.join(choices)}, but is {chosen!r}; choose one"
        )


def _of_activations(
    graph: Graph, activations: int, bits: LayerBits, linear_scales: LinearScales
) -> Graph:
    """Return the graph with activations marked int16 for 16 bits."""
    if activations not in (8, 16) or isinstance(activations, bool):
        raise ExportError(f"activations must be 8 or 16, but is {activations!r}; choose one")
    if activations == 8:
        return graph
    if bits != 8 or linear_scales != "tensor":
        raise ExportError(
            "activations of 16 bits must have weights of 8, and linear layers of one scale, as "
            f"CMSIS-NN has no kernels for others, but bits is {bits!r} and linear_scales "
            f"{linear_scales!r}; leave them out, or export with activations=8"
        )
    return widened(graph)


def _warn_of(example_input: Tensor | Sequence[Tensor]) -> None:
    first = example_input if isinstance(example_input, Tensor) else example_input[0]
    warnings.warn(
        f"ranges of activations must follow from typical inputs, but the {len(first)} of "
        "example_input are all there is: other inputs may clip, and accuracy be lost; pass "
        f"{EXAMPLES} or more as calibration",
        CalibrationWarning,
        stacklevel=3,
    )


def _warn_of_loss(network: QuantizedNetwork, batch: Mapping[str, Tensor]) -> None:
    """Warn of outputs near the noise of rounding, with the layer that loses most."""
    loss = largest_loss(network, {name: each[:_MEASURED] for name, each in batch.items()})
    if loss.outputs_db < _LEAST_DB:
        graph = network.float_graph
        is_wide = graph.tensors[graph.inputs[0]].dtype == "int16"
        ways = "tune=True" if is_wide else "tune=True, activations=16"
        warnings.warn(
            f"outputs should be {_LEAST_DB} dB above rounding's noise, but on calibration inputs "
            f"one is at {loss.outputs_db:.1f} dB; most is lost in {loss.name}, from "
            f"{loss.before_db:.1f} to {loss.after_db:.1f} dB; compare accuracies with check=, and "
            f"try {ways}, a norm in front of that layer, or training with rounding",
            CalibrationWarning,
            stacklevel=4,
        )


def _check_spread(graph: Graph, batches: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse inputs of one value: zeros leave most activations empty, and ranges are noise."""
    for name in graph.inputs if batches else ():
        low = min(batch[name].min().item() for batch in batches)
        high = max(batch[name].max().item() for batch in batches)
        if low == high:
            raise ExportError(
                f"inputs to calibrate on must vary, but all values of {name} are {low:g}: ranges "
                "of activations would not be those of real inputs; pass typical ones as calibration"
            )


def _only_for_floats(bits: LayerBits, activations: int, calibration: object, tune: bool) -> None:
    given = {
        "bits": bits != 8,
        "activations": activations != 8,
        "calibration": calibration is not None,
        "tune": tune,
    }
    if any(given.values()):
        extra = next(name for name, is_given in given.items() if is_given)
        raise ExportError(
            f"a QuantizedNetwork brings its own ranges and bits, but got {extra} as well; "
            "leave it out"
        )
