"""Memory of a running network: calls, buffers, shared memory, and operators run row by row."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

from micronas.engine.kernels import Makers, maker_of
from micronas.engine.kernels.maps import move
from micronas.engine.order import reordered
from micronas.engine.plan import Buffer, Plan, lower_bound, plan
from micronas.engine.rows import Stream, streams
from micronas.engine.steps import Call, Overlap, Step, folded
from micronas.errors import ExportError
from micronas.graph.ir import Graph
from micronas.quantities import aligned

_TRIED = 6
"""Number of streams, those of the least bounds, that are placed."""


class Layout:
    """Calls of a network and places of its buffers.

    Parameters
    ----------
    most
        Bytes of arena beyond which the first operators run row by row; never when None.
    makers
        Makers of the operators' calls.
    slices
        Write operands of concatenations directly into the output where they are contiguous there;
        otherwise all are copied.

    Attributes
    ----------
    steps, calls
        Operators, and the calls of each.
    roots
        Tensor whose memory each activation shares.
    sliced
        Offsets in bytes of activations within that memory, where they are not 0.
    stream
        The first operators, where they run row by row.
    buffers, places
        Buffers of the arena, and their offsets in bytes, by tensor; those of work memory by
        `scratch_of` an operator's place.
    """

    def __init__(
        self, graph: Graph, most: int | None, makers: Makers = maker_of, *, slices: bool = False
    ) -> None:
        self.graph = graph
        self.steps = folded(graph)
        self.calls = [calls_of(graph, step, makers) for step in self.steps]
        self.roots = self._shared()
        self.sliced: dict[str, int] = {}
        if slices:
            self._slice()
        self.stream: Stream | None = None
        buffers, self.plan = self._planned(None)
        if most is not None and self.plan.size > most:
            buffers = self._choose_stream(buffers)
        self.buffers = buffers
        self.places = dict(zip(buffers, self.plan.offsets, strict=True))

    @property
    def streamed(self) -> int:
        """Number of operators that run row by row."""
        return len(self.stream.stages) if self.stream else 0

    @property
    def states(self) -> list[tuple[str, str, int]]:
        """Cell, hidden state and units of each recurrent operator."""
        return [
            (op.inputs[-1], op.inputs[-2], self.graph.output_of(op).shape[2])
            for op in self.graph.ops
            if op.kind == "UNIDIRECTIONAL_SEQUENCE_LSTM"
        ]

    @property
    def state_bytes(self) -> int:
        """Bytes of recurrent states, beside the arena."""
        return aligned(sum(3 * units for _, _, units in self.states))

    @property
    def made(self) -> Iterator[tuple[int, Step, list[Call]]]:
        """Operators with their numbers and calls."""
        for number, pair in enumerate(zip(self.steps, self.calls, strict=True)):
            yield number, *pair

    @property
    def place_bytes(self) -> int:
        """Bytes of a place in the generated tables; fewer places than tensors are outside."""
        return 2 if self.plan.size + len(self.graph.tensors) < 2**16 else 4

    @property
    def outside(self) -> int:
        """Number of places outside of the arena: inputs, outputs, constant operands, the state."""
        constants = {
            (number, step.operands[each])
            for number, step, calls in self.made
            for call in calls
            for each in call.operands
            if step.operands[each] not in self.roots
        }
        ends = len(self.graph.inputs) + len(self.graph.outputs)
        return ends + len(constants) + bool(self.states)

    def place_of(self, name: str) -> int:
        """Return the offset of an activation in the arena, in bytes."""
        return self.places[self.roots[name]] + self.sliced.get(name, 0)

    def _shared(self) -> dict[str, str]:
        """Return the tensor whose memory each activation shares; insert copies where it cannot."""
        graph = self.graph
        roots = {name: name for name in graph.inputs}
        held = {*graph.inputs, *graph.outputs}
        for position, step, calls in self.made:
            out = step.op.outputs[0]
            source = roots.get(step.source)
            is_held = out in graph.outputs and (
                source is None
                or source in graph.inputs
                or any(roots.get(name) == source for name in held if name != out)
            )
            if not calls and (source is None or is_held):
                self.calls[position] = [move([graph.tensors[out].elements], [1], [1])]
            roots[out] = out if self.calls[position] else str(source)
        return roots

    def _slice(self) -> None:
        """Move operands of concatenations into the output, from the last concatenation on."""
        graph, roots = self.graph, self.roots
        held = {roots[name] for name in (*graph.inputs, *graph.outputs)}
        for number, step in reversed([*enumerate(self.steps)]):
            out, calls = step.op.outputs[0], self.calls[number]
            if step.op.kind != "CONCATENATION" or len(calls) != len(step.operands):
                continue
            if math.prod(graph.output_of(step.op).shape[: step.op.axis]) > 1:
                continue
            own = [roots.get(name) for name in step.operands]
            begin, kept = self.sliced.get(out, 0), []
            for name, root, call in zip(step.operands, own, calls, strict=True):
                size = graph.tensors[name].elements
                whole = root is not None and graph.tensors[root].elements == size
                if whole and root not in held and root != roots[out] and own.count(root) == 1:
                    for each in [each for each, there in roots.items() if there == root]:
                        roots[each], self.sliced[each] = roots[out], begin
                else:
                    kept.append(call)
                begin += size
            self.calls[number] = kept

    def _choose_stream(self, buffers: dict[str, Buffer]) -> dict[str, Buffer]:
        """Run as many of the first operators row by row as takes the least memory."""
        found = [
            (stream, self._laid_out(stream))
            for stream in streams(self.graph, self.steps, self.calls)
        ]
        found.sort(key=lambda pair: lower_bound(list(pair[1][0].values()), pair[1][1]))
        for stream, _ in found[:_TRIED]:
            others, placed = self._planned(stream)
            if placed.size < self.plan.size:
                self.stream, self.plan, buffers = stream, placed, others
        return buffers

    def _planned(self, stream: Stream | None) -> tuple[dict[str, Buffer], Plan]:
        buffers, overlaps = self._laid_out(stream)
        return buffers, plan(list(buffers.values()), overlaps)

    def _laid_out(
        self, stream: Stream | None
    ) -> tuple[dict[str, Buffer], dict[tuple[int, int], Overlap]]:
        """Return buffers of activations by root and of scratch memory by place, and overlaps.

        Operators that run row by row run together, in the place of the last.
        """
        graph, roots = self.graph, self.roots
        streamed = len(stream.stages) if stream else 0
        buffers = {name: Buffer(graph.tensors[name].elements, -1, -1) for name in graph.inputs}

        def read(name: str, place: int) -> None:
            buffers[roots[name]] = replace(buffers[roots[name]], last=place)

        for number, step, calls in self.made:
            place = max(number, streamed - 1)
            for name in step.operands:
                if name in roots:
                    read(name, place)
            name = step.op.outputs[0]
            out = roots[name]
            if out not in buffers:
                size = graph.tensors[out].elements
                if stream and number < streamed and name not in self.sliced:
                    size = size // graph.tensors[name].shape[1] * stream.kept[name]
                buffers[out] = Buffer(size, place, place)
            scratch = max((call.scratch for call in calls), default=0)
            if stream and number < streamed:
                scratch = stream.scratch if number == streamed - 1 else 0
            if scratch:
                buffers[scratch_of(place)] = Buffer(scratch, place, place)
        for name in graph.outputs:
            read(name, len(self.steps))
        return buffers, self._overlaps(buffers, streamed)

    def _overlaps(
        self, buffers: Mapping[str, Buffer], streamed: int
    ) -> dict[tuple[int, int], Overlap]:
        order = {name: place for place, name in enumerate(buffers)}
        overlaps: dict[tuple[int, int], Overlap] = {}
        for place, step, calls in self.made:
            if len(calls) != 1 or place < streamed or step.op.outputs[0] in self.sliced:
                continue
            out = self.roots[step.op.outputs[0]]
            operands = [self.roots.get(name) for name in step.operands]
            for operand, overlap in calls[0].overlaps.items():
                root = operands[operand]
                if root is None or buffers[root].last > place:
                    continue
                if step.operands[operand] in self.sliced:
                    continue
                if operands.count(root) > 1 and overlap != Overlap(0):  # read twice
                    continue
                overlaps[order[root], order[out]] = overlap
        return overlaps


def calls_of(graph: Graph, step: Step, makers: Makers = maker_of) -> list[Call]:
    """Return the calls of an operator; none where its output is its input.

    Raises
    ------
    ExportError
        If there is no kernel for it, or a number exceeds the kernel's integers.
    """
    assert step.op.kind != "UNKNOWN"
    make = makers(step.op.kind)
    if make is None:
        raise ExportError(
            f"the engine must have a kernel for each operator, but has none for {step.op.kind} "
            f"({step.op.name!r}); take --format c with TFLM"
        )
    try:
        return make(graph, step)
    except NotImplementedError as error:
        raise ExportError(
            f"the engine's kernels count pixels and channels in 16 bits, but {step.op.name!r} "
            f"({step.op.kind}) has more; take --format c with TFLM"
        ) from error


def best_layout(graph: Graph, most: int | None, makers: Makers = maker_of) -> Layout:
    """Return the layout of least memory, over orders of operators and `Layout`'s slices.

    Among equals, those with slices are preferred.
    """
    orders = [each for each in (graph, reordered(graph)) if each is not None]
    copies = [Layout(each, most, makers) for each in orders]
    if any(op.kind == "CONCATENATION" for op in graph.ops):
        copies = [*(Layout(each, most, makers, slices=True) for each in orders), *copies]
    return min(copies, key=lambda each: each.plan.size)


def scratch_of(place: int) -> str:
    """Return the key of the work memory of the operator at a place; no tensor has this name."""
    return f"/{place}"
