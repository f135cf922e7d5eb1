"""Tables of what runs, as C text: calls of kernels, and the bands and stages that go row by row."""

from collections.abc import Iterator, Mapping

from micronas.engine import c_text
from micronas.engine.layout import Layout, scratch_of
from micronas.engine.rows import Stream
from micronas.engine.steps import Step


class Tables:
    """The tables of a layout.

    Parameters
    ----------
    names
        Of inputs and outputs as parameters in C.

    Attributes
    ----------
    outside
        Pointers to what lies outside of the arena, to which places refer by their numbers.
    text
        The tables in C.
    """

    def __init__(self, layout: Layout, names: Mapping[str, str]) -> None:
        self._layout, self._names = layout, names
        graph = layout.graph
        self.outside = [f"(int8_t*){names[each]}" for each in (*graph.inputs, *graph.outputs)]
        self.text = ""
        if layout.stream:
            self.text += _table("Band", "kBands", self._bands(layout.stream))
            self.text += _table("Stage", "kStages", self._stages(layout.stream))
        calls = [*self._calls()]
        self.has_calls = bool(calls)
        if calls:
            self.text += _table("Call", "kCalls", calls)

    def _calls(self) -> Iterator[str]:
        for number, step, calls in self._layout.made:
            if number < self._layout.streamed:
                continue
            for part, call in enumerate(calls):
                op = f"op{number}_{part}"
                function = "repeat" if call.maps > 1 else call.function
                op = f"{op}_maps" if call.maps > 1 else op
                reads = [self._operand(number, step, operand) for operand in call.operands]
                more = "0"
                if len(reads) > 1:
                    more = reads[1]
                elif call.state:
                    more = self._outside("(int8_t*)state")
                elif call.scratch:
                    more = self._inside(scratch_of(number))
                out = self._place(step.op.outputs[0])
                said = c_text.comment(step.op.name)
                yield f"{{{function}, &{op}, {reads[0]}, {out}, {more}}}, /* {said} */"

    def _operand(self, number: int, step: Step, operand: int) -> str:
        name = step.operands[operand]
        if name in self._layout.roots:
            return self._place(name)
        return self._outside(f"(int8_t*){constant_name(number, step, name)}")

    def _place(self, name: str) -> str:
        root, further = self._layout.roots[name], self._layout.sliced.get(name, 0)
        for end in (*self._layout.graph.inputs, *self._layout.graph.outputs):
            if self._layout.roots[end] == root:
                more = f" + {further}" if further else ""
                return self._outside(f"(int8_t*){self._names[end]}{more}")
        return self._inside(root, further)

    def _inside(self, buffer: str, further: int = 0) -> str:
        return f"OUTSIDE + {self._layout.places[buffer] + further}"

    def _outside(self, pointer: str) -> str:
        if pointer not in self.outside:
            self.outside.append(pointer)
        return str(self.outside.index(pointer))

    def _bands(self, stream: Stream) -> Iterator[str]:
        """What is read, what is written last, and work memory, of which all rows are there."""
        graph = self._layout.graph
        for name in stream.bands:
            height = graph.tensors[name].shape[1]
            row = graph.tensors[name].elements // height
            is_input = name in graph.inputs
            rows = f"{height}, {height}" if is_input else f"0, {stream.kept[name]}"
            yield f"{{{self._place(name)}, {row}, {rows}}},"
        work = scratch_of(self._layout.streamed - 1)
        yield f"{{{self._inside(work) if stream.scratch else '0'}, 0, INT16_MAX, 0}},"

    def _stages(self, stream: Stream) -> Iterator[str]:
        bands = {name: place for place, name in enumerate(stream.bands)}
        for number, stage in enumerate(stream.stages):
            op, rows = f"op{number}_0", stage.rows
            read, more = (*(bands[name] for name in stage.reads), len(bands))[:2]
            numbers = [int(rows.is_window), read, more, bands[stage.step.op.outputs[0]]]
            numbers += [stage.in_height, stage.height, rows.stride, rows.top, rows.reach]
            listed = ", ".join(map(str, numbers))
            yield f"{{{stage.call.function}, &{op}, sizeof({op}), {listed}}},"


def constant_name(number: int, step: Step, name: str) -> str:
    """Return the name in C of a constant operand of an operator."""
    return f"operand{number}_{step.operands.index(name)}"


def _table(kind: str, name: str, rows: Iterator[str] | list[str]) -> str:
    lines = [f"    {row}" for row in rows]
    return "\n".join([f"static const {kind} {name}[] = {{", *lines, "};", "", ""])
