"""MLPerf Tiny's keyword spotter on real English speech, through micronas' front end and arithmetic.

    python -m benchmarks.english CLIPS kws_ref_model.tflite

CLIPS is the official test set of Speech Commands v2: 4,890 clips in twelve folders, of which the
public repository thegtagamer/PICO-tinyML-benchmark has a copy (MLTK_keyworkSpotting/dataset). The
model is mlcommons/tiny's (benchmark/training/keyword_spotting/trained_models), int8, which was
trained on peaks at full scale. Its classes are the folders in this order.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from micronas.data import TensorSplit
from micronas.tasks.keywords.front_end import mfcc
from micronas.tasks.keywords.settings import MfccSettings
from micronas.tasks.waveform import one_second, read_samples
from micronas.text import table
from micronas.tflite.reader import read
from testing.scores import accuracy

CLASSES = (
    *("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes"),
    *("_silence_", "_unknown_"),
)
MLPERF = MfccSettings(30, "magnitude", 1e-6, "peak", "tensorflow")
"""The front end that the model was trained with."""


def main(clips: Path, model: Path) -> None:
    paths = [(path, label) for label, name in enumerate(CLASSES) for path in wavs(clips / name)]
    samples = np.stack([one_second(read_samples(path)) for path, _ in paths])
    waveforms = torch.from_numpy(samples).float() / 32768
    labels = torch.tensor([label for _, label in paths])
    graph = read(model.read_bytes())
    rows = []
    for name, settings in (
        ("as it was trained", MLPERF),
        ("levels as recorded", replace(MLPERF, level="recorded")),
        ("powers, not magnitudes", replace(MLPERF, spectrum="power")),
    ):
        features = torch.cat([mfcc(some, settings) for some in waveforms.split(256)])
        right, _ = accuracy(graph, TensorSplit(features.unsqueeze(1), labels))
        rows.append([name, str(len(labels)), f"{100 * right:.2f}"])
    print(table(["front end", "clips", "int8, %"], rows))


def wavs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wav"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", type=Path)
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    main(given.clips, given.model)
