"""Choose the first operators to run row by row, and the rows that each tensor keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from micronas.engine.steps import Call, Rows, Step
from micronas.graph.ir import Graph

_LONGEST = 64
"""Most operators that run row by row."""


@dataclass(frozen=True)
class Stage:
    """One operator that runs row by row; heights in rows."""

    step: Step
    call: Call
    rows: Rows
    reads: tuple[str, ...]
    """Tensors in the order of the kernel's operands."""
    in_height: int
    height: int

    def span(self, row: int) -> tuple[int, int]:
        """Return the first row that an output row reads, and the one after the last."""
        top = row * self.rows.stride - self.rows.top
        first = min(max(top, 0), self.in_height)
        return first, min(top + self.rows.reach, self.in_height)


@dataclass(frozen=True)
class Stream:
    """First operators of a network, run row by row."""

    stages: tuple[Stage, ...]
    kept: Mapping[str, int]
    """Most rows in memory at once of each tensor they write."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Tensors that the stages read, and those they write, of which some only others read."""
        names = [name for stage in self.stages for name in stage.reads]
        return (*dict.fromkeys([*names, *(each.step.op.outputs[0] for each in self.stages)]),)

    @property
    def scratch(self) -> int:
        return max(stage.rows.scratch for stage in self.stages)


def streams(graph: Graph, steps: Sequence[Step], calls: Sequence[list[Call]]) -> list[Stream]:
    """Return the possible streams at the beginning of a network, the shortest first."""
    stages: list[Stage] = []
    found = []
    for step, made in zip(steps[:_LONGEST], calls, strict=False):
        stage = _stage(graph, step, made, {each.step.op.outputs[0] for each in stages})
        if stage is None:
            break
        stages.append(stage)
        if len(stages) > 1:
            found.append(Stream(tuple(stages), _kept(graph, steps, stages)))
    return found


def _stage(graph: Graph, step: Step, calls: list[Call], written: set[str]) -> Stage | None:
    output = graph.output_of(step.op)
    rows = calls[0].rows if len(calls) == 1 else None
    if rows is None or len(output.shape) != 4 or output.shape[0] != 1:
        return None
    reads = tuple(step.operands[place] for place in calls[0].operands)
    sources = [graph.tensors[name] for name in reads]
    if any(name not in written and name not in graph.inputs for name in reads):
        return None
    if any(len(each.shape) != 4 or each.shape[0] != 1 for each in sources):
        return None
    if max(output.shape[1], sources[0].shape[1]) >= 2**15:  # rows are counted in 16 bits
        return None
    one_to_one = rows.stride == rows.reach == 1 and rows.top == 0
    if one_to_one and any(each.shape[:3] != output.shape[:3] for each in sources):
        return None
    return Stage(step, calls[0], rows, reads, sources[0].shape[1], output.shape[1])


def _kept(graph: Graph, steps: Sequence[Step], stages: Sequence[Stage]) -> dict[str, int]:
    """Return the most rows of each tensor at once, by going through them in the device's order.

    A map that a later operator reads is kept whole.
    """
    heights = {stage.step.op.outputs[0]: stage.height for stage in stages}
    later = {name for step in steps[len(stages) :] for name in step.operands} | {*graph.outputs}
    end = {name: graph.tensors[name].shape[1] for stage in stages for name in stage.reads}
    end |= dict.fromkeys(heights, 0)
    kept = {name: height if name in later else 0 for name, height in heights.items()}
    readers = {name: [each for each in stages if name in each.reads] for name in heights}

    def oldest(name: str) -> int:
        """Return the first row that a stage still reads."""
        wanted = [stage.span(end[stage.step.op.outputs[0]])[0] for stage in readers[name]]
        return min([end[name], *wanted])

    while True:
        for stage in reversed(stages):
            out = stage.step.op.outputs[0]
            row = end[out]
            if row < stage.height and all(end[name] >= stage.span(row)[1] for name in stage.reads):
                kept[out] = max(kept[out], row + 1 - oldest(out))
                end[out] += 1
                break
        else:
            return kept
