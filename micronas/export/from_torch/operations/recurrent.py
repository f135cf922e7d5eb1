"""LSTM layers. A GRU has no operator in TFLM, nor could its steps share weights."""

from collections.abc import Sequence

import torch

from micronas.export.from_torch.layout import Value
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.tracer import Tracer
from micronas.graph.ir import Op, Tensor
from micronas.graph.recurrent import GATES


def lstm(tracer: Tracer, arguments: Arguments) -> Sequence[Value]:
    """Append an operator a layer; returns all outputs, and the last one of the last layer."""
    if arguments["bidirectional"]:
        raise tracer.refusal(
            "an LSTM must run forwards alone, but is bidirectional", "use bidirectional=False"
        )
    states = arguments["hx"]
    if not all(tracer.is_constant(state) for state in states) or any(
        tracer.constant(state).any() for state in states
    ):
        raise tracer.refusal("an LSTM must start at zero, but is given a state", "leave it out")
    value = tracer.value(arguments["input"])
    if not arguments["batch_first"]:
        value = Value(value.tensor, value.positions.transpose(0, 1))
    weights = [tracer.constant(node) for node in arguments["params"]]
    each = 4 if arguments["has_biases"] else 2
    if len(weights) != each * arguments["num_layers"]:
        raise tracer.refusal("an LSTM must have no projection, but has one", "use proj_size=0")
    for layer in range(arguments["num_layers"]):
        value = _layer(tracer, value, weights[layer * each : (layer + 1) * each])
    last = value.positions[:, -1:].transpose(0, 1)
    positions = value.positions if arguments["batch_first"] else value.positions.transpose(0, 1)
    outputs = [Value(value.tensor, positions)]
    # Of several layers torch returns a last output each; only the last layer's is at hand.
    return [*outputs, Value(value.tensor, last)] if arguments["num_layers"] == 1 else outputs


def _layer(tracer: Tracer, value: Value, weights: Sequence[torch.Tensor]) -> Value:
    source = tracer.materialised(value)
    name = tracer.name()
    units = weights[1].shape[1]
    bias = weights[2] + weights[3] if len(weights) == 4 else torch.zeros(4 * units)
    inputs = [source]
    parts = ("input_weights", weights[0]), ("recurrent_weights", weights[1]), ("bias", bias)
    for part, stacked in parts:
        for gate, rows in zip(GATES, stacked.reshape(4, units, *stacked.shape[1:]), strict=True):
            inputs.append(tracer.filled(f"{name}/{gate}_{part}", rows.contiguous().numpy()))
    for state in ("hidden", "cell"):
        inputs.append(f"{name}/{state}")
        tracer.tensors[inputs[-1]] = Tensor(inputs[-1], (1, units), constant=True, variable=True)
    op = Op("UNIDIRECTIONAL_SEQUENCE_LSTM", name, tuple(inputs), (name,))
    shape = (1, tracer.shape_of(source)[1], units)
    return tracer.append(op, shape)
