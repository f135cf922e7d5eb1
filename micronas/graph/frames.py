"""Run a streaming int8 graph frame by frame, each row once, as soon as the rows it reads exist."""

from dataclasses import dataclass

import numpy as np

from micronas.errors import DataError
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels import kernel_of
from micronas.graph.kernels.codes import Kernel, Values, data
from micronas.graph.streaming import Sweep, check_streaming, is_delay, of_rows, sweep_of, timings


@dataclass
class _Stage:
    op: Op
    sweep: Sweep
    kernel: Kernel | None
    """Kernel that computes one row; None for a delay, which copies it."""
    next: int = 0
    """Number of its next row."""


class FrameByFrame:
    """A streaming network between two frames of a recording.

    Scores are those of `integer.run` over the whole recording (`streaming.recording`), bit for bit.
    Raises ModelError if the graph is not a complete int8 graph, and ConfigError if it does not
    stream.
    """

    def __init__(self, graph: Graph) -> None:
        check_int8(graph)
        check_streaming(graph)
        self._graph = graph
        self.frames = timings(graph)[graph.outputs[0]].reach
        """Frames before the first scores."""
        self.stride = timings(graph)[graph.outputs[0]].stride
        """Frames from scores to scores."""
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        graph = self._graph
        self._stages = [
            _Stage(
                op,
                sweep_of(graph, op),
                None if is_delay(graph, op) else kernel_of(of_rows(graph, op, 1), op),
            )
            for op in graph.ops
        ]
        written = (name for op in graph.ops for name in op.outputs)
        self._rows: dict[str, list[Values]] = {name: [] for name in (*graph.inputs, *written)}
        self._first = dict.fromkeys(self._rows, 0)
        """Number of the first row kept."""

    def push(self, frames: Values) -> Values:
        """Return the scores, int8 [scores, ...], that frames [frames, width, channels] complete.

        Raises DataError if frames have another type or shape.
        """
        graph = self._graph
        (source,), (output,) = graph.inputs, graph.outputs
        wanted = graph.tensors[source].shape[2:]
        if frames.dtype != np.int8 or frames.shape[1:] != wanted:
            raise DataError(
                f"frames must be int8 [frames, {', '.join(map(str, wanted))}], but got "
                f"{frames.dtype} {list(frames.shape)}; quantise them first"
            )
        scores = []
        for frame in frames:
            self._rows[source].append(frame)
            for stage in self._stages:
                while (row := self._computed(stage)) is not None:
                    self._rows[stage.op.outputs[0]].append(row)
                    stage.next += 1
            scores += self._rows[output]
            self._first[output] += len(self._rows[output])
            self._rows[output].clear()
            self._forget()
        shape = graph.tensors[output].shape[1:]
        return np.array(scores, np.int8).reshape(-1, *shape)

    def _computed(self, stage: _Stage) -> Values | None:
        """Return the next row of a stage, or None where a row that it reads is missing."""
        read, sweep = list[Values](), stage.sweep
        begin = stage.next * sweep.stride + sweep.skipped
        for name in stage.op.operands:
            if name not in self._rows:
                read.append(data(self._graph.tensors[name]).astype(np.int8))
                continue
            at = begin - self._first[name]
            rows = self._rows[name][at : at + sweep.extent]
            if len(rows) < sweep.extent:
                return None
            read.append(np.array(rows))
        if stage.kernel is None:
            row: Values = read[0][0]
            return row
        graph = self._graph
        shapes = (graph.tensors[name].shape for name in stage.op.operands)
        given = [
            rows[None, None] if len(shape) == 4 and name in self._rows else rows[None]
            for rows, shape, name in zip(read, shapes, stage.op.operands, strict=True)
        ]
        shape = graph.output_of(stage.op).shape
        return stage.kernel(*given).reshape(shape[2:] if len(shape) == 4 else shape[1:])

    def _forget(self) -> None:
        """Drop rows that no stage reads any more."""
        wanted = {name: self._first[name] + len(rows) for name, rows in self._rows.items()}
        for stage in self._stages:
            begin = stage.next * stage.sweep.stride + stage.sweep.skipped
            for name in stage.op.operands:
                if name in wanted:
                    wanted[name] = min(wanted[name], begin)
        for name, first in wanted.items():
            del self._rows[name][: first - self._first[name]]
            self._first[name] = first
