"""Keyword spotting, from sounds to a verified int8 network, beside plain alternatives.

    python examples/kws.py                       synthetic speech, made on the spot
    python examples/kws.py data.path=my_words    a folder in the Speech Commands layout

Arguments are the settings of kws.yaml. Synthetic speech is for trying the tool: a network that
knows it knows no human voice.

What it writes last is firmware for an emulated board, and ten recordings to try it on.
"""

import shutil
from pathlib import Path

from comparison import compare, start

from micronas.export.formats import export
from micronas.progress import Bars
from micronas.runs.device import device
from micronas.runs.settings import load_run
from micronas.tasks.keywords.load import load
from micronas.tasks.keywords.synth import synthesise
from micronas.tflite.reader import read

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

    # 4. Firmware: front end, network and decision in C, and ten recordings nobody trained on.
    project = firmware(out, settings.data.path, data.classes)
    print(f"firmware: {project}; it says under QEMU which word each recording holds:")
    print(f"make -C {project}/qemu TFLM_DIR=<checkout of tflite-micro> say")


def firmware(run: Path, corpus: Path, words: tuple[str, ...]) -> Path:
    """Write the project of a run, with a recording of each of ten words; return its folder."""
    project = run / "firmware"
    shutil.rmtree(project, ignore_errors=True)
    model = (run / "model.tflite").read_bytes()
    known = device(run, model, read(model))
    export(
        model,
        "project",
        name="firmware",
        out=project,
        application=known.application,
        example=known.example,
        board=known.board,
    )
    listed = corpus / "testing_list.txt"
    tested = listed.read_text(encoding="utf-8").split() if listed.is_file() else []
    (project / "recordings").mkdir()
    for word in [word for word in words if (corpus / word).is_dir()][:10]:
        clips = [corpus / name for name in tested if name.startswith(f"{word}/")]
        clip = min(clips or (corpus / word).glob("*.wav"))
        shutil.copy(clip, project / "recordings" / f"{word}.wav")
    return project


if __name__ == "__main__":
    start(main, about=__doc__, out=RUNS / "kws")
