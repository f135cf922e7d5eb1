"""Ten budgets by one supernet, beside ten searches.

    python -m benchmarks.one_supernet RESULTS.jsonl --features kws40.npz [--seeds 0]
        [--methods ranked space]
    python -m benchmarks.one_supernet RESULTS.jsonl --table

Budgets are those of `benchmarks.settings.LADDER`; methods, recipes and the final training are those
of `benchmarks.quality`. Each `ranked` search trains shared weights on networks within its own
budget. `space` trains them once, on networks of any size, as a sweep with `search.supernet=space`
does: whichever budget comes first has that in its CPU. RESULTS gets a line for each finished
network; what is there is not done again.
"""

from pathlib import Path
from statistics import fmean

from benchmarks.quality import Bench, command
from benchmarks.quality_tables import Methods, Record, against, by_setting
from benchmarks.settings import LADDER
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.text import table

METHODS = ("ranked", "space")


def run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    for seed in seeds:
        bench = Bench(setting, data, results)
        if method == "space":
            bench.shared = Checkpoint(results.with_suffix(f".shared-{seed}.pt"))
        bench.run(method, [seed])


def summary(records: list[Record]) -> str:
    """A row a budget, and what all take together."""
    settings = {name: found for name, found in by_setting(records).items() if name in LADDER}
    rows = [
        [name, *(cell for method in METHODS for cell in _cells(found.get(method, {})))]
        for name, found in sorted(settings.items(), key=lambda item: float(item[0][5:]))
    ]
    header = ["budget", *(part for method in METHODS for part in (f"{method}, int8 %", "CPU s"))]
    lines = [table(header, rows), ""]
    own = _all(settings, METHODS[0])
    for method in METHODS:
        found = _all(settings, method)
        if found:
            seconds = sum(each["search_seconds"] for each in found.values())
            share = seconds / sum(each["search_seconds"] for each in own.values())
            mean = 100 * fmean(each["int8"] for each in found.values())
            less = "" if method == METHODS[0] else f", against ranked {against(found, own)}"
            lines.append(f"{method}: mean {mean:.1f}{less}; {seconds} CPU s, {share:.2f} of ranked")
    return "\n".join(lines)


def _cells(seeds: dict[int, Record]) -> list[str]:
    scores = " ".join(f"{100 * seeds[seed]['int8']:.1f}" for seed in sorted(seeds))
    return [scores, " ".join(str(seeds[seed]["search_seconds"]) for seed in sorted(seeds))]


def _all(settings: dict[str, Methods], method: str) -> dict[tuple[str, int], Record]:
    """Records of a method, by budget and seed."""
    return {
        (name, seed): record
        for name, found in settings.items()
        for seed, record in found.get(method, {}).items()
    }


if __name__ == "__main__":
    command(__doc__, LADDER, METHODS, list(METHODS), show=summary, run=run)
