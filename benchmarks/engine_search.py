"""What a search finds with the engine beside TFLM, within the same limits of the device.

    python -m benchmarks.engine_search results/engine_search.jsonl --features kws40.npz \
        --images cifar10/train [--settings kws-16-64 ...] [--methods engine tflm] [--seeds 0 1 2]
    python -m benchmarks.engine_search results/engine_search.jsonl --table

A setting is SRAM and flash of the device in KB: the front end and the runtime's code count. Board,
data, trials and the training of what is found are those of `benchmarks.open_spaces`, and so is the
latency limit, 60 ms for keywords and 100 ms for pictures. RESULTS gets a line for each search; what
is there is not done again. Where no network of the space fits, the line says why.
"""

from dataclasses import replace
from pathlib import Path

from benchmarks.open_spaces import Bench, Found, Record
from benchmarks.quality import command
from benchmarks.rows import append
from benchmarks.settings import BOARD
from micronas.data import DataSet
from micronas.errors import BudgetError
from micronas.hardware.code import operators_of
from micronas.hardware.costs import Budget, on_device
from micronas.hardware.front_ends import front_end_costs
from micronas.nas.problem import Problem
from micronas.text import table

SETTINGS = (
    *("kws-24-64", "kws-16-64", "kws-24-32", "kws-16-32", "kws-8-32"),
    *("kws-24-128", "kws-16-128", "cifar-32-64", "cifar-32-128"),
)
METHODS = ("engine", "tflm")
_MEANING = {
    "kws": {"features": "mfcc", "window_ms": 30},
    "cifar": {"features": "pixels", "fit": "stretch", "mean": 128.0},
}
_LATENCY = {"kws": "60 ms", "cifar": "100 ms"}


class DeviceBench(Bench):
    """One setting with one engine."""

    def __init__(self, setting: str, data: DataSet, results: Path, method: str) -> None:
        kind, sram, flash = setting.split("-")
        data = replace(data, meaning=_MEANING[kind])
        budget = Budget(sram=f"{sram} KB", flash=f"{flash} KB", latency=_LATENCY[kind])
        super().__init__(setting, data, results, budget)
        self.method = method
        self.board = BOARD.using(None, engine="micronas" if method == "engine" else "tflm")

    def run_seeds(self, seeds: list[int]) -> None:
        for seed in seeds:
            done = {(each["method"], each["seed"]) for each in self._records()}
            if (self.method, seed) not in done:
                self._search(seed)

    def _search(self, seed: int) -> None:
        problem = Problem(self.space, self.board, self.budget, meaning=self.data.meaning)
        try:
            problem.check_feasible()
        except BudgetError as error:
            said = {"setting": self.setting, "method": self.method, "seed": seed}
            append(self.results, said | {"network": None, "error": str(error)})
        else:
            self.run(self.method, [seed])

    def _judged(self, name: str, seed: int, found: Found, searched: float) -> Record:
        record = super()._judged(name, seed, found, searched)
        network, costs = found.candidate.architecture, found.candidate.costs
        device = on_device(
            self.board,
            operators_of(network.graph()),
            front_end_costs(self.data.meaning, network.input_shape),
            costs,
        )
        del record["used"]
        return record | {name: device[name] for name in ("sram_bytes", "flash_bytes", "latency_ms")}


def summary(records: list[Record]) -> str:
    """A row for each setting and engine: accuracy and MACs by seed, costs of the first."""
    rows = []
    for setting, method in sorted({(each["setting"], each["method"]) for each in records}):
        found = [each for each in records if (each["setting"], each["method"]) == (setting, method)]
        found.sort(key=lambda each: int(each["seed"]))
        first = found[0]
        if first["network"] is None:
            rows.append([setting, method, "none fits", *("-",) * 5])
            continue
        rows.append(
            [
                setting,
                method,
                first["network"],
                " ".join(f"{100 * each['int8']:.1f}" for each in found),
                " ".join(f"{each['macs'] / 1e6:.2f}" for each in found),
                f"{first['sram_bytes']:,} B",
                f"{first['flash_bytes']:,} B",
                f"{first['latency_ms']:.1f} ms",
            ]
        )
    header = ["KB", "with", "first seed's network", "int8 % by seed", "million MACs"]
    return table([*header, "its SRAM", "its flash", "its latency"], rows)


def _run(setting: str, data: DataSet, results: Path, method: str, seeds: list[int]) -> None:
    DeviceBench(setting, data, results, method).run_seeds(seeds)


if __name__ == "__main__":
    command(__doc__, SETTINGS, METHODS, list(METHODS), show=summary, run=_run)
