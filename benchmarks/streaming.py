"""Networks that stream beside the textbook window network at 24 KB, trained alike.

    python -m benchmarks.streaming FEATURES.npz [--seed 0]
    python -m benchmarks.streaming --table
    python -m benchmarks.streaming --speech --table

FEATURES are those of `benchmarks.kws40`. The window network is TC-ResNet8 at the widest that fits
24 KB and 60 ms with TFLM. Networks that stream are draws of kws_streaming for the engine, of each
family the one with the most multiply-accumulates whose load 100 ms apart is at most a fifth of the
window network's there. Accuracy is the int8 network's on speakers that trained nothing. Cycles are
the engine's, by its model, without the front end's; a window is computed anew for each call. A line
for each training goes to results/streaming.jsonl; what is there is not trained again.

``--speech`` prints misses and false alarms in long recordings, as `benchmarks.listening` measured
them for either kind of network, beside what it takes.
"""

import argparse
import random
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from benchmarks.clock import cpu_seconds
from benchmarks.kws40 import QUANTIZE, RECIPE, load
from benchmarks.listening import RESULTS as HEARD
from benchmarks.listening import architecture
from benchmarks.rows import append, read
from micronas.data import DataSet
from micronas.graph.counts import count
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs, measure
from micronas.hardware.listening import Listening
from micronas.hardware.targets import MICRONAS
from micronas.nas.problem import Problem
from micronas.nas.textbook import shipped, textbook_networks
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.space import Space
from micronas.text import percent, table
from micronas.train.finetune import finetune
from micronas.train.loop import fit, generator_for
from micronas.train.network import Network
from testing.scores import accuracy

_RESULTS = Path(__file__).with_name("results") / "streaming.jsonl"
_TFLM = Board.load("stm32f446re")
_BOARD = _TFLM.using(None, engine="micronas")
_SRAM = "24 KB"
_FRAME_MS = 20.0
_HOPS = {20: 1, 100: 5}
"""Frames of a call, by the ms from one to the next."""
_DRAWS = 40
_MEANING = MappingProxyType({"features": "mfcc", "window_ms": 40})


def networks(classes: int) -> Iterator[tuple[str, Space]]:
    """Yield the window network, then one that streams of each family."""
    budget = Budget.model_validate({"sram": _SRAM, "latency": "60 ms", "counts": "network"})
    window, *_ = textbook_networks(
        shipped(["tc_resnet8"]), _TFLM, budget, kind="kws", input_shape=(49, 10, 1), classes=classes
    )
    assert isinstance(window.space, Space)
    yield window.label, window.space
    load = _costs(window.space, _HOPS[100]).load
    assert load is not None
    listening = {"sram": _SRAM, "counts": "network", "hop": "100 ms", "load": f"{20 * load}%"}
    space = load_space("kws_streaming")
    assert isinstance(space, OpenSpace)
    space = space.model_copy(update={"classes": classes})
    problem = Problem(space, _BOARD, Budget.model_validate(listening), meaning=_MEANING)
    drawn = problem.draw(_DRAWS, random.Random(0))
    for family in space.families:
        own = [each for each in drawn if each.family == family]
        largest = max(own, key=lambda each: each.costs.macs)
        assert isinstance(largest.architecture, Space)
        yield family, largest.architecture


def _costs(network: Space, frames: int) -> Costs:
    listening = Listening(frames, _FRAME_MS)
    return measure(network.graph(), _BOARD, kind="kws", listening=listening)


def _trained(name: str, network: Space, data: DataSet, seed: int) -> dict[str, Any]:
    started, seen = cpu_seconds(), data.seen_as(network.input)
    module = Network(network.graph(), generator=generator_for(seed, "initial weights"))
    fit(module, seen.train, RECIPE, seed=seed)
    quantized = finetune(module, seen.train, QUANTIZE, seed=seed)
    return {
        "network": name,
        "seed": seed,
        "description": network.model_dump(mode="json"),
        "int8": accuracy(quantized.graph(), seen.validation)[0],
        "cpu": round(cpu_seconds() - started),
    }


def _cycles(network: Space, ms: int) -> tuple[float, float]:
    """Return the millions of cycles of a second, and those of the longest call."""
    graph = network.graph()
    if network.streaming:
        hopped = MICRONAS.hops(graph, _HOPS[ms])
        mean, most = hopped.mean.cycles, hopped.worst.cycles
    else:
        mean = most = sum(each.cycles for each in MICRONAS.prices(graph) if each)
    return mean / ms / 1e3, most / 1e6


def _row(record: dict[str, Any]) -> list[str]:
    network = Space.model_validate(record["description"])
    graph, cells = network.graph(), []
    for ms in _HOPS:
        second, most = _cycles(network, ms)
        cells += [f"{second:.1f}", f"{most:.2f}"]
    costs = _costs(network, _HOPS[100])
    return [
        record["network"],
        str(record["seed"]),
        f"{100 * record['int8']:.1f}",
        f"{count(graph).macs / 1e6:.2f}",
        f"{costs.arena_bytes / 1e3:.1f}",
        f"{costs.flash_bytes / 1e3:.0f}",
        *cells,
        str(record["cpu"]),
    ]


def on_speech() -> str:
    """Return the table of long recordings, of the detector every 100 ms."""
    header = ["network", "training", "words, int8 %", "SRAM KB"]
    header += [f"Mcycles/s, {ms} ms" for ms in _HOPS]
    rows = []
    for line in read(HEARD):
        if not line["corpus"].startswith("synthetic, ") or line["rule"] != "detector, curve":
            continue
        _, name, told = line["corpus"].split(", ", 2)
        network = architecture(name)
        rows.append(
            [
                name,
                told,
                f"{100 * line['int8']:.1f}",
                f"{_costs(network, _HOPS[100]).arena_bytes / 1e3:.1f}",
                *(f"{_cycles(network, ms)[0]:.1f}" for ms in _HOPS),
                percent(line["missed"]),
                f"{line['false_alarms_per_hour']:.0f}",
            ]
        )
    return table([*header, "misses", "false alarms an hour"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("features", type=Path, nargs="?")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--speech", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.speech:
        print(on_speech())
        return
    if not arguments.table:
        data = load(arguments.features)
        for name, network in networks(len(data.classes)):
            done = {(each["network"], each["seed"]) for each in read(_RESULTS)}
            if (name, arguments.seed) not in done:
                append(_RESULTS, _trained(name, network, data, arguments.seed))
    header = ["network", "seed", "int8 %", "MMACs", "SRAM KB", "flash KB"]
    for ms in _HOPS:
        header += [f"Mcycles/s, {ms} ms", "longest call"]
    records = read(_RESULTS)
    print(table([*header, "CPU s"], [_row(each) for each in records]))
    for name, text in {each["network"]: each["description"] for each in records}.items():
        print(f"{name}: {Space.model_validate(text).in_full}")


if __name__ == "__main__":
    main()
