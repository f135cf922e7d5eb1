"""Write an int8 network as C99: one header, one source file."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from micronas.engine import c_text
from micronas.engine.hops import Hops
from micronas.engine.kernels import Makers, maker_of
from micronas.engine.layout import Layout, best_layout
from micronas.engine.rows import Stream
from micronas.engine.steps import Call, Step
from micronas.engine.tables import Tables, constant_name
from micronas.graph.check import check_int8
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import scale, zero_point
from micronas.resources import filled


@dataclass(frozen=True)
class Files:
    """Text of the generated files, and their memory."""

    name: str
    """Name of both files, without suffix."""
    header: str
    source: str
    arena: int
    """Bytes of activations and work memory."""
    bound: int
    """Lower bound of these bytes for any placement."""
    inputs: tuple[str, ...]
    """Their names in C constants, such as ``INPUT`` in ``MODEL_INPUT_BYTES``."""
    outputs: tuple[str, ...]
    state: int
    """Bytes of recurrent states."""
    references: tuple[str, ...]
    """Operators computed by a plain loop, as no better kernel exists."""


def generate(
    graph: Graph, name: str = "model", *, most: int | None = None, makers: Makers = maker_of
) -> Files:
    """Return a network in C.

    Parameters
    ----------
    graph
        Complete int8 graph.
    name
        Prefix of the names of functions and constants; letters and digits are kept.
    most
        Bytes of arena beyond which the first operators run row by row, which takes more
        instructions; 0 for the least memory, never when left out.
    makers
        Makers of the operators' calls: the engine's own, or those of `cmsis_nn.makers`.

    Raises
    ------
    ModelError
        If the graph cannot be executed in integers.
    ExportError
        If a number exceeds the kernels' integers.
    """
    check_int8(graph)
    return _Writer(c_text.identifier(name), best_layout(graph, most, makers)).files()


class _Writer:
    def __init__(self, name: str, layout: Layout) -> None:
        self._layout, self._graph, self._name = layout, layout.graph, name
        self._names: dict[str, str] = {}
        """Parameters by tensor."""
        for role, names in (("in", layout.graph.inputs), ("out", layout.graph.outputs)):
            for name, word in c_text.unique(names).items():
                self._names[name] = f"{role}_{word}" if len(names) > 1 else role

    def files(self) -> Files:
        states = self._layout.states
        references = references_of(self._layout)
        header, source = self._header(states), self._source(states, references)
        return Files(
            self._name,
            header,
            source,
            self._layout.plan.size,
            self._layout.plan.bound,
            tuple(self._constant("INPUT", name) for name in self._graph.inputs),
            tuple(self._constant("OUTPUT", name) for name in self._graph.outputs),
            self._layout.state_bytes,
            references,
        )

    def _header(self, states: list[tuple[str, str, int]]) -> str:
        upper, graph, placed = self._name.upper(), self._graph, self._layout.plan
        tensors, state = "", ""
        for role, names in (("INPUT", graph.inputs), ("OUTPUT", graph.outputs)):
            for name in names:
                tensor, begin = graph.tensors[name], f"#define {upper}_{self._constant(role, name)}"
                tensors += (
                    f"\n/* {c_text.comment(name)}, int8 {list(tensor.shape)}:\n"
                    " * value = scale * (code - zero point) */\n"
                    f"{begin}_BYTES {tensor.elements}\n"
                    f"{begin}_SCALE {float(scale(tensor))!r}f\n"
                    f"{begin}_ZERO_POINT ({zero_point(tensor)})\n"
                    f"{begin}_OFFSET {self._layout.place_of(name)}\n"
                )
        if states:
            units = [units for _, _, units in states]
            members = [f"int16_t cell_{number}[{each}]" for number, each in enumerate(units)]
            members += [f"int8_t hidden_{number}[{each}]" for number, each in enumerate(units)]
            state = (
                "/* Kept from run to run: reset it, which must not be null, before the first. */\n"
                "typedef struct {\n"
                + "".join(f"  {member};\n" for member in members)
                + f"}} {self._name}_state;\nvoid {self._name}_reset({self._name}_state* state);\n"
            )
        values = {
            "UPPER": upper,
            "ABOVE": placed.size - placed.bound,
            "BOUND": placed.bound,
            "ARENA": placed.size,
            "TENSORS": tensors,
            "STATE": state,
            "SIGNATURE": self._signature(bool(states)),
        }
        return filled("engine/network.h.in", values)

    def _constant(self, role: str, name: str) -> str:
        return role + self._names[name].upper().removeprefix(role[: -len("PUT")])

    def _signature(self, with_state: bool) -> str:
        inputs = [f"const int8_t* {self._names[name]}" for name in self._graph.inputs]
        outputs = [f"int8_t* {self._names[name]}" for name in self._graph.outputs]
        state = [f"{self._name}_state* state"] if with_state else []
        return f"int {self._name}_invoke({', '.join([*inputs, *outputs, 'void* arena', *state])})"

    def _source(self, states: list[tuple[str, str, int]], references: tuple[str, ...]) -> str:
        layout, tables = self._layout, Tables(self._layout, self._names)
        calls = [call for calls in layout.calls for call in calls]
        parts = [
            preamble(self._name, calls, references, layout.place_bytes, len(tables.outside)),
            *kernel_files(calls, ["bands"] if layout.stream else []),
            *self._constants(states),
            tables.text,
        ]
        if self._layout.stream:
            parts += [self._op(self._layout.stream), filled("engine/stream.c")]
        if states:
            resets = [
                line
                for number, (_, hidden, units) in enumerate(states)
                for line in (
                    f"  memset(state->cell_{number}, 0, sizeof(state->cell_{number}));",
                    f"  memset(state->hidden_{number}, "
                    f"{zero_point(self._graph.tensors[hidden])}, {units});",
                )
            ]
            parts.append(
                "\n".join([f"void {self._name}_reset({self._name}_state* state) {{", *resets, "}"])
            )
        return "\n\n".join([*parts, *self._invoke(tables, bool(states))])

    def _constants(self, states: list[tuple[str, str, int]]) -> Iterator[str]:
        places = {
            tensor: f"(int32_t)offsetof({self._name}_state, {member}_{number})"
            for number, (cell, hidden, _) in enumerate(states)
            for tensor, member in ((cell, "cell"), (hidden, "hidden"))
        }
        tables: dict[str, str] = {}
        for number, step, calls in self._layout.made:
            yield from constants(
                self._graph, number, step, calls, self._layout.roots, tables, places
            )

    def _op(self, stream: Stream) -> str:
        """Return the C type of any operator that runs row by row."""
        kinds = dict.fromkeys(stage.call.structure for stage in stream.stages)
        members = ["Window window;", "int32_t count;"]
        members += [f"{kind} as_{kind.lower()};" for kind in kinds]
        return "\n".join(["typedef union {", *(f"  {each}" for each in members), "} Op;"])

    def _invoke(self, tables: Tables, with_state: bool) -> Iterator[str]:
        graph = self._graph
        pointers = [self._names[name] for name in (*graph.inputs, *graph.outputs)]
        pointers += ["arena"] + (["state"] if with_state else [])
        lines = [
            f"{self._signature(with_state)} {{",
            f"  int8_t* const outside[] = {{{', '.join(tables.outside)}}};",
            f"  if ({' || '.join(f'!{each}' for each in pointers)}) return 1;",
            "  if ((uintptr_t)arena % 4) return 1;",
        ]
        if self._layout.stream:
            lines.append("  stream(arena, outside);")
        if tables.has_calls:
            lines.append("  run(kCalls, sizeof(kCalls) / sizeof(kCalls[0]), arena, outside);")
        yield "\n".join([*lines, "  return 0;", "}", ""])


def references_of(layout: "Layout | Hops") -> tuple[str, ...]:
    """Return the operators computed by plain loops, as no better kernel exists."""
    return tuple(
        f"{step.op.kind} {c_text.comment(step.op.name)}"
        for step, calls in zip(layout.steps, layout.calls, strict=True)
        if any(call.is_reference for call in calls)
    )


def preamble(
    name: str, calls: Sequence[Call], references: Sequence[str], place_bytes: int, outside: int
) -> str:
    """Return the text before the kernels: places of so many bytes, some outside of the arena."""
    used = {each for call in calls for each in call.uses}
    values = {
        "NAME": name,
        "REFERENCES": "".join(f"\n *   {each}" for each in references) or " none",
        "PLACE": f"uint{8 * place_bytes}_t",
        "OUTSIDE": outside,
        "PLAIN4": int("tile_plain4" in used),
        "PLAIN": int("tile_plain" in used),
    }
    return filled("engine/preamble.c.in", values)


def constants(
    graph: Graph,
    number: int,
    step: Step,
    calls: Sequence[Call],
    roots: Mapping[str, str],
    tables: dict[str, str],
    places: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[str]:
    """Yield the constant operands and structures of an operator; `places` are those of states."""
    given = {step.operands[each] for call in calls for each in call.operands}
    for name in dict.fromkeys(step.operands):
        if name in given and name not in roots:
            data = graph.tensors[name].data
            assert data is not None
            codes = data.astype("int8").ravel()
            yield c_text.array(constant_name(number, step, name), codes)
    for part, call in enumerate(calls):
        fields, op = dict(call.fields), f"op{number}_{part}"
        if call.state:
            hidden, cell = step.op.inputs[-2:]
            fields |= {"hidden": places[hidden], "cell": places[cell]}
        yield from c_text.structure(op, call.structure, fields, tables)
        if call.maps > 1:
            fields = {
                "kernel": call.function,
                "op": f"&{op}",
                "maps": call.maps,
                "read": graph.tensors[step.source].elements // call.maps,
                "written": graph.output_of(step.op).elements // call.maps,
            }
            yield from c_text.structure(f"{op}_maps", "Repeat", fields, tables)


def kernel_files(calls: Sequence[Call], more: Sequence[str] = ()) -> Iterator[str]:
    """Yield the kernel files that calls use, and `more`, each after those it needs."""
    generated: dict[str, str] = {}
    wanted = ["calls"]
    for call in calls:
        generated |= call.generated
        wanted += [*call.uses, *call.generated, *(["repeat"] if call.maps > 1 else [])]
    yield from _with_needs([*wanted, *more], generated)


def _with_needs(wanted: Iterable[str], generated: Mapping[str, str]) -> Iterator[str]:
    """Yield kernel files once each, after those named in their first line."""
    seen: set[str] = set()

    def visit(name: str) -> Iterator[str]:
        if name in seen:
            return
        seen.add(name)
        text = generated.get(name) or filled(f"engine/{name}.c")
        needs = re.match(r"/\* needs ([\w ]+) \*/\n", text)
        for each in needs[1].split() if needs else ():
            yield from visit(each)
        yield text[needs.end() :].rstrip() if needs else text.rstrip()

    for name in wanted:
        yield from visit(name)
