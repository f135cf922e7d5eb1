"""The engine: C without an interpreter (`micronas.engine`), on a Cortex-M with the DSP extension.

Its arena is the generator's own plan. Instructions and cycles are amounts of work
(`engine.work`) times a Cortex-M4's costs in ``latency_models/kernels/micronas.yaml``; cycles of
other cores are modelled as multiples of those, kernel by kernel, in ``micronas_cores.yaml`` there.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from statistics import fmean

from pydantic import Field

from micronas import resources
from micronas.engine.hops import Hops
from micronas.engine.kernels import maker_of
from micronas.engine.layout import Layout, best_layout
from micronas.engine.shapes import described
from micronas.engine.sizes import constant_bytes, functions_of
from micronas.engine.steps import Call, folded
from micronas.engine.work import TAPS, Done, text_of, work_of, work_of_turn
from micronas.errors import ModelError
from micronas.graph.ir import Graph, Op
from micronas.graph.kernels.rule import is_wide
from micronas.graph.memory import ArenaPlan, Buffer
from micronas.graph.operators import OPERATORS
from micronas.hardware.code import Level
from micronas.hardware.features import CYCLES
from micronas.hardware.instructions import Price
from micronas.hardware.targets.target import Choice, Growth, Hopped, Target
from micronas.quantities import aligned
from micronas.settings import Settings, read_settings

_DSP = ("Cortex-M4", "Cortex-M7", "Cortex-M33", "Cortex-M35P")
"""Cores with the counted instructions."""
INVOKE = "invoke"
"""Name for the function that calls all others."""
HOP = "hop"
"""Name for that function of a network that streams."""


class Function(Settings):
    """Costs of one function of generated C on a Cortex-M4, per unit of each term of its work."""

    code: dict[str, float] = Field(default_factory=dict)
    """Bytes of code: a constant ``bytes``, and further terms where the text is generated."""
    instructions: dict[str, float] = Field(default_factory=dict)
    cycles: dict[str, float] = Field(default_factory=dict)
    """Cycles with memory that never waits."""
    networks: int = 0
    """Number of measured networks it was fitted to."""


class Engine(Settings):
    """Costs of generated C described by a YAML file."""

    source: str
    start_bytes: int
    """Flash of start-up and the used part of the C library."""
    structures: dict[str, int]
    functions: dict[str, Function]


class Streaming(Settings):
    """Costs of functions of streaming networks alone, described by a YAML file."""

    source: str
    functions: dict[str, Function]


class Core(Settings):
    """Modelled cycles of a core against those of a Cortex-M4."""

    cycles_per_instruction: float
    """Cycles of CMSIS-NN per instruction that it takes on a Cortex-M4, mean over networks."""
    kernels: dict[str, float]
    """Ratios to a Cortex-M4's cycles by kernel; their mean where a kernel is missing."""

    def times(self, function: str) -> float:
        """Return the ratio of a call's cycles to those on a Cortex-M4."""
        mean = fmean(self.kernels.values())
        return self.kernels.get(function, mean)


class _Cores(Settings):
    cores: dict[str, Core]


@lru_cache
def _cores() -> dict[str, Core]:
    path = resources.folder("latency_models") / "kernels" / "micronas_cores.yaml"
    return read_settings(path, _Cores).cores


@lru_cache
def _engine() -> Engine:
    """Read the measured costs of the engine."""
    folder = resources.folder("latency_models") / "kernels"
    found = read_settings(folder / "micronas.yaml", Engine)
    streaming = read_settings(folder / "micronas_hops.yaml", Streaming).functions
    return found.model_copy(update={"functions": found.functions | streaming})


class _Micronas(Target):
    """Target of generated C with whole maps in memory."""

    name = "micronas"
    title = "C without an interpreter, on a Cortex-M with the DSP extension"
    kinds = tuple(kind for kind in OPERATORS if maker_of(kind))
    reads_file = False
    lends_arena = True
    growth = Growth(
        flash_per_channel=9,  # bias, multiplier, shift; the bias counts as weights
        flash_per_width=0,
        flash_per_layer=60,
        sram_per_channel=0,
        sram_per_layer=0,
    )

    def __init__(self, core: str = "Cortex-M4") -> None:
        self._core = core
        self._last: tuple[Graph, Layout] | None = None

    def chosen(self, core: str) -> Choice:
        alike = _ALIKE.get(core, core)
        too = "" if alike in _cores() else ", cycles too,"
        assumes = None if core in _DSP else f"the engine on a Cortex-M4{too} in place of {core}"
        return Choice(_on(alike), code_assumes=assumes)

    def plan(self, graph: Graph) -> ArenaPlan:
        """Return the plan of the generated code's buffers; its tail holds the states."""
        layout = self._layout(graph)
        placed, states = layout.plan, layout.state_bytes
        return ArenaPlan(placed.size, states, placed.size + states, _buffers(layout))

    def price(self, graph: Graph, op: Op) -> Price | None:
        return self.prices(graph, (op,))[0]

    def prices(self, graph: Graph, ops: Sequence[Op] | None = None) -> list[Price | None]:
        """Return the price of each operator; one folded into the next takes nothing."""
        _check(graph)
        known = described(graph)
        steps = {step.op.name: step for step in folded(known)}
        left = self._left_to_copy(graph)
        found: list[Price | None] = []
        for op in graph.ops if ops is None else ops:
            assert op.kind != "UNKNOWN"
            step = steps.get(op.name)
            make = maker_of(op.kind)
            calls = [] if step is None or make is None else make(known, step)
            calls = left.get(op.name, calls)
            priced = _priced(calls, graph.output_of(op).elements, _cores()[self._core])
            found.append(None if make is None else priced)
        return found

    def code_bytes(self, operators: Collection[str], *, kernels: Level = "-O2") -> int:
        """Return the flash of start-up; kernels are counted with each network."""
        return _engine().start_bytes

    def model_bytes(self, graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> int:
        """Return the flash of constants and kernels."""
        return _flash(self._layout(graph))

    def hops(self, graph: Graph, hop: int) -> Hopped:
        _check(graph)
        found, core = Hops(described(graph), hop), _cores()[self._core]
        turns = []
        for turn in range(len(found.turns)):
            prices = [_cost(name, work, core) for name, work in work_of_turn(found, turn)]
            instructions = sum(each.instructions for each in prices)
            cycles = sum(each.cycles for each in prices)
            turns.append(Price("hop", instructions, False, cycles))
        size, state = found.plan.size, found.state_bytes
        plan = ArenaPlan(size - state, state, size, _buffers(found))
        return Hopped(found.stride, plan, (*turns,), _flash(found) + _tables_bytes(found))

    def timed(self, rate: float | None, clock_hz: int) -> dict[str, float]:
        """Return ms per modelled cycle; the board waits for its memory as often as with TFLM.

        A rate of less than no waiting is that of kernels for Helium or an accelerator.
        """
        usual = _cores()[self._core].cycles_per_instruction
        waits = 1.0 if rate is None else max(1.0, rate * clock_hz / 1e3 / usual)
        return {CYCLES: 1e3 * waits / clock_hz}

    def _left_to_copy(self, graph: Graph) -> Mapping[str, list[Call]]:
        """Return the calls of concatenations, some of whose operands are already in place."""
        if all(op.kind != "CONCATENATION" for op in graph.ops):
            return {}
        made = self._layout(graph).made
        return {step.op.name: calls for _, step, calls in made if step.op.kind == "CONCATENATION"}

    def _layout(self, graph: Graph) -> Layout:
        if self._last is None or self._last[0] is not graph:
            _check(graph)
            self._last = graph, best_layout(described(graph), None)
        return self._last[1]


MICRONAS = _Micronas()
_ALIKE = {"Cortex-M35P": "Cortex-M33", "Cortex-M0": "Cortex-M0+"}


@lru_cache
def _on(core: str) -> _Micronas:
    """Return the target of a core, a Cortex-M4's where it is not modelled."""
    return _Micronas(core) if core in _cores() and core != "Cortex-M4" else MICRONAS


def _check(graph: Graph) -> None:
    unknown = sorted(
        {op.name for op in graph.ops if op.kind == "UNKNOWN"}
        | {f"{op.kind} of int16" for op in graph.ops if is_wide(graph, op)}
    )
    if unknown:
        raise ModelError(
            "the engine must have a kernel for every operator of a network, but has none for "
            f"{', '.join(unknown)}; leave out engine=micronas"
        )


def _priced(calls: Sequence[Call], written: int, core: Core) -> Price:
    invoke = Done(INVOKE, {"calls": len(calls)})
    name = next((call.function for call in calls), "none")
    return _cost(name, [invoke, *(each for call in calls for each in work_of(call, written))], core)


def _buffers(layout: Layout | Hops) -> tuple[Buffer, ...]:
    return tuple(
        Buffer(name, each.size, each.first + 1, each.last + 1, at, name.startswith("/"))
        for (name, each), at in zip(layout.buffers.items(), layout.plan.offsets, strict=True)
    )


def _flash(layout: Layout | Hops) -> int:
    """Return the flash of constants and kernels."""
    costs, calls = _engine(), [call for each in layout.calls for call in each]
    names = functions_of(calls) - {call.function for call in calls}
    names |= {done.function for call in calls for done in work_of(call, 1)} - {TAPS}
    code = sum(
        costs.functions[name].code.get("bytes", 0) for name in names & costs.functions.keys()
    )
    by_channel = [call for call in calls if call.structure in ("Depthwise", "Several")]
    windows = {name: call for call in by_channel for name in call.generated}
    for call in windows.values():
        code += _amount(costs.functions[TAPS].code, {"bytes": 1, **text_of(call)})
    code += _amount(costs.functions[INVOKE].code, {"bytes": 1, "outside": layout.outside})
    return constant_bytes(layout, costs.structures) + round(code)


def _tables_bytes(hops: Hops) -> int:
    """Return the flash of a streaming network beside kernels: shifts and repeated calls."""
    runs = [run for turn in hops.turns for run in turn]
    entry = 8 + aligned(3 * hops.place_bytes)
    repeated = len(runs) - sum(map(len, hops.calls))
    shifts = len({run.bytes for run in runs if run.call is None})
    code = sum(_engine().functions[name].code["bytes"] for name in (HOP, "shift"))
    return repeated * entry + 4 * shifts + 8 * len(hops.turns) + round(code)


def _cost(name: str, work: Sequence[Done], core: Core) -> Price:
    """Return the price of a kernel with the functions it calls."""
    functions = _engine().functions
    instructions = cycles = 0.0
    for done in work:
        found = functions[done.function]
        instructions += _amount(found.instructions, done.terms)
        cycles += _amount(found.cycles, done.terms)
    return Price(name, instructions, False, cycles * core.times(name))


def _amount(coefficients: Mapping[str, float], terms: Mapping[str, float]) -> float:
    return sum(each * terms.get(name, 0.0) for name, each in coefficients.items())
