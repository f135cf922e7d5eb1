"""Networks over time that compute only new rows: VALID windows, delays in place of padding.

Rows of a map are time. A streaming network does not pad them, so that a row depends only on the
frames it reads, wherever a window begins: the rows of a training window are those of the whole
recording. A sum of a map and a later one reads the first with a delay.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.graph.ir import Graph, Op, Tensor, extent, same_padding, table
from micronas.graph.operators import OPERATORS

_WINDOWS = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D")
_OF_ONE_ROW = ("FULLY_CONNECTED", "RESHAPE", "SOFTMAX", "LOG_SOFTMAX")
_ROW_BY_ROW = (
    *(kind for kind, row in OPERATORS.items() if row.spreads),
    *("LOGISTIC", "HARD_SWISH", "RELU", "RELU6", "LEAKY_RELU", "ELU", "TANH", "QUANTIZE"),
    *("POSITIONS", "TABLE", "PAD", "SLICE", "CONCATENATION"),
)


@dataclass(frozen=True)
class Timing:
    """Times of a tensor's rows, in frames of the input."""

    stride: int
    """Frames from one row to the next."""
    reach: int
    """Frames until the first row."""

    def rows(self, frames: int) -> int:
        """Return the number of rows after `frames` frames; below 1 if they are too few."""
        return (frames - self.reach) // self.stride + 1


@dataclass(frozen=True)
class Sweep:
    """Rows of its operands that an operator reads for each row it writes."""

    stride: int = 1
    extent: int = 1
    skipped: int = 0
    """Rows skipped before the first: a delay."""


def streaming(graph: Graph) -> Graph:
    """Return a network over time, whose maps are padded, as one that streams.

    Windows become VALID over rows; columns are padded as before. Where the operands of an operator
    differ in time, a SLICE drops the first rows of the earlier one. A mean over the whole map
    becomes one over all remaining rows. Raises ConfigError if an operator cannot stream, or the
    network reads more frames than its input has.
    """
    return _Conversion(graph).graph()


def sweep_of(graph: Graph, op: Op) -> Sweep:
    """Return the rows that an operator of a streaming network reads."""
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return Sweep(op.stride[0], extent(graph.constant_of(op).shape[1], op.dilation[0]))
    if op.kind in _WINDOWS:
        return Sweep(op.stride[0], op.window[0])
    return Sweep(skipped=_skipped(graph, op))


def is_delay(graph: Graph, op: Op) -> bool:
    """Return whether an operator copies rows except some at the beginning or the end."""
    if op.kind != "SLICE" or len(graph.output_of(op).shape) != 4:
        return False
    return graph.input_of(op).shape[1] != graph.output_of(op).shape[1]


def check_streaming(graph: Graph) -> None:
    """Check that a network streams.

    Raises ConfigError if an operator's rows depend on the position of the window, or on no input;
    the error names the first.
    """
    source = graph.tensors[graph.inputs[0]]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(source.shape) != 4:
        raise ConfigError(
            f"a streaming network must have one input of [1, frames, width, channels] and one "
            f"output, but this one reads {', '.join(graph.inputs)} and gives "
            f"{', '.join(graph.outputs)}; leave out all others"
        )
    computed = {*graph.inputs}
    for op in graph.ops:
        if computed.isdisjoint(op.operands):
            raise _constant(op.outputs[0])
        computed.update(op.outputs)
        rows = {_rows(graph.tensors[name]) for name in (*op.operands, *op.outputs)}
        by_row = op.kind in _ROW_BY_ROW and (len(rows) == 1 or is_delay(graph, op))
        valid = op.kind in _WINDOWS and (op.padding == "VALID" or sweep_of(graph, op) == Sweep())
        if not (by_row or valid or (op.kind in _OF_ONE_ROW and rows == {1})):
            raise ConfigError(
                f"a streaming network must compute each row of a map from rows beside it, unlike "
                f"{op.kind} {op.name!r}; leave out gates (squeeze) and states, and padding over "
                "time by streaming: true in its space"
            )
    if graph.outputs[0] not in computed:
        raise _constant(graph.outputs[0])


def _constant(name: str) -> ConfigError:
    return ConfigError(
        f"a streaming network must compute everything from its input, but {name!r} is constant; "
        "remove what does not depend on the input"
    )


def streams(graph: Graph) -> bool:
    """Return whether `check_streaming` passes a network."""
    try:
        check_streaming(graph)
    except ConfigError:
        return False
    return True


def timings(graph: Graph) -> dict[str, Timing]:
    """Return the earliest times of the rows of each activation of a streaming network."""
    found = {graph.inputs[0]: Timing(1, 1)}
    for op in graph.ops:
        sweep = sweep_of(graph, op)
        read = [found[name] for name in op.operands if name in found]
        stride, reach = read[0].stride, max(each.reach for each in read)
        more = sweep.extent - 1 + sweep.skipped
        found[op.outputs[0]] = Timing(stride * sweep.stride, reach + more * stride)
    return found


def frames_read(graph: Graph) -> int:
    """Return the number of frames that a row of the last map would read with VALID windows."""
    reach, stride = {graph.inputs[0]: 1}, {graph.inputs[0]: 1}
    for op in graph.ops:
        first, out = op.operands[0], op.outputs[0]
        whole = op.kind == "AVERAGE_POOL_2D" and op.window == graph.input_of(op).shape[1:3]
        sweep = Sweep() if whole else sweep_of(graph, op)
        read = max(reach[name] for name in op.operands if name in reach)
        reach[out] = read + (sweep.extent - 1) * stride[first]
        stride[out] = stride[first] * sweep.stride
    return reach[graph.outputs[0]]


def recording(graph: Graph, frames: int) -> Graph:
    """Return a streaming network over a recording of any number of frames.

    The output has a row for each window of the graph's own length that begins a multiple of its
    stride after the first frame: [rows, ...]. Raises ConfigError if the graph does not stream, or
    the recording is shorter than the frames it reads.
    """
    check_streaming(graph)
    when = timings(graph)
    for op in graph.ops:
        if not is_delay(graph, op):
            continue
        (reader,) = (each for each in graph.ops if op.outputs[0] in each.operands)
        when[op.outputs[0]] = when[reader.outputs[0]]
    last = when[graph.outputs[0]]
    if last.rows(frames) < 1:
        raise ConfigError(
            f"a recording must have the frames that the network reads, {last.reach}, but has "
            f"{frames}; record more, or take a window of fewer frames"
        )
    sizes = {name: each.rows(frames) for name, each in when.items()}
    tensors = {name: with_rows(graph.tensors[name], rows) for name, rows in sizes.items()}
    return _rewritten(replace(graph, tensors={**graph.tensors, **tensors}))


def of_rows(graph: Graph, op: Op, rows: int) -> Graph:
    """Return one operator of a streaming network as a graph that writes `rows` rows."""
    sweep, output = sweep_of(graph, op), graph.output_of(op)
    read = (rows - 1) * sweep.stride + sweep.extent
    tensors = {name: graph.tensors[name] for name in op.inputs}
    operands = [name for name in op.operands if not tensors[name].constant]
    tensors |= {name: with_rows(tensors[name], read) for name in operands}
    tensors[output.name] = with_rows(output, rows)
    return _rewritten(Graph(tensors, (op,), (*dict.fromkeys(operands),), op.outputs))


def with_rows(tensor: Tensor, rows: int) -> Tensor:
    """Return an activation with `rows` rows: the second dimension of maps, else the first."""
    axis = 1 if len(tensor.shape) == 4 else 0
    shape = (*tensor.shape[:axis], rows, *tensor.shape[axis + 1 :])
    return tensor if shape == tensor.shape else replace(tensor, shape=shape)


def _rewritten(graph: Graph) -> Graph:
    """Return the graph with the tables of SLICE and RESHAPE set to its sizes."""
    tensors = dict(graph.tensors)
    for op in graph.ops:
        if op.kind in ("SLICE", "RESHAPE") and op.inputs[len(op.operands) :]:
            tensors[op.inputs[-1]] = table(op.inputs[-1], graph.output_of(op).shape)
    return replace(graph, tensors=tensors)


def _rows(tensor: Tensor) -> int:
    return tensor.shape[1 if len(tensor.shape) == 4 else 0]


def _skipped(graph: Graph, op: Op) -> int:
    if op.kind != "SLICE" or len(graph.output_of(op).shape) != 4:
        return 0
    begin = graph.constant_of(op).data
    assert begin is not None, "`streaming` writes the tables of delays"
    return int(begin[1])


class _Conversion:
    """Conversion of one graph, operator by operator."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tensors: dict[str, Tensor] = {graph.inputs[0]: graph.tensors[graph.inputs[0]]}
        self._ops: list[Op] = []
        self._centre = {graph.inputs[0]: 0}
        """Middle of the frames that the first row of each activation reads."""
        self._stride = {graph.inputs[0]: 1}

    def graph(self) -> Graph:
        source = self._graph
        for op in source.ops:
            self._append(op)
        tensors = {name: self._tensors.get(name, each) for name, each in source.tensors.items()}
        found = _rewritten(replace(source, tensors=tensors | self._tensors, ops=tuple(self._ops)))
        check_streaming(found)
        return found

    def _append(self, op: Op) -> None:
        if op.kind in _WINDOWS:
            op = self._valid(op)
        elif len(op.operands) > 1:
            op = self._aligned(op)
        sweep = sweep_of(self._now(), op)
        first, out = op.operands[0], self._graph.output_of(op)
        if len(out.shape) != 4:
            self._tensors[out.name] = out
        else:
            read = self._tensors[first].shape[1]
            self._tensors[out.name] = with_rows(out, (read - sweep.extent) // sweep.stride + 1)
        self._ops.append(op)
        self._stride[out.name] = self._stride[first] * sweep.stride
        middle = (sweep.extent - 1) // 2
        self._centre[out.name] = self._centre[first] + self._stride[first] * middle

    def _now(self) -> Graph:
        return replace(self._graph, tensors=self._graph.tensors | self._tensors)

    def _valid(self, op: Op) -> Op:
        """Return a window without padding over rows; its columns are padded before it."""
        source = self._graph.input_of(op)
        if op.kind == "AVERAGE_POOL_2D" and op.window == source.shape[1:3]:
            rows = self._tensors[source.name].shape[1]
            return replace(op, window=(rows, source.shape[2]), stride=(1, 1), padding="VALID")
        if op.padding == "VALID":
            return self._checked(op)
        is_pool = op.kind.endswith("POOL_2D")
        taps = op.window[1] if is_pool else self._graph.constant_of(op).shape[2]
        sides = same_padding(source.shape[2], extent(taps, op.dilation[1]), op.stride[1])
        op = replace(op, padding="VALID")
        if any(sides):
            if is_pool:
                raise ConfigError(
                    f"a pool of a streaming network must divide the columns of its map, but "
                    f"{op.name!r} takes {taps} of {source.shape[2]}; choose another window"
                )
            amounts = [(0, 0), (0, 0), sides, (0, 0)]
            shape = self._tensors[source.name].shape
            wide = (*shape[:2], shape[2] + sum(sides), shape[3])
            op = self._before(op, 0, "PAD", "border", wide, {"amounts": amounts})
        return self._checked(op)

    def _checked(self, op: Op) -> Op:
        sweep, rows = sweep_of(self._now(), op), self._tensors[op.operands[0]].shape[1]
        if rows < sweep.extent:
            raise ConfigError(
                f"a streaming network must read no more frames than its window has, "
                f"{self._graph.tensors[self._graph.inputs[0]].shape[1]}, but {op.name!r} reads "
                f"{sweep.extent} rows of {rows}; give it smaller kernels, fewer blocks or strides "
                "that come later, or a longer window"
            )
        return op

    def _aligned(self, op: Op) -> Op:
        """Return an operator whose operands are rows of the same time."""
        names = [name for name in op.operands if name in self._centre]
        if len({self._stride[name] for name in names}) != 1:
            return op  # `check_streaming` refuses operands of different strides
        stride, latest = self._stride[names[0]], max(self._centre[name] for name in names)
        skips = {name: (latest - self._centre[name]) // stride for name in names}
        rows = min(self._tensors[name].shape[1] - skips[name] for name in names)
        for place, name in enumerate(op.operands):
            if name in skips and self._tensors[name].shape[1] != rows:
                shape = with_rows(self._tensors[name], rows).shape
                tables = {"begin": [0, skips[name], 0, 0], "size": shape}
                op = self._before(op, place, "SLICE", "delay", shape, tables)
                self._centre[op.operands[place]] += stride * skips[name]
        return op

    def _before(
        self,
        op: Op,
        place: int,
        kind: str,
        word: str,
        shape: tuple[int, ...],
        tables: Mapping[str, npt.ArrayLike],
    ) -> Op:
        """Append an operator before `op` that changes one of its operands; return `op` with it."""
        source = op.operands[place]
        name = f"{op.name}/{word}" if place == 0 else f"{op.name}/{word}{place}"
        inputs = [source]
        for each, data in tables.items():
            inputs.append(f"{name}/{each}")
            self._tensors[inputs[-1]] = table(inputs[-1], data)
        self._tensors[name] = Tensor(name, shape)
        self._ops.append(Op(kind, name, tuple(inputs), (name,)))  # type: ignore[arg-type]
        self._stride[name], self._centre[name] = self._stride[source], self._centre[source]
        return replace(op, inputs=(*op.inputs[:place], name, *op.inputs[place + 1 :]))
