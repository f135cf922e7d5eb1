"""Anomaly detection, from sounds to a verified int8 network, beside plain alternatives.

    python examples/anomaly.py                         synthetic fans and sliders, made on the spot
    python examples/anomaly.py data.path=slider        a machine type of DCASE 2020 Task 2 or MIMII

Arguments are the settings of anomaly.yaml. The network learns to tell normal machines apart; a clip
is the more anomalous the less it sounds like its own machine. Synthetic machines are for trying the
tool: what is found in them says nothing about real ones.
"""

from pathlib import Path

from comparison import compare, start

from micronas.progress import Bars
from micronas.runs.settings import load_run
from micronas.tasks.machines.load import load
from micronas.tasks.machines.synth import synthesise

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"
SCORES = {"AUC float": "float_auc", "AUC int8": "int8_auc", "pAUC int8": "pauc"}


def main(overrides: list[str], out: Path) -> None:
    # 1. What is wanted: a space, a board, a budget, a data set.
    settings = load_run(HERE / "anomaly.yaml", [f"data.path={RUNS / 'data/machines'}", *overrides])

    # 2. The data: two seconds of sound as a 32x32 image; only the test part knows faults.
    if settings.data.path == RUNS / "data/machines":
        synthesise(settings.data.path)
    data = load(settings.data)
    print(data.summary, end="\n\n")

    # 3. Search, train, quantise, export, verify; and the same for what it has to beat.
    with Bars() as bars:
        report = compare(settings, data, out, bars, SCORES)
    print(report)


if __name__ == "__main__":
    start(main, about=__doc__, out=RUNS / "anomaly")
