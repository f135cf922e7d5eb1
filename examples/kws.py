"""Keyword spotting, from sounds to a verified int8 network, beside two plain alternatives.

    python examples/kws.py                       synthetic speech, made on the spot
    python examples/kws.py data.path=my_words    a folder in the Speech Commands layout

Arguments are the settings of kws.yaml. Synthetic speech is for trying the tool: a network that
knows it knows no human voice.
"""

from pathlib import Path

from comparison import compare, start

from micronas.progress import Bars
from micronas.runs.settings import load_run
from micronas.tasks.keywords.load import load
from micronas.tasks.keywords.synth import synthesise

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"


def main(overrides: list[str], out: Path) -> None:
    # 1. What is wanted: a space, a board, a budget, a data set.
    settings = load_run(HERE / "kws.yaml", [f"data.path={RUNS / 'data/speech'}", *overrides])

    # 2. The data: spoken keywords as MFCC features, speakers disjoint between the parts.
    if settings.data.path == RUNS / "data/speech":
        synthesise(settings.data.path)
    data = load(settings.data)
    print(data.summary, end="\n\n")

    # 3. Search, train, quantise, export, verify; and the same for what it has to beat.
    with Bars() as bars:
        report = compare(settings, data, out, bars)
    print(report)


if __name__ == "__main__":
    start(main, about=__doc__, out=RUNS / "kws")
