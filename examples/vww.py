"""Visual wake words, from images to a verified int8 network, beside plain alternatives.

    python examples/vww.py                       faces or not, 200 images scikit-image ships
    python examples/vww.py data.path=my_images   a folder with person/ and non_person/
    python examples/vww.py data.path=coco data.annotations=[instances_train2014.json]

Arguments are the settings of vww.yaml. The 200 images are for trying the tool; no accuracy that was
measured on 40 of them tells two networks apart.
"""

from pathlib import Path

from comparison import compare, start

from micronas.progress import Bars
from micronas.runs.settings import load_run
from micronas.tasks.images.load import load
from micronas.tasks.images.synth import sample_images

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs"


def main(overrides: list[str], out: Path) -> None:
    # 1. What is wanted: a space, a board, a budget, a data set.
    settings = load_run(HERE / "vww.yaml", [f"data.path={RUNS / 'data/faces'}", *overrides])

    # 2. The data: images squeezed to 50x50 gray pixels; copies of a file stay in one part.
    if settings.data.path == RUNS / "data/faces":
        sample_images(settings.data.path)
    data = load(settings.data)
    print(data.summary, end="\n\n")

    # 3. Search, train, quantise, export, verify; and the same for what it has to beat.
    with Bars() as bars:
        report = compare(settings, data, out, bars)
    print(report)


if __name__ == "__main__":
    start(main, about=__doc__, out=RUNS / "vww")
