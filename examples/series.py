"""Sensor series, from CSV files to a verified int8 network, beside plain alternatives.

    python examples/series.py                             made-up gestures of six axes
    python examples/series.py data.path=my_recordings     a folder of CSV files per class

Arguments are the settings of series.yaml. Made-up gestures are for trying the tool: a network that
knows them knows nobody's wrist.
"""

from pathlib import Path

from comparison import compare, start

from micronas.progress import Bars
from micronas.runs.settings import load_run
from micronas.tasks.series.load import load
from micronas.tasks.series.synth import synthesise

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"


def main(overrides: list[str], out: Path) -> None:
    # 1. What is wanted: a space, a board, a budget, a data set.
    settings = load_run(HERE / "series.yaml", [f"data.path={RUNS / 'data/gestures'}", *overrides])

    # 2. The data: windows of 128 samples, people disjoint between the parts.
    if settings.data.path == RUNS / "data/gestures":
        synthesise(settings.data.path)
    data = load(settings.data)
    print(data.summary, end="\n\n")

    # 3. Search, train, quantise, export, verify; and the same for what it has to beat.
    with Bars() as bars:
        report = compare(settings, data, out, bars)
    print(report)


if __name__ == "__main__":
    start(main, about=__doc__, out=RUNS / "series")
