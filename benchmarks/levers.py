"""What each part of a search is worth, a line a lever, from what other benchmarks measured.

    python -m benchmarks.levers [--results benchmarks/results]

Points are int8 accuracy with the lever less that without, over all pairs of a setting and a seed
which both have, with a 95 % interval of the mean; CPU is the share of the search with the lever in
that without. Sources, of which each says what its methods are: `benchmarks.quality`,
`benchmarks.one_supernet` and `benchmarks.open_spaces`. Former methods, in results/proposals.jsonl,
proposed networks to one and the same shared weights, and their CPU is that after the weights were
trained. Textbook networks of open spaces are paired by name.
"""

import argparse
import re
from pathlib import Path
from typing import Any

from benchmarks.quality_tables import against, share
from benchmarks.rows import read
from micronas.text import table

Record = dict[str, Any]
Pairs = dict[tuple[str, int, str], Record]
QUALITY, BUDGETS, PROPOSALS = "quality.jsonl", "one_supernet.jsonl", "proposals.jsonl"
OPEN = "open_spaces.jsonl"
LEVERS = (
    ("draws from the prior, not independent widths", QUALITY, "default", "random"),
    ("a limit on SRAM known to the search", QUALITY, "default", "blind"),
    ("trials as long as the final training", QUALITY, "patient", "default"),
    ("shared weights rank, not trials of halving", QUALITY, "ranked", "halving"),
    ("the same, beside halving as it was", QUALITY, "ranked", "default"),
    ("finalists of different depths, too", QUALITY, "depths", "ranked"),
    ("crossing and mutation", QUALITY, "evolution", "ranked"),
    ("gates and penalties, after MicroNets", QUALITY, "dnas", "ranked"),
    ("one supernet for all budgets", BUDGETS, "space", "ranked"),
    ("600 more draws", PROPOSALS, "more", "draws"),
    ("gradient: natural evolution strategies", PROPOSALS, "centre", "draws"),
    ("gradient: score function, bounded KL", PROPOSALS, "policy", "draws"),
    ("gradient: of a fitted form", PROPOSALS, "fitted", "draws"),
    ("gradient: gates of a centre and a spread", PROPOSALS, "gates", "draws"),
    ("gradient: steps around the best draw", PROPOSALS, "steps", "draws"),
    ("open: best temperature orders trials", OPEN, "single", "plain"),
    ("open: trials as long as the final training", OPEN, "long", "plain"),
    ("open: mean weights, two trainings of finalists", OPEN, "sooner", "single"),
    ("open: both, later first comparison on pictures", OPEN, "default", "single"),
    ("open: first comparison after 150 steps, not 100", OPEN, "default", "sooner"),
    ("open: twice the epochs of second trainings", OPEN, "twice", "sooner"),
    ("open: finalists compared later, 15 epochs anew", OPEN, "longer", "default"),
    ("open: the same, winner goes on for 15 epochs", OPEN, "going_on", "default"),
    ("open: 4 bits a choice, where flash binds", OPEN, "mixed", "default"),
    ("textbook with weights of 4 bits", OPEN, "4 bits", "textbook"),
    ("textbook with squeeze-and-excite gates", OPEN, "gated", "textbook"),
)


def summary(folder: Path) -> str:
    files = (QUALITY, BUDGETS, PROPOSALS, OPEN)
    sources = {name: _by_method(read(folder / name)) for name in files}
    rows = []
    for lever, source, own, other in LEVERS:
        found, theirs = (sources[source].get(method, {}) for method in (own, other))
        both = found.keys() & theirs.keys()
        if both:
            settings = len({setting for setting, *_ in both})
            cells = [lever, f"{own} - {other}", str(settings), str(len(both))]
            rows.append([*cells, against(found, theirs), share(found, theirs)])
    return table(["lever", "methods", "settings", "pairs", "int8, points", "CPU"], rows)


def _by_method(records: list[Record]) -> dict[str, Pairs]:
    """Records by method; of textbook networks, what was changed in them is the method."""
    methods: dict[str, Pairs] = {}
    for each in records:
        method, network = each["method"], ""
        widened = re.fullmatch(r"(.+?)(?:, (.+))? x[\d.]+", method)
        if widened:
            network, method = widened[1], widened[2] or "textbook"
        methods.setdefault(method, {})[each["setting"], each["seed"], network] = each
    return methods


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    print(summary(parser.parse_args().results))


if __name__ == "__main__":
    main()
