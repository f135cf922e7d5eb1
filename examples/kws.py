"""Keyword spotting, from sounds to a verified int8 network, beside two plain alternatives.

    python examples/kws.py                       synthetic speech, made on the spot
    python examples/kws.py data.path=my_words    a folder in the Speech Commands layout

Arguments are the settings of kws.yaml. Synthetic speech is for trying the tool: a network that
knows it knows no human voice.
"""

import sys
from pathlib import Path

from micronas.architecture import Architecture
from micronas.configuration import RunSettings, load_run
from micronas.graph.counts import count
from micronas.progress import Bars
from micronas.quantities import format_bytes, format_macs
from micronas.run import run_search, run_training
from micronas.tasks.kws import load
from micronas.tasks.speech import synthesise
from micronas.terminal import percent, search_summary, table

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"


def main(overrides: list[str]) -> None:
    # 1. What is wanted: a space, a board, a budget, a data set.
    settings = load_run(HERE / "kws.yaml", [f"data.path={RUNS / 'data/speech'}", *overrides])
    space = settings.load_space()

    # 2. The data: spoken keywords as MFCC features, speakers disjoint between the parts.
    if settings.data.path == RUNS / "data/speech":
        synthesise(settings.data.path)
    data = load(settings.data)
    print(data.summary, end="\n\n")

    with Bars() as bars:
        # 3. Search, quantization-aware training, export, verification.
        result, found = run_search(settings, RUNS / "kws", data=data, progress=bars)

        # 4. Is it any good? The largest network, and one narrowed uniformly to the same ops.
        space = space.model_copy(update={"classes": len(data.classes)})
        largest = space.architecture(space.largest())
        uniform = min(
            (space.architecture(space.uniform(percentage / 100)) for percentage in range(101)),
            key=lambda network: abs(macs(network) - found.metrics["macs"]),
        )
        training = settings.for_training()
        plain = {
            name: run_training(network, training, RUNS / f"kws_{name}", data=data, progress=bars)
            for name, network in {"largest": largest, "uniform": uniform}.items()
        }

    print(search_summary(result, found.metrics), end="\n\n")
    rows = [row(name, each.metrics) for name, each in {"found": found, **plain}.items()]
    header = ["network", "float", "int8", "MACs", "flash", "arena", "latency", "TFLM", "fits"]
    print(table(header, [*rows, limits(settings, found.metrics)]))
    print(f"\ntflm_mismatches {found.metrics['tflm_mismatches']}")
    print(f"fits {str(found.metrics['fits']).lower()}")
    print(f"the network: {RUNS / 'kws' / 'model.tflite'}")


def macs(network: Architecture) -> int:
    return count(network.graph()).macs


def row(name: str, metrics: dict) -> list[str]:
    return [
        name,
        percent(metrics["float_accuracy"]),
        percent(metrics["int8_accuracy"]),
        format_macs(metrics["macs"]),
        format_bytes(metrics["flash_bytes"]),
        format_bytes(metrics["host_arena_bytes"]),
        f"{metrics['latency_ms']:.0f} ms",
        str(metrics["tflm_mismatches"]),
        "yes" if metrics["fits"] else "no",
    ]


def limits(settings: RunSettings, metrics: dict) -> list[str]:
    budget = metrics["budget"]
    return [
        f"budget, {settings.board}",
        "",
        "",
        format_macs(budget["macs"]) if "macs" in budget else "",
        format_bytes(budget["flash"]),
        format_bytes(budget["sram"]),
        f"{budget['latency']:.0f} ms" if "latency" in budget else "",
        "",
        "",
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
