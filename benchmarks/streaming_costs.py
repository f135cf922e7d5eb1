"""Cycles and SRAM of streaming networks a call, predicted and on an emulated Cortex-M4.

    python -m benchmarks.streaming_costs [NETWORKS] [--write]

Networks are random ones of `testing.streaming` and draws of kws_streaming, hops go from 1 to 13
frames; each is compiled by gcc at -O2, and what its calls take in the mean is counted. Lines of
results/streaming_costs.jsonl are kept: what is there is not measured again. ``--write`` writes
latency_models/kernels/micronas_hops.yaml.
"""

import argparse
import random
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import yaml

from benchmarks.engine_kernels import fitted_to, symbols_of
from benchmarks.rows import append, read
from micronas import resources
from micronas.engine.hops import Hops
from micronas.engine.work import Terms, work_of_turn
from micronas.files import write_atomically
from micronas.graph.ir import Graph
from micronas.hardware.targets import MICRONAS
from micronas.hardware.targets.micronas import HOP, Function, Streaming
from micronas.space.open_space import OpenSpace, load_space
from testing.engine import build_hops, hops_on_core, sections
from testing.graphs import quantize_randomly
from testing.m4_cycles import costs_by_function
from testing.streaming import over_the_whole, random_recording, random_streaming

_RESULTS = Path(__file__).with_name("results") / "streaming_costs.jsonl"
_HOPS = 13
_PARTS = {"net_hop": HOP, "placed": HOP, "memmove": HOP, "shift": "shift"}
_SOURCE = "gcc 14.2 -O2, Cortex-M4 emulated by QEMU (mps2-an386): results/streaming_costs.jsonl"
_HEADER = """# Written by benchmarks/streaming_costs.py. What streaming networks of generated
# C take on a Cortex-M4 beside their kernels, see micronas.yaml.
"""


def network(seed: int) -> tuple[Graph, int]:
    """Return a network and the frames of a call: every third is a draw of kws_streaming."""
    if seed % 3:
        return random_streaming(seed), seed % _HOPS + 1
    space, source = load_space("kws_streaming"), random.Random(seed)
    assert isinstance(space, OpenSpace)
    family = source.choice([*space.families])
    member = space.member(family, space.draw(family, source))
    choice = tuple(source.randrange(-(-len(d.options) // 3)) for d in member.decisions)
    return quantize_randomly(member.resolve(choice), seed), (1, 4, 5)[seed // 3 % 3]


def measured(seed: int) -> dict[str, Any]:
    """Return what calls of a network take in the mean, and the bytes of its arena and flash."""
    graph, hop = network(seed)
    hops = Hops(graph, hop)
    turns = len(hops.turns)
    calls = -(-hops.first // turns) * turns + turns  # whole rounds, scores among them
    frames = random_recording(graph, calls * hop, seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        program = build_hops(graph, folder, hop)
        ran = hops_on_core(program, frames)
        assert ran.outputs == over_the_whole(graph, frames).tobytes(), seed
        costs = costs_by_function(program, "net_hop", [folder / "examples"])
        header = (folder / "net.h").read_text(encoding="utf-8")
        flash = sum(sections(folder / "net.o"))
        symbols = symbols_of(folder / "net.o")["t"]
    (arena,) = re.findall(r"ARENA_BYTES (\d+)", header)
    return {
        "seed": seed,
        "hop": hop,
        "costs": {name: [each.instructions, each.cycles] for name, each in costs.items()},
        "arena": int(arena),
        "flash": flash,
        "code": {name: symbols.get(name, 0) for name in (*_PARTS, "net_reset")},
    }


def fitted(rows: list[dict[str, Any]]) -> Streaming:
    """Return what shifts and the function that calls all others take."""
    found: dict[str, list[tuple[Terms, float, float]]] = {HOP: [], "shift": []}
    for row in rows:
        done = _terms(row["seed"])
        for name, terms in done.items():
            spent = [row["costs"].get(part, [0, 0]) for part, of in _PARTS.items() if of == name]
            found[name].append((terms, sum(e[0] for e in spent), sum(e[1] for e in spent)))
    functions: dict[str, Function] = {}
    for name, each in found.items():
        parts = [part for part, of in (*_PARTS.items(), ("net_reset", HOP)) if of == name]
        sizes = [sum(row["code"].get(part, 0) for part in parts) for row in rows]
        functions[name] = fitted_to(name, each, sizes)
    return Streaming(source=_SOURCE, functions=functions)


def _terms(seed: int) -> dict[str, Terms]:
    """Return the amounts of a call in the mean."""
    hops = Hops(*network(seed))
    found: dict[str, Terms] = {HOP: {}, "shift": {}}
    for turn in range(len(hops.turns)):
        for done in (each for _, work in work_of_turn(hops, turn) for each in work):
            if done.function in found:
                terms = found[done.function]
                for name, amount in done.terms.items():
                    terms[name] = terms.get(name, 0.0) + amount / len(hops.turns)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", type=int, nargs="?", default=0)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    known = {row["seed"] for row in read(_RESULTS)}
    for seed in range(arguments.networks):
        if seed not in known:
            append(_RESULTS, measured(seed))
    if arguments.write:
        text = _HEADER + yaml.safe_dump(
            fitted(read(_RESULTS)).model_dump(), sort_keys=False, width=98
        )
        path = resources.folder("latency_models") / "kernels" / "micronas_hops.yaml"
        write_atomically(path, text.encode())
    _print(read(_RESULTS))


def _print(rows: list[dict[str, Any]]) -> None:
    for kind in ("random", "kws_streaming"):
        errors: dict[str, list[float]] = {"instructions": [], "cycles": [], "flash": []}
        differing = 0
        for row in rows:
            if (row["seed"] % 3 == 0) != (kind == "kws_streaming"):
                continue
            graph, hop = network(row["seed"])
            found = MICRONAS.hops(graph, hop)
            spent: Mapping[str, list[int]] = row["costs"]
            pairs = {
                "instructions": (found.mean.instructions, sum(e[0] for e in spent.values())),
                "cycles": (found.mean.cycles, sum(e[1] for e in spent.values())),
                "flash": (found.flash_bytes, row["flash"]),
            }
            differing += found.plan.total != row["arena"]
            for name, (predicted, taken) in pairs.items():
                errors[name].append(100 * (predicted / taken - 1))
        count = len(errors["cycles"])
        print(f"{kind}: {count} networks, arenas that differ: {differing}")
        for name, each in errors.items() if count else ():
            size = np.abs(each)
            print(f"  {name}: {fmean(size):.2f} % in the mean, {size.max():.2f} % at worst")


if __name__ == "__main__":
    main()
