"""Recurrent layers: TFLM's LSTM where its outputs suffice, otherwise a few operators per step.

TFLM has no operator for a GRU, and its LSTM starts with zeros and does not output its cells. Steps
share their weights: a file holds constants of equal bytes once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from micronas.export.from_torch.layout import Stack, Value
from micronas.export.from_torch.operations import Arguments
from micronas.export.from_torch.operations.affine import with_constant
from micronas.export.from_torch.operations.elementwise import applied, combined
from micronas.export.from_torch.operations.movement import joined_ends, joined_rows
from micronas.export.from_torch.operations.weighted import multiplied
from micronas.export.from_torch.tracer import Part, Tracer
from micronas.graph import ir
from micronas.graph.ir import Kind, Op
from micronas.graph.recurrent import GATES

State = tuple[Value | None, ...]
"""State between steps: the output, and cells of an LSTM; None stands for zeros."""


@dataclass(frozen=True)
class _Weights:
    """Weights of one direction of a layer, with rows of gates as in torch."""

    read: Tensor
    kept: Tensor
    read_bias: Tensor
    kept_bias: Tensor
    projection: Tensor | None

    def gates(self, count: int, chosen: Sequence[int]) -> "_Weights":
        """Return the rows of some of `count` gates."""
        read, kept, read_bias, kept_bias = (
            torch.cat([part.chunk(count)[gate] for gate in chosen])
            for part in (self.read, self.kept, self.read_bias, self.kept_bias)
        )
        return _Weights(read, kept, read_bias, kept_bias, None)


_Cell = Callable[[Tracer, Sequence[Value], Sequence[_Weights], State], State]
"""Function of one step, from its products with the input, weights of groups of gates and state."""


def lstm(tracer: Tracer, arguments: Arguments) -> Sequence[Part]:
    starts = [_start(tracer, state) for state in arguments["hx"]]
    gives_cells = any(node.args[1] == 2 and node.users for node in tracer.node.users)
    weights = _weights(tracer, arguments)
    is_plain = starts == [None, None] and weights[0].projection is None and not gives_cells
    run = _whole_lstm if is_plain else partial(_steps, _lstm_step, 4, ((0, 1, 3), (2,)))
    return _layers(tracer, arguments, starts, weights, run)


def gru(tracer: Tracer, arguments: Arguments) -> Sequence[Part]:
    starts, weights = [_start(tracer, arguments["hx"])], _weights(tracer, arguments)
    run = partial(_steps, _gru_step, 3, ((0, 1), (2,)))
    return _layers(tracer, arguments, starts, weights, run)


def rnn(curve: Kind, tracer: Tracer, arguments: Arguments) -> Sequence[Part]:
    """Run a plain recurrent layer with an activation."""
    starts, weights = [_start(tracer, arguments["hx"])], _weights(tracer, arguments)
    run = partial(_steps, partial(_rnn_step, curve), 1, ((0,),))
    return _layers(tracer, arguments, starts, weights, run)


def _start(tracer: Tracer, state: object) -> Value | None:
    """Return a state, [directions of layers, N, units]; None if it is zero."""
    if not tracer.is_constant(state):
        return tracer.value(state)
    if bool(tracer.constant(state).any()):
        raise tracer.refusal(
            "a recurrent layer must start at zero or at an input, but starts at a constant",
            "pass it as an input, or leave it out",
        )
    return None


def _weights(tracer: Tracer, arguments: Arguments) -> list[_Weights]:
    """Return the weights of each direction of each layer."""
    given = [tracer.constant(node) for node in arguments["params"]]
    rows = arguments["num_layers"] * (2 if arguments["bidirectional"] else 1)
    each = len(given) // rows
    found = []
    for start in range(0, len(given), each):
        read, kept, *rest = given[start : start + each]
        biases = rest[:2] if arguments["has_biases"] else [read.new_zeros(len(read))] * 2
        projection = rest[-1] if len(rest) % 2 else None
        found.append(_Weights(read, kept, biases[0], biases[1], projection))
    return found


_Run = Callable[[Tracer, Value, _Weights, State, bool], tuple[Callable[[], Value], State]]
"""Function that runs one direction of a layer: returns its outputs in time, and the last state."""


def _layers(
    tracer: Tracer,
    arguments: Arguments,
    starts: Sequence[Value | None],
    weights: Sequence[_Weights],
    run: _Run,
) -> Sequence[Part]:
    """Run layers one after another; return outputs, and the last states of all."""
    value = tracer.value(arguments["input"])
    if len(value.shape) != 3:
        raise tracer.refusal(
            f"a recurrent layer must read [N, time, features], but reads {list(value.shape)}",
            "keep the batch dimension",
        )
    batch_first, directions = arguments["batch_first"], 2 if arguments["bidirectional"] else 1
    if not batch_first:
        value = Value(value.tensor, value.positions.transpose(0, 1))
    if value.shape[0] != 1:
        raise tracer.refusal(
            f"a recurrent layer must read one example, but reads {value.shape[0]}",
            "keep examples in dimension 0, or in dimension 1 without batch_first",
        )
    ends: list[State] = []
    make: Callable[[], Value] = lambda: value  # noqa: E731
    for layer in range(arguments["num_layers"]):
        outputs = []
        source = make()
        for backwards in range(directions):
            number = layer * directions + backwards
            state = tuple(
                None if start is None else Value(start.tensor, start.positions[number])
                for start in starts
            )
            output, end = run(tracer, source, weights[number], state, bool(backwards))
            outputs.append(output)
            ends.append(end)
        make = partial(_beside, tracer, outputs)
    left = range(sum(state is not None for state in ends[0]))
    stacks = [Stack(tuple(_known(end[place]) for end in ends)) for place in left]

    def result() -> Value:
        found = make()
        turned = found.positions if batch_first else found.positions.transpose(0, 1)
        return Value(found.tensor, turned)

    return [result, *stacks]


def _known(value: Value | None) -> Value:
    assert value is not None, "a step leaves a state"
    return value


def _beside(tracer: Tracer, outputs: Sequence[Callable[[], Value]]) -> Value:
    """Join the outputs of both directions."""
    values = [output() for output in outputs]
    return values[0] if len(values) == 1 else joined_ends(tracer, values)


def _whole_lstm(
    tracer: Tracer, value: Value, weights: _Weights, state: State, backwards: bool
) -> tuple[Callable[[], Value], State]:
    """Run TFLM's operator, on steps in reverse order where it runs backwards."""
    read = Value(value.tensor, value.positions.flip(1)) if backwards else value
    source = tracer.materialised(read)
    name = tracer.name()
    units = weights.kept.shape[1]
    inputs = [source]
    parts = (
        ("input_weights", weights.read),
        ("recurrent_weights", weights.kept),
        ("bias", weights.read_bias + weights.kept_bias),
    )
    for part, stacked in parts:
        for gate, rows in zip(GATES, stacked.reshape(4, units, *stacked.shape[1:]), strict=True):
            inputs.append(tracer.filled(f"{name}/{gate}_{part}", rows.contiguous().numpy()))
    for kept in ("hidden", "cell"):
        inputs.append(f"{name}/{kept}")
        tracer.tensors[inputs[-1]] = ir.Tensor(inputs[-1], (1, units), constant=True, variable=True)
    op = Op("UNIDIRECTIONAL_SEQUENCE_LSTM", name, tuple(inputs), (name,))
    found = tracer.append(op, (1, tracer.shape_of(source)[1], units))
    last = Value(found.tensor, found.positions[:, -1])
    in_time = found.positions.flip(1) if backwards else found.positions
    return lambda: Value(found.tensor, in_time), (last, None)


def _steps(
    cell: _Cell,
    gates: int,
    groups: Sequence[Sequence[int]],
    tracer: Tracer,
    value: Value,
    weights: _Weights,
    state: State,
    backwards: bool,
) -> tuple[Callable[[], Value], State]:
    """Run a layer step by step; its input is multiplied for all steps at once."""
    parts = [weights.gates(gates, chosen) for chosen in groups]
    read = []
    for part in parts:
        found = multiplied(tracer, value, part.read, part.read_bias)
        flat = tracer.reshaped(found.tensor, (1, found.positions.numel()))
        read.append(Value(flat, found.positions))
    times = range(value.shape[1])
    outputs: list[Value] = []
    for time in reversed(times) if backwards else times:
        now = [Value(each.tensor, each.positions[:, time]) for each in read]
        state = cell(tracer, now, parts, state)
        if weights.projection is not None:
            state = (multiplied(tracer, _known(state[0]), weights.projection, None), *state[1:])
        outputs.append(_known(state[0]))
    in_time = outputs[::-1] if backwards else outputs
    return lambda: joined_rows(tracer, in_time), state


def _sums(tracer: Tracer, now: Value, weights: _Weights, state: Value | None) -> Value:
    """Add the products of a group of gates with the input and with the last output."""
    bias = weights.kept_bias
    if state is None:
        return with_constant(tracer, "ADD", now, bias) if bool(bias.any()) else now
    return combined(tracer, "ADD", now, multiplied(tracer, state, weights.kept, bias))


def _rnn_step(
    curve: Kind, tracer: Tracer, now: Sequence[Value], weights: Sequence[_Weights], state: State
) -> State:
    return (applied(tracer, curve, _sums(tracer, now[0], weights[0], state[0])),)


def _lstm_step(
    tracer: Tracer, now: Sequence[Value], weights: Sequence[_Weights], state: State
) -> State:
    output, cells = state
    gates = applied(tracer, "LOGISTIC", _sums(tracer, now[0], weights[0], output))
    enters, stays, leaves = _chunks(gates, 3)
    new = applied(tracer, "TANH", _sums(tracer, now[1], weights[1], output))
    added = combined(tracer, "MUL", enters, new)
    if cells is not None:
        added = combined(tracer, "ADD", combined(tracer, "MUL", stays, cells), added)
    return combined(tracer, "MUL", leaves, applied(tracer, "TANH", added)), added


def _chunks(value: Value, count: int) -> list[Value]:
    return [Value(value.tensor, part) for part in value.positions.chunk(count, 1)]


def _gru_step(
    tracer: Tracer, now: Sequence[Value], weights: Sequence[_Weights], state: State
) -> State:
    """Compute n + z (h - n), where n = tanh(x + r (W h + b))."""
    (before,) = state
    gates = applied(tracer, "LOGISTIC", _sums(tracer, now[0], weights[0], before))
    resets, stays = _chunks(gates, 2)
    bias = weights[1].kept_bias
    if before is not None:
        kept = combined(tracer, "MUL", resets, multiplied(tracer, before, weights[1].kept, bias))
        new = applied(tracer, "TANH", combined(tracer, "ADD", now[1], kept))
        moved = combined(tracer, "MUL", stays, combined(tracer, "SUB", before, new))
        return (combined(tracer, "ADD", new, moved),)
    if bool(bias.any()):
        kept = with_constant(tracer, "MUL", resets, bias)
        new = applied(tracer, "TANH", combined(tracer, "ADD", now[1], kept))
    else:
        new = applied(tracer, "TANH", now[1])
    return (combined(tracer, "SUB", new, combined(tracer, "MUL", stays, new)),)
