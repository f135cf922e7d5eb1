"""Measure the engine's kernels alone on an emulated Cortex-M4, and fit what they take.

    python -m benchmarks.engine_kernels [--write]

Networks of one operator, and some of several, are compiled by gcc at -O2; how often each
instruction runs is counted, and goes to the function it stands in. Lines of
results/engine_kernels.jsonl are kept: what is there is not measured again. ``--write`` writes
latency_models/kernels/micronas.yaml.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import yaml

from micronas import resources
from micronas.engine.layout import Layout
from micronas.engine.steps import Call
from micronas.engine.work import TAPS, Terms, text_of, work_of
from micronas.files import write_atomically
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from micronas.graph.operators import OPERATORS
from micronas.hardware.latency import fit
from micronas.hardware.targets.micronas import INVOKE, Engine, Function
from testing.engine import build, on_core, typical
from testing.graphs import quantize_randomly, random_int8_graph, random_op_graph
from testing.m4_cycles import costs_by_function

RESULTS = Path(__file__).with_name("results") / "engine_kernels.jsonl"
_SEEDS = {
    **{
        "CONV_2D": 24,
        "DEPTHWISE_CONV_2D": 24,
        "FULLY_CONNECTED": 14,
        "ADD": 8,
        "TRANSPOSE_CONV": 12,
    },
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "CONCATENATION", "BATCH_MATMUL"), 10),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D"), 0),
}
_OTHERS = 8
_WINDOWS = [
    (1, 1, 1),
    *((side, side, step) for side in (3, 5) for step in (1, 2)),
    *((1, side, step) for side in (3, 5, 7, 9) for step in (1, 2)),
    (7, 7, 1),
]


_ELSEWHERE = {
    "DEPTHWISE_CONV_2D": (2, 17),
    "TRANSPOSE_CONV": (1, 3),
    "vanishing depthwise": (2, 17, 22),
}
"""Seeds that draw a kernel which other networks measure."""
_OWN = ("repeat", "parts", "several", "reference_depthwise")
"""Kernels whose networks say nothing of the functions that these share with others."""


def _drawn(kind: str, count: int) -> list[int]:
    return [seed for seed in range(count) if seed not in _ELSEWHERE.get(kind, ())]


def networks() -> Iterator[tuple[str, Callable[[], Graph]]]:
    """Yield names and what makes each."""
    for kind in OPERATORS:
        for seed in _drawn(kind, _SEEDS.get(kind, _OTHERS)):
            yield f"{kind} {seed}", lambda kind=kind, seed=seed: random_op_graph(kind, seed)
    for window in _WINDOWS:
        for bits in (8, 4):
            name = f"depthwise {'x'.join(map(str, window))} {bits}"
            yield name, lambda window=window, bits=bits: _plane(window, bits)
    for seed in _drawn("vanishing depthwise", _SEEDS["DEPTHWISE_CONV_2D"]):
        make = partial(random_op_graph, "DEPTHWISE_CONV_2D", seed)
        yield f"vanishing depthwise {seed}", lambda make=make: _vanishing(make())
    for seed in range(1000, 1000 + _SEVERAL):
        family = ("mobilenet", "ds_cnn")[seed % 2]
        yield f"several {seed}", lambda s=seed, f=family: random_int8_graph(s, family=f)
    for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
        for place, windows in enumerate(_POOLS):
            yield f"{kind} pools {place}", lambda kind=kind, w=windows: _pools(kind, *w)
        for shape in _MAPS:
            yield f"{kind} whole {shape}", lambda kind=kind, shape=shape: _whole(kind, shape)
    for seed, (depth, width, pixels) in enumerate(_DENSE):
        for bits in (8, 4):
            name = f"pointwise {depth} {width} {pixels} {bits}"
            make = partial(_points, seed, depth, width, pixels, bits)
            yield name, make
            yield f"vanishing {name}", lambda make=make: _vanishing(make())
    for seed, (channels, depth, groups, kernel) in enumerate(_GROUPED):
        yield (
            f"grouped {seed}",
            lambda s=seed, c=channels, d=depth, g=groups, k=kernel: _groups(s, c, d, g, k),
        )
    for maps in (2, 3, 5):
        yield f"grouped maps {maps}", lambda maps=maps: _repeated(_groups(1, 4, 4, 2, (2, 2)), maps)


_GROUPED = [
    *((6, 4, 2, (3, 3)), (6, 12, 6, (1, 1)), (16, 8, 4, (1, 3)), (6, 12, 3, (3, 1))),
    *((4, 6, 2, (5, 2)), (20, 10, 5, (1, 1)), (9, 9, 3, (2, 4)), (2, 16, 2, (3, 3))),
    *((6, 6, 2, (1, 1)), (12, 24, 3, (1, 1)), (4, 8, 4, (3, 1)), (8, 4, 2, (5, 5))),
    *((2, 8, 2, (4, 3)), (6, 3, 3, (2, 2)), (15, 10, 5, (1, 4)), (3, 9, 3, (3, 3))),
]


_DENSE = [(4, 2, 3), (6, 3, 5), (16, 8, 9), (17, 12, 7), (32, 5, 12), (64, 64, 2), (24, 1, 3)]


_SEVERAL = 12
_MAPS = [(2, 2, 8), (5, 1, 12), (4, 7, 5), (9, 3, 16), (25, 5, 6), (12, 12, 3), (1, 13, 20)]


_POOLS = [
    ((2, 2), (3, 3)),
    ((3, 3), (2, 2)),
    ((2, 1), (4, 1)),
    ((5, 5), (3, 2)),
    ((1, 4), (7, 3)),
    ((4, 4), (2, 3)),
    ((6, 2), (3, 5)),
]


def _pools(kind: Any, first: tuple[int, int], second: tuple[int, int]) -> Graph:
    """Two pools, so that the compiler makes one kernel for any window."""
    height, width = first
    builder = Builder((14 + height, 12 + width, 2 + height))
    value = builder.pool(builder.input, "x", kind, first, stride=(1, 2))
    value = builder.pool(value, "y", kind, second, stride=(2, 1), padding="VALID")
    return quantize_randomly(builder.finish(value), 1)


def _whole(kind: Any, shape: tuple[int, int, int]) -> Graph:
    builder = Builder(shape)
    window = shape[:2]
    value = builder.pool(builder.input, "y", kind, window, stride=window, padding="VALID")
    return quantize_randomly(builder.finish(value), 1)


def _plane(window: tuple[int, int, int], bits: int) -> Graph:
    height, width, step = window
    builder = Builder((7, 9 * step, 3))
    value = builder.depthwise(builder.input, "y", (height, width), stride=(1, step))
    return quantize_randomly(builder.finish(value), 1, filters="int4" if bits == 4 else "int8")


def _groups(seed: int, channels: int, depth: int, groups: int, kernel: tuple[int, int]) -> Graph:
    builder = Builder((5 + seed % 3, 4 + seed, depth))
    stride = (1 + seed % 2, 1)
    value = builder.conv(builder.input, "y", channels, kernel, stride=stride, groups=groups)
    return quantize_randomly(builder.finish(value), seed)


def _repeated(graph: Graph, maps: int) -> Graph:
    """Return the network of as many maps at once."""
    tensors = {
        name: each if each.constant else replace(each, shape=(maps, *each.shape[1:]))
        for name, each in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def _points(seed: int, depth: int, width: int, pixels: int, bits: int) -> Graph:
    builder = Builder((1, pixels, depth))
    value = builder.conv(builder.input, "y", width, activation="RELU" if seed % 2 else "NONE")
    return quantize_randomly(builder.finish(value), seed, filters="int4" if bits == 4 else "int8")


def _vanishing(graph: Graph) -> Graph:
    """Give the output a scale at which TFLM's shift has no fast form, as of dead channels."""
    output = graph.tensors[graph.outputs[0]]
    assert output.quantization is not None
    coarse = replace(output.quantization, scale=output.quantization.scale * np.float32(2**20))
    tensors = {**graph.tensors, output.name: replace(output, quantization=coarse)}
    return replace(graph, tensors=tensors)


def measured(graph: Graph) -> dict[str, Any]:
    """Return what a network's functions do and take, and the sizes of its symbols."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = build(graph, folder)
        given = typical(graph)
        on_core(program, given, graph)
        costs = costs_by_function(program, "net_invoke", [folder / "examples"])
        symbols = symbols_of(folder / "net.o")
    layout = Layout(graph, None)
    return {
        "calls": [call.function for calls in layout.calls for call in calls],
        "structures": [call.structure for calls in layout.calls for call in calls],
        "costs": {name: [each.instructions, each.cycles] for name, each in costs.items()},
        "code": symbols["t"],
        "constants": symbols["r"],
    }


def symbols_of(path: Path) -> dict[str, dict[str, int]]:
    """Return the bytes of an object file's functions, ``t``, and constants, ``r``, by name."""
    command = ["arm-none-eabi-nm", "-S", "--defined-only", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, int]] = {"t": {}, "r": {}}
    for size, kind, name in re.findall(r"^\w+ (\w+) (\w) (\S+)$", said, re.M):
        if kind.lower() in found:
            found[kind.lower()][name] = int(size, 16)
    return found


def rows(results: Path = RESULTS) -> dict[str, Mapping[str, Any]]:
    """Return what was measured, by network."""
    if not results.is_file():
        return {}
    lines = map(json.loads, results.read_text(encoding="utf-8").splitlines())
    return {each["network"]: each for each in lines}


def fitted(known: Mapping[str, Mapping[str, Any]]) -> Engine:
    """Return the engine's costs, fitted to what was measured."""
    made = dict(networks())
    works = {name: _works(made[name]()) for name in known}
    seen: dict[str, list[tuple[Terms, float, float]]] = {}
    sizes: dict[str, list[int]] = {}
    structures: dict[str, int] = {}
    invoked: list[tuple[Terms, float, Mapping[str, Any]]] = []
    for name, row in known.items():
        spent: dict[str, list[float]] = {}
        for symbol, cost in row["costs"].items():
            if symbol == "memmove":  # of what is not done in place, as networks are
                continue
            place = _named(symbol, works[name]) or (row["calls"] or [INVOKE])[0]
            total = spent.setdefault(place, [0.0, 0.0])
            total[0], total[1] = total[0] + cost[0], total[1] + cost[1]
        own = {*row["calls"]} & {*_OWN}
        for function, terms in works[name].items():
            if own and function not in _OWN:
                continue
            instructions, branches = spent.get(function, [0.0, 0.0])
            seen.setdefault(function, []).append((terms, instructions, branches))
        code: dict[str, int] = {}
        for symbol, size in row["code"].items():
            plain = _named(symbol, works[name]) or symbol.partition(".")[0]
            code[plain] = code.get(plain, 0) + size
        outside = float(Layout(made[name](), None).outside)
        invoked.append(({"bytes": 1.0, "outside": outside}, code.pop(INVOKE), row))
        for function, size in code.items():
            sizes.setdefault(function, []).append(size)
        for symbol, size in row["constants"].items():
            if re.match(r"k(?!Calls|Bands|Stages)[A-Z\d]", symbol):  # a kernel's own
                sizes.setdefault(symbol.partition(".")[0], []).append(-(-size // 4) * 4)
        placed = [name for name in row["constants"] if re.fullmatch(r"op\d+_\d+", name)]
        places = sorted(placed, key=lambda name: [int(n) for n in re.findall(r"\d+", name)])
        for structure, place in zip(row["structures"], places, strict=True):
            structures[structure] = row["constants"][place]
    functions = {
        name: fitted_to(name, found, sizes.get(name, [])) for name, found in sorted(seen.items())
    }
    # the compiler writes out a loop over one call
    functions[INVOKE] = fitted_to(INVOKE, [e for e in seen[INVOKE] if e[0]["calls"] > 1], [])
    looped = [(terms, size) for terms, size, row in invoked if len(row["calls"]) > 1]
    functions[INVOKE].code.update(_solved(looped))
    texts = [
        ({"bytes": 1.0, **text_of(call)}, float(row["code"][call.fields["taps"]]))
        for name, row in known.items()
        if row["calls"] == ["depthwise"]
        for call in _calls(made[name]())
    ]
    functions[TAPS] = functions[TAPS].model_copy(update={"code": _solved(texts)})
    for name in sorted(sizes.keys() - functions.keys()):
        functions[name] = Function(code={"bytes": float(median(sizes[name]))})
    return Engine(
        source=_SOURCE,
        start_bytes=_START,
        structures=dict(sorted(structures.items())),
        functions=functions,
    )


def _named(symbol: str, works: Mapping[str, Terms]) -> str | None:
    """Return the name under which work is counted that a symbol of the program does."""
    plain = symbol.partition(".")[0]
    name = TAPS if plain.startswith("depthwise_") else _PARTS.get(plain, plain)
    return name if name in works else None


_PARTS = {
    **dict.fromkeys(("net_invoke", "placed"), INVOKE),
    **dict.fromkeys(("plain_three", "plain_one", "dot_8"), "plain"),
    **dict.fromkeys(("plain4_three", "plain4_one", "dot_4"), "plain4"),
}
"""Functions of the program that are counted under another name."""


def _works(graph: Graph) -> dict[str, Terms]:
    layout = Layout(graph, None)
    found: dict[str, Terms] = {}
    for step, each in zip(layout.steps, layout.calls, strict=True):
        for done in (d for call in each for d in work_of(call, graph.output_of(step.op).elements)):
            terms = found.setdefault(done.function, {})
            for name, amount in done.terms.items():
                terms[name] = terms.get(name, 0.0) + float(amount)
    found[INVOKE] = {"calls": float(len(_calls(graph)))}
    return found


def _calls(graph: Graph) -> list[Call]:
    return [call for each in Layout(graph, None).calls for call in each]


def fitted_to(name: str, found: list[tuple[Terms, float, float]], sizes: list[int]) -> Function:
    """Return the costs of a function, fitted to amounts, instructions and cycles of networks."""
    return Function(
        code={"bytes": float(median(sizes))} if sizes else {},
        instructions=_solved([(terms, spent) for terms, spent, _ in found]),
        cycles=_solved([(terms, spent) for terms, _, spent in found]),
        networks=len(found),
    )


_EXACT = 0.01
"""Worst relative error where amounts say all: any of them may then spare what others take."""
_MORE = 3
"""Networks beyond the amounts, at least, to tell that they do."""


def _solved(found: Sequence[tuple[Terms, float]]) -> Terms:
    """Least squares of relative errors; where amounts do not say all, nothing takes less than 0."""
    used = [(terms, spent) for terms, spent in found if spent > 0]
    names = [name for name in dict.fromkeys(key for terms, _ in used for key in terms)]
    names = [name for name in names if any(terms.get(name) for terms, _ in used)]
    if not names:
        return {}
    matrix = np.array([[terms.get(name, 0.0) / spent for name in names] for terms, spent in used])
    scale = np.linalg.norm(matrix, axis=0)
    values = np.linalg.lstsq(matrix / scale, np.ones(len(used)), rcond=1e-9)[0] / scale
    if len(used) < len(names) + _MORE or np.abs(matrix @ values - 1).max() > _EXACT:
        rows = [{name: terms.get(name, 0.0) for name in names} for terms, _ in used]
        kept = names[-len(used) :]  # the amounts that matter most stand last
        model = fit(rows, [each for _, each in used], terms=kept, leave_one_out=False).model
        values = np.array([model.coefficients.get(name, 0.0) for name in names])
    pairs = zip(names, values.tolist(), strict=True)
    return {name: round(value, 4) for name, value in pairs if round(value, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    known = rows()
    for name, make in networks():
        if name not in known and not arguments.write:
            row = {"network": name, **measured(make())}
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    known = rows()
    found = fitted(known)
    _print(found, {name: _works(make()) for name, make in networks() if name in known}, known)
    if arguments.write:
        text = _HEADER + yaml.safe_dump(found.model_dump(), sort_keys=False, width=98)
        path = resources.folder("latency_models") / "kernels" / "micronas.yaml"
        write_atomically(path, text.encode())


def _print(found: Engine, works: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Print the errors of single networks of one operator, by their call."""
    errors: dict[str, list[float]] = {}
    for name, row in known.items():
        spent = sum(cost[0] for cost in row["costs"].values())
        predicted = sum(
            value * terms.get(key, 0.0)
            for function, terms in works[name].items()
            for key, value in found.functions[function].instructions.items()
        )
        errors.setdefault((row["calls"] or ["none"])[0], []).append(100 * (predicted / spent - 1))
    for name, each in sorted(errors.items()):
        print(f"{name:40} {len(each):4} {fmean(map(abs, each)):6.2f} {max(map(abs, each)):6.2f}")


_SOURCE = "gcc 14.2 -O2, Cortex-M4 emulated by QEMU (mps2-an386): results/engine_kernels.jsonl"
_START = 1000
_HEADER = """\
# Written by benchmarks/engine_kernels.py. What each function of generated C takes on a Cortex-M4
# for each thing it does; micronas/engine/work.py says what the terms are.
"""


if __name__ == "__main__":
    main()
