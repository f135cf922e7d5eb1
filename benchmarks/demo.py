"""The demo's network beside several textbook networks of its trials, with several seeds.

    python -m benchmarks.demo RUNS [--seeds 0 1 2] [--rivals 2]
    python -m benchmarks.demo --table

Runs `examples/kws.yaml` with each seed, and trains the textbook networks that did best in its
trials for as many epochs as trials and final training together. The demo itself trains the first.
Folders of RUNS are continued when the command is repeated; results/demo.jsonl gets the lines of a
seed in place of those that it had.

``validation`` chose nothing but between two roundings of a finished network; the lead of the last
column is over the best textbook network, with hindsight of this seed's test.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from micronas.data import DataSet
from micronas.progress import Bars, Progress
from micronas.runs.run import run_search, run_training
from micronas.runs.settings import RunSettings, load_run
from micronas.runs.training import Metrics
from micronas.space.space import Space
from micronas.tasks.keywords.synth import synthesise
from micronas.tasks.registry import load
from micronas.text import table

EXAMPLE = Path(__file__).parents[1] / "examples" / "kws.yaml"
RESULTS = Path(__file__).with_name("results") / "demo.jsonl"
_FOUND = "found"
Row = dict[str, Any]


def rows_of(
    settings: RunSettings, data: DataSet, folder: Path, rivals: int, bars: Progress
) -> list[Row]:
    """Search, train the textbook networks alike, and return a row of each."""
    result, found = run_search(settings, folder, data=data, progress=bars)
    epochs = settings.train.epochs + result.epochs
    recipe = settings.train.model_copy(update={"epochs": epochs})
    alike = settings.for_training().model_copy(update={"train": recipe})
    rows = [_row(settings.seed, _FOUND, found.metrics, settings.train.epochs)]
    textbook = [each for each in result.candidates if each.origin == "textbook"]
    for each in textbook[:rivals]:
        assert isinstance(each.architecture, Space)
        trained = run_training(
            each.architecture, alike, folder / str(each), data=data, progress=bars
        )
        rows.append(_row(settings.seed, str(each), trained.metrics, epochs))
    return rows


def _row(seed: int, name: str, metrics: Metrics, epochs: int) -> Row:
    rounding = metrics["rounding"]
    return {
        "seed": seed,
        "name": name,
        "network": metrics["network"],
        "macs": metrics["macs"],
        "epochs": epochs,
        "validation": rounding[rounding["kept"]],
        "float": metrics["float_accuracy"],
        "int8": metrics["int8_accuracy"],
    }


def summary(rows: list[Row]) -> str:
    """Return a line for each network, and the found networks' leads over the best textbook ones."""
    lines, leads = [], []
    for seed in sorted({row["seed"] for row in rows}):
        found, *rivals = (row for row in rows if row["seed"] == seed)
        leads.append(found["int8"] - max(row["int8"] for row in rivals))
        for row in (found, *rivals):
            known = row["name"] if row in rivals else f"{_FOUND}: {row['network']}"
            scores = [f"{100 * row[key]:.1f}" for key in ("validation", "int8")]
            lead = "" if row in rivals else f"{100 * leads[-1]:+.1f}"
            macs = f"{row['macs'] / 1e6:.2f}"
            lines.append([str(seed), known, macs, *scores, lead])
    header = ["seed", "network", "MMACs", "validation %", "int8 %", "lead"]
    mean = f"mean lead over the best textbook network: {100 * fmean(leads):+.1f} points"
    return f"{table(header, lines)}\n\n{mean}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rivals", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    known = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    if not given.table:
        corpus = synthesise(given.runs / "speech")
        for seed in given.seeds:
            settings = load_run(EXAMPLE, [f"data.path={corpus}", f"seed={seed}"])
            data = load(settings.data)
            with Bars() as bars:
                new = rows_of(settings, data, given.runs / str(seed), given.rivals, bars)
            known = [*(row for row in known if row["seed"] != seed), *new]
            lines = (json.dumps(row) for row in sorted(known, key=lambda row: row["seed"]))
            RESULTS.write_text("\n".join([*lines, ""]))
    print(summary(known))


if __name__ == "__main__":
    main()
