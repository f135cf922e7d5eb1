"""Lay out a streaming network as calls of some frames each, with a band of rows for each map.

A call computes the rows that its frames complete. Rows that later calls read stay at the beginning
of their band; others share the rest of the arena. Where a call has fewer frames than the network's
stride, calls differ, and alternate in turns.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from micronas.engine.kernels import Makers, maker_of
from micronas.engine.layout import calls_of, scratch_of
from micronas.engine.plan import Buffer, Plan, plan
from micronas.engine.steps import Call, Overlap, Step, folded
from micronas.errors import ConfigError
from micronas.graph.ir import Graph
from micronas.graph.streaming import (
    Sweep,
    Timing,
    check_streaming,
    is_delay,
    of_rows,
    sweep_of,
    timings,
    with_rows,
)
from micronas.quantities import aligned

PROGRESS = "/progress"
"""Key of the turn and the calls so far, two numbers of 16 bits; no tensor has this name."""
_PROGRESS_BYTES = 4
WORK = "/work"
"""Key of a program's work memory between calls."""
FRAMES = "/frames"
"""Key of the frames of a call, where they are copied to a band of their own."""


@dataclass(frozen=True)
class Read:
    """Rows of a band that an operator reads."""

    band: str
    sweep: Sweep


@dataclass(frozen=True)
class Run:
    """One call of a kernel in a turn; places are bytes from the beginning of their band."""

    function: str
    number: int
    """Number of the operator, with the `part` of its calls, or of a shift."""
    part: int
    reads: tuple[tuple[str, int], ...]
    written: tuple[str, int]
    call: Call | None = None
    """Call of the kernel; None for a shift."""
    elements: int = 0
    """Elements that a call writes."""
    bytes: int = 0
    """Bytes that a shift moves."""


class Hops:
    """Calls of a streaming network and places of its bands; a program may overwrite `work` bytes.

    Attributes
    ----------
    turns
        The kernels' calls of each turn, in order.
    first
        Calls until the first scores.
    """

    def __init__(self, graph: Graph, hop: int, makers: Makers = maker_of, *, work: int = 0) -> None:
        check_streaming(graph)
        self.graph, self.hop, self._work = graph, hop, work
        self.steps = [step for step in folded(graph) if not is_delay(graph, step.op)]
        self._delayed = {
            op.outputs[0]: (op.operands[0], sweep_of(graph, op).skipped)
            for op in graph.ops
            if is_delay(graph, op)
        }
        self._when = _latest(graph)
        last = self._when[graph.outputs[0]]
        period = math.lcm(hop, last.stride)
        self._turns = period // hop
        self._base = -(-last.reach // period) * period
        self.first = -(-last.reach // hop)
        self.rows_at_first = last.rows(self.first * hop)
        self.calls: list[list[Call]] = []
        self._together: list[int] = []
        self.roots = {graph.inputs[0]: graph.inputs[0]}
        for step in self.steps:
            self._add(step, makers)
        self.roots |= {name: self.roots[source] for name, (source, _) in self._delayed.items()}
        self._readers: dict[str, list[tuple[str, Sweep]]] = {}
        for _, step, calls in self.made:
            for read in self._reads(step).values() if calls else ():
                self._readers.setdefault(read.band, []).append((step.op.outputs[0], read.sweep))
        self.buffers, self.plan = self._planned()
        self.places = dict(zip(self.buffers, self.plan.offsets, strict=True))
        self.turns = [[*self._runs(turn)] for turn in range(self._turns)]

    @property
    def made(self) -> Iterator[tuple[int, Step, list[Call]]]:
        """Operators with their numbers and calls."""
        for number, pair in enumerate(zip(self.steps, self.calls, strict=True)):
            yield number, *pair

    @property
    def stride(self) -> int:
        """Frames from scores to scores."""
        return self._when[self.graph.outputs[0]].stride

    @property
    def input_row(self) -> int:
        """Bytes of a frame."""
        return self._row(self.graph.inputs[0])

    @property
    def output_row(self) -> int:
        """Bytes of scores."""
        return self._row(self.graph.outputs[0])

    @property
    def place_bytes(self) -> int:
        """Bytes of a place in the generated tables, which number places outside too."""
        return 2 if self.plan.size + self.outside < 2**16 else 4

    @property
    def outside(self) -> int:
        """Number of places outside of the arena: rows of frames and scores, constant operands."""
        return len(
            {
                place
                for turn in self.turns
                for run in turn
                for place in (*run.reads, run.written)
                if place[0] not in self.places
            }
        )

    def scores(self, turn: int) -> int:
        """Return the rows of the output that a turn computes."""
        return self._new(self.graph.outputs[0], turn)

    @property
    def state_bytes(self) -> int:
        """Bytes of the arena that a call leaves to the next, each band aligned."""
        last = len(self.steps)
        return sum(aligned(each.size) for each in self.buffers.values() if each.last == last)

    def _add(self, step: Step, makers: Makers) -> None:
        """Add the calls of an operator for the largest number of rows that divides all turns'."""
        out = step.op.outputs[0]
        rows = math.gcd(*(self._new(out, turn) for turn in range(self._turns)))
        small = of_rows(self.graph, step.op, rows)
        if step.source not in small.tensors:  # a border was folded in
            sweep = sweep_of(self.graph, step.op)
            read = (rows - 1) * sweep.stride + sweep.extent
            framed = with_rows(self.graph.tensors[step.source], read)
            small = replace(small, tensors={**small.tensors, step.source: framed})
        calls = calls_of(small, step, makers)
        if any(call.maps > 1 or call.state for call in calls):
            raise ConfigError(
                f"the engine must stream maps of one recording, unlike {step.op.name!r} "
                f"({step.op.kind}); take whole windows"
            )
        source = self._delayed.get(step.source, (step.source, 0))[0]
        self.calls.append(calls)
        self._together.append(rows)
        self.roots[out] = out if calls else self.roots[source]

    def _reads(self, step: Step) -> dict[str, Read]:
        """Return the reads of an operator by operand, without constants."""
        sweep = sweep_of(self.graph, step.op)
        delayed = {name: self._delayed.get(name, (name, 0)) for name in step.operands}
        return {
            name: Read(self.roots[source], replace(sweep, skipped=skipped))
            for name, (source, skipped) in delayed.items()
            if source in self.roots
        }

    def _end(self, name: str, turn: int) -> int:
        """Return the number of rows written before a turn."""
        return self._when[name].rows(self._base + turn * self.hop)

    def _new(self, name: str, turn: int) -> int:
        return self._end(name, turn + 1) - self._end(name, turn)

    def _begin(self, band: str, turn: int) -> int:
        """Return the number of the first row kept before a turn."""
        wanted = [
            self._end(reader, turn) * sweep.stride + sweep.skipped
            for reader, sweep in self._readers.get(band, ())
        ]
        return min([self._end(band, turn), *wanted])

    def _kept(self, band: str, turn: int) -> int:
        return self._end(band, turn) - self._begin(band, turn)

    def _row(self, name: str) -> int:
        """Return the bytes of a row."""
        shape = self.graph.tensors[name].shape
        return math.prod(shape[2:] if len(shape) == 4 else shape[1:])

    @property
    def _outside(self) -> set[str]:
        """Bands outside of the arena: the output, and frames that no later call reads."""
        (source,), (output,) = self.graph.inputs, self.graph.outputs
        kept = any(self._kept(source, turn) for turn in range(self._turns))
        return {self.roots[output]} | (set() if kept else {source})

    def _planned(self) -> tuple[dict[str, Buffer], Plan]:
        end, turns = len(self.steps), range(self._turns)
        outside = self._outside
        buffers = {PROGRESS: Buffer(_PROGRESS_BYTES, -1, end)}
        if self._work:
            buffers[WORK] = Buffer(self._work, -1, -1)
        written, last = {self.graph.inputs[0]: -1}, dict[str, int]()
        for number, step, calls in self.made:
            if calls:
                written[step.op.outputs[0]] = number
                last |= {read.band: number for read in self._reads(step).values()}
        for band, number in written.items():
            if band in outside:
                continue
            most = max(self._kept(band, turn) + self._new(band, turn) for turn in turns)
            stays = any(self._kept(band, turn) for turn in turns)
            begin, until = (-1, end) if stays else (number, last.get(band, number))
            buffers[band] = Buffer(self._row(band) * most, begin, until)
        for number, calls in enumerate(self.calls):
            scratch = max((call.scratch for call in calls), default=0)
            if scratch:
                buffers[scratch_of(number)] = Buffer(scratch, number, number)
        return buffers, plan([*buffers.values()], self._overlaps(buffers))

    def _overlaps(self, buffers: Mapping[str, Buffer]) -> dict[tuple[int, int], Overlap]:
        """Return overlaps of outputs with operands, where one call computes a turn's rows."""
        order = {name: place for place, name in enumerate(buffers)}
        found: dict[tuple[int, int], Overlap] = {}
        for number, step, calls in self.made:
            out, rows = step.op.outputs[0], self._together[number]
            most = max(self._new(out, turn) for turn in range(self._turns))
            if len(calls) != 1 or most != rows or out not in buffers:
                continue
            sources = [self.roots.get(name) for name in step.operands]
            for operand, overlap in calls[0].overlaps.items():
                band = sources[operand]
                if band is None or band not in buffers or sources.count(band) > 1:
                    continue
                if buffers[band].last == number and buffers[out].last < len(self.steps):
                    found[order[band], order[out]] = overlap
        return found

    def _runs(self, turn: int) -> Iterator[Run]:
        (source,) = self.graph.inputs
        shifts = 0
        if source not in self._outside:
            size, place = self._row(source), self._kept(source, turn) * self._row(source)
            yield Run("shift", 0, 0, ((FRAMES, 0),), (source, place), bytes=size * self.hop)
            shifts += 1
        for number, step, calls in self.made:
            if calls:
                yield from self._of_step(turn, number, step, calls)
        for band, buffer in self.buffers.items():
            if buffer.last != len(self.steps) or band == PROGRESS:
                continue
            dropped = self._begin(band, turn + 1) - self._begin(band, turn)
            kept, size = self._kept(band, turn + 1), self._row(band)
            if dropped and kept:
                read = ((band, dropped * size),)
                yield Run("shift", shifts, 0, read, (band, 0), bytes=kept * size)
            shifts += 1

    def _of_step(self, turn: int, number: int, step: Step, calls: Sequence[Call]) -> Iterator[Run]:
        out, rows = step.op.outputs[0], self._together[number]
        bands = self._reads(step)
        for first in range(self._end(out, turn), self._end(out, turn + 1), rows):
            for part, call in enumerate(calls):
                reads = []
                for operand in call.operands:
                    name = step.operands[operand]
                    if name not in bands:
                        reads.append((name, 0))  # a constant
                        continue
                    read = bands[name]
                    row = first * read.sweep.stride + read.sweep.skipped
                    at = row - self._begin(read.band, turn)
                    reads.append((read.band, at * self._row(read.band)))
                written = out, (first - self._begin(out, turn)) * self._row(out)
                elements = rows * self._row(out)
                yield Run(call.function, number, part, (*reads,), written, call, elements)


def _latest(graph: Graph) -> dict[str, Timing]:
    """Return the times at which rows are computed: as early as possible, but together with addends.

    Where channels grow, inputs of rows that wait take less memory than the rows.
    """
    found, waits = timings(graph), dict.fromkeys(graph.outputs, 0)
    for op in reversed(graph.ops):
        out, skipped = op.outputs[0], sweep_of(graph, op).skipped
        for name in op.operands:
            if name not in found:
                continue
            slack = 0
            if len(op.operands) > 1 or is_delay(graph, op):
                at = found[name]
                slack = found[out].reach - at.reach - skipped * at.stride
            waits[name] = min(waits.get(name, slack + waits[out]), slack + waits[out])
    waits[graph.inputs[0]] = 0
    return {
        name: replace(each, reach=each.reach + waits.get(name, 0)) for name, each in found.items()
    }
