"""What each part of a search is worth, a line a lever, from what other benchmarks measured.

    python -m benchmarks.levers [--results benchmarks/results]

Points are int8 accuracy with the lever less that without, over all pairs of a setting and a seed
which both have, with a 95 % interval of the mean; CPU is the share of the search with the lever in
that without. Sources, of which each says what its methods are: `benchmarks.quality`,
`benchmarks.one_supernet` and `benchmarks.proposals`. Levers of the last propose networks to one and
the same shared weights, and their CPU is that after the weights are trained.
"""

import argparse
from pathlib import Path
from typing import Any

from benchmarks.kws40 import read
from benchmarks.quality_tables import against, share
from micronas.text import table

Record = dict[str, Any]
Pairs = dict[tuple[str, int], Record]
QUALITY, BUDGETS, PROPOSALS = "quality.jsonl", "one_supernet.jsonl", "proposals.jsonl"
LEVERS = (
    ("draws from the prior, not independent widths", QUALITY, "default", "random"),
    ("a limit on SRAM known to the search", QUALITY, "default", "blind"),
    ("trials as long as the final training", QUALITY, "patient", "default"),
    ("shared weights rank, not trials of halving", QUALITY, "ranked", "halving"),
    ("the same, beside halving as it was", QUALITY, "ranked", "default"),
    ("trials begin with shared weights, half as long", QUALITY, "ranked", "anew"),
    ("trials begin with shared weights, as long", QUALITY, "whole", "anew"),
    ("finalists of different depths, too", QUALITY, "depths", "ranked"),
    ("crossing and mutation", QUALITY, "evolution", "ranked"),
    ("gates and penalties, as published", QUALITY, "dnas", "ranked"),
    ("one supernet for all budgets", BUDGETS, "space", "ranked"),
    ("half of the finalists, half of their epochs", BUDGETS, "lean", "space"),
    ("600 more draws", PROPOSALS, "more", "draws"),
    ("gradient: natural evolution strategies", PROPOSALS, "centre", "draws"),
    ("gradient: score function, bounded KL", PROPOSALS, "policy", "draws"),
    ("gradient: of a fitted form", PROPOSALS, "fitted", "draws"),
    ("gradient: gates of a centre and a spread", PROPOSALS, "gates", "draws"),
    ("gradient: steps around the best draw", PROPOSALS, "steps", "draws"),
)


def summary(folder: Path) -> str:
    sources = {name: _by_method(read(folder / name)) for name in (QUALITY, BUDGETS, PROPOSALS)}
    rows = []
    for lever, source, own, other in LEVERS:
        found = [sources[source].get(method, {}) for method in (own, other)]
        both = found[0].keys() & found[1].keys()
        if both:
            settings = len({setting for setting, _ in both})
            cells = [lever, f"{own} - {other}", str(settings), str(len(both))]
            rows.append([*cells, against(*found), share(*found)])
    return table(["lever", "methods", "settings", "pairs", "int8, points", "CPU"], rows)


def _by_method(records: list[Record]) -> dict[str, Pairs]:
    methods: dict[str, Pairs] = {}
    for each in records:
        methods.setdefault(each["method"], {})[each["setting"], each["seed"]] = each
    return methods


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    print(summary(parser.parse_args().results))


if __name__ == "__main__":
    main()
