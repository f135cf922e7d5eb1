"""Count codes of the front ends in C that differ from training's, on this machine and on Cortex-M.

    python -m benchmarks.front_ends SCRATCH [COUNT]
    python -m benchmarks.front_ends RUN

The first makes up to 100 recordings of each task as `micronas data synth` does, below SCRATCH, and
runs each through training's Python, the C compiled here, and the C on an emulated Cortex-M4 and M0
(QEMU; needs arm-none-eabi-gcc). The second feeds all recordings of a keyword run's data through the
whole chain, front end and network, and counts codes and decisions that differ. With TFLM_SOURCE and
TFLM_LIBRARY the firmware says on the emulated Cortex-M4 what the validation part's recordings are,
and both accuracies are printed.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.export.firmware.front_ends import FrontEnd
from micronas.export.firmware.host import OnHost
from micronas.export.firmware.project import write_project
from micronas.graph import integer
from micronas.graph.ir import Quantization
from micronas.graph.kernels.codes import Values
from micronas.runs.device import compare_front_end, device, recordings_of
from micronas.runs.folder import model_file
from micronas.tasks.device import front_end
from micronas.tasks.images.synth import sample_images as pictures
from micronas.tasks.keywords.synth import synthesise as words
from micronas.tasks.machines.synth import synthesise as machines
from micronas.tasks.recorded import Recorded, recordings
from micronas.tasks.series.synth import synthesise as gestures
from micronas.text import pairs, table
from micronas.tflite.metadata import read_metadata
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from micronas.views import laid_out
from testing.budgets import MEANINGS
from testing.emulator import CORTEX_M0, OnEmulator
from testing.usage import given

_STEP = Quantization(np.array([0.0297952], np.float32), -7)
_TASKS: dict[str, tuple[Callable[[Path], Any], tuple[int, int, int], int]] = {
    "kws": (words, (49, 10, 1), 320),
    "vww": (pictures, (96, 96, 1), 160 * 120),
    "ad": (machines, (32, 32, 1), 512),
    "series": (gestures, (128, 1, 6), 6),
}
"""Data, shape of the input, samples of one step."""
_AT_ONCE = 60
"""Recordings of a start of the emulator."""


def main(scratch: Path, count: int = 100) -> None:
    rows = [row for task in _TASKS for row in _rows(task, scratch / task, count)]
    print(table(["recordings", "arithmetic", "where", "codes", "differ", "by"], rows))


def _rows(task: str, folder: Path, count: int) -> list[list[str]]:
    make, shape, step = _TASKS[task]
    make(folder)
    meaning = MEANINGS[task]
    made = front_end(meaning, (1, *shape))
    assert made is not None
    recorded = recordings(folder, meaning, made, count=count)
    expected = np.stack([_codes(each.features) for each in recorded])
    places: list[tuple[Emulated | None, bool]] = [(None, False), (CORTEX_M4, False)]
    if made.samples == "int16":
        places += [(None, True), (CORTEX_M4, True), (CORTEX_M0, True)]
    elif task == "series":
        places += [(CORTEX_M0, False)]
    found = []
    for board, fixed_point in places:
        codes = _computed(made, recorded, board, step, fixed_point)
        gaps = np.abs(codes.reshape(expected.shape).astype(int) - expected)
        found.append(
            [
                f"{len(recorded)} {task}",
                "fixed point" if fixed_point else "integers" if task == "vww" else "float32",
                board.core if board else "here",
                f"{gaps.size:,}",
                str(int((gaps > 0).sum())),
                str(int(gaps.max())),
            ]
        )
    return found


def _codes(values: Any) -> Values:
    steps = np.rint(values / _STEP.scale[0]) + _STEP.zero_point
    return np.clip(steps, -128, 127).astype(np.int8)


def _computed(
    made: FrontEnd, recorded: Sequence[Recorded], board: Emulated | None, step: int, fixed: bool
) -> Values:
    samples = [each.samples for each in recorded]
    if board is None:
        here = OnHost(made, _STEP, fixed_point=fixed)
        return np.stack([here.codes(each) for each in samples])
    with tempfile.TemporaryDirectory() as scratch:
        there = OnEmulator(made, _STEP, Path(scratch), step=step, board=board, fixed_point=fixed)
        return np.stack([each.codes for each in there.run(samples)])


def chain(run: Path) -> None:
    data, folder = model_file(run).read_bytes(), recordings_of(run)
    assert folder is not None
    found = compare_front_end(run, data, read(data), recordings_in=folder, count=10**9) or {}
    if "TFLM_SOURCE" in os.environ:
        found |= _validated(run, data, folder)
    print(pairs(found))


def _validated(run: Path, data: bytes, folder: Path) -> dict[str, str]:
    """Return accuracies on the validation part, by Python and by the firmware."""
    graph = read(data)
    application = device(run, data, graph).application
    assert application is not None
    clips = [folder / name for name in (folder / "validation_list.txt").read_text().split()]
    labels = list(application.labels)
    truth = [clip.parent.name if clip.parent.name in labels else "unknown" for clip in clips]
    meaning, made = read_metadata(data)["input"], application.front_end
    heard = [recordings(clip, meaning, made, count=1)[0].features for clip in clips]
    given = torch.from_numpy(np.stack(heard).transpose(0, 3, 1, 2))
    height, width, channels = graph.tensors[graph.inputs[0]].shape[1:]
    codes = quantize_inputs(graph, laid_out(given, (height, width, channels)))
    python = [labels[best] for best in integer.run(graph, codes).reshape(len(clips), -1).argmax(1)]
    said = _said(data, application, clips)
    return {
        f"right of {len(clips)}, Python": str(sum(map(str.__eq__, python, truth))),
        f"right of {len(clips)}, Cortex-M4": str(sum(map(str.__eq__, said, truth))),
        "words that differ": str(sum(map(str.__ne__, said, python))),
    }


def _said(data: bytes, application: Application, clips: Sequence[Path]) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "firmware"
        golden = random_inputs(read(data), 1, seed=0)
        write_project(data, project, golden_input=golden, application=application)
        said = []
        for first in range(0, len(clips), _AT_ONCE):
            files = " ".join(str(clip.resolve()) for clip in clips[first : first + _AT_ONCE])
            command = [
                *("make", "-C", f"{project}/qemu", f"TFLM_DIR={os.environ['TFLM_SOURCE']}"),
                *(f"TFLM_LIBRARY={os.environ['TFLM_LIBRARY']}", f"FILES={files}", "say"),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            said += re.findall(r"^\S+: (\w+)\?? \(ahead", done.stderr, re.MULTILINE)
    return said


if __name__ == "__main__":
    folder, *count = given(__doc__, 1)
    if Path(folder, "metrics.json").is_file():
        chain(Path(folder))
    else:
        main(Path(folder), *map(int, count))
