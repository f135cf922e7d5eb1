"""C tables of calls of kernels, and of the bands and stages that run row by row."""

from collections.abc import Iterator, Mapping

from micronas.engine import c_text
from micronas.engine.hops import FRAMES, Hops, Run
from micronas.engine.layout import Layout, scratch_of
from micronas.engine.rows import Stream
from micronas.engine.steps import Step


class Tables:
    """Tables of a layout, given the names of inputs and outputs as parameters in C.

    Attributes
    ----------
    outside
        Pointers to memory outside of the arena, to which places refer by number.
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
                label = c_text.comment(step.op.name)
                yield f"{{{function}, &{op}, {reads[0]}, {out}, {more}}}, /* {label} */"

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
        """Yield the bands that are read or written, then work memory, with all its rows."""
        graph = self._layout.graph
        for name in stream.bands:
            height = graph.tensors[name].shape[1]
            row = graph.tensors[name].elements // height
            is_input = name in graph.inputs
            rows = f"{height}, {height}" if is_input else f"0, {stream.kept[name]}"
            yield f"{{{{{self._place(name)}}}, {row}, 0, {rows}}},"
        work = scratch_of(self._layout.streamed - 1)
        yield f"{{{{{self._inside(work) if stream.scratch else '0'}}}, 0, 0, INT16_MAX, 0}},"

    def _stages(self, stream: Stream) -> Iterator[str]:
        bands = {name: place for place, name in enumerate(stream.bands)}
        for number, stage in enumerate(stream.stages):
            op, rows = f"op{number}_0", stage.rows
            read, more = (*(bands[name] for name in stage.reads), len(bands))[:2]
            numbers = [int(rows.is_window), read, more, bands[stage.step.op.outputs[0]]]
            numbers += [stage.in_height, stage.height, rows.stride, rows.top, rows.reach]
            listed = ", ".join(map(str, numbers))
            yield f"{{{stage.call.function}, &{op}, sizeof({op}), {listed}}},"


class HopTables:
    """Tables of a network that streams: shifts, and the calls of each turn.

    Attributes
    ----------
    outside, text
        See `Tables`.
    """

    def __init__(self, hops: Hops) -> None:
        self._hops = hops
        self.outside: list[str] = []
        runs = [run for turn in hops.turns for run in turn]
        sizes = sorted({run.bytes for run in runs if run.call is None})
        shifts = [f"static const Shift shift_{size} = {{{size}}};" for size in sizes]
        rows, first, turns = list[str](), 0, list[str]()
        for turn, each in enumerate(hops.turns):
            rows += [self._run(run) for run in each]
            turns.append(f"{{kCalls + {first}, {len(each)}, {hops.scores(turn)}}},")
            first += len(each)
        text = [*shifts, _table("Call", "kCalls", rows)]
        text += ["typedef struct {", "  const Call* calls;", "  int16_t count, scores;", "} Turn;"]
        self.text = "\n".join([*text, _table("Turn", "kTurns", turns)])

    def _run(self, run: Run) -> str:
        op = f"shift_{run.bytes}" if run.call is None else f"op{run.number}_{run.part}"
        places = [self._place(run, *read) for read in run.reads]
        if len(places) < 2:
            work = run.call is not None and run.call.scratch
            scratch = self._hops.places[scratch_of(run.number)] if work else 0
            places.append(f"OUTSIDE + {scratch}" if work else "0")
        written = self._place(run, *run.written)
        return f"{{{run.function}, &{op}, {places[0]}, {written}, {places[1]}}},"

    def _place(self, run: Run, band: str, further: int) -> str:
        hops = self._hops
        more = f" + {further}" if further else ""
        if band in hops.places:
            return f"OUTSIDE + {hops.places[band] + further}"
        if band == hops.roots[hops.graph.outputs[0]]:
            return self._outside(f"out{more}")
        if band in (hops.graph.inputs[0], FRAMES):
            return self._outside(f"(int8_t*)in{more}")
        return self._outside(f"(int8_t*){constant_name(run.number, hops.steps[run.number], band)}")

    def _outside(self, pointer: str) -> str:
        if pointer not in self.outside:
            self.outside.append(pointer)
        return str(self.outside.index(pointer))


def constant_name(number: int, step: Step, name: str) -> str:
    """Return the name in C of a constant operand of an operator."""
    return f"operand{number}_{step.operands.index(name)}"


def _table(kind: str, name: str, rows: Iterator[str] | list[str]) -> str:
    lines = [f"    {row}" for row in rows]
    return "\n".join([f"static const {kind} {name}[] = {{", *lines, "};", "", ""])
