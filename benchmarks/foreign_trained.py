"""Five foreign modules: trained, trained on with rounding, exported; int8 beside float.

    python -m benchmarks.foreign_trained KEYWORDS.npz IMAGES [--only NETWORK ...]

KEYWORDS holds MFCCs as in `benchmarks.kws40`, IMAGES a folder of pictures for each of ten classes,
of which one in ten is kept for validation. Scores are those of the validation part, by which
nothing is chosen: accuracy in %, or of the U-Net, which takes noise away, the peak signal-to-noise
ratio in dB. `plain` is int8 by calibration, `tuned` the same with ``tune=True``, `trained` the
network trained on with rounding; all three are the file's, in integers as on the device. `wrong`
are the bytes in which TFLM differs from these on 16 examples.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.zoo.images import UNet
from benchmarks.zoo.networks import NETWORKS
from benchmarks.zoo.series import CRNN, tc_resnet8
from micronas.export.from_torch.check import int8_outputs
from micronas.export.from_torch.module import to_tflite
from micronas.export.from_torch.trace import trace
from micronas.export.verify import verify
from micronas.splits import Split
from micronas.text import table
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from micronas.train.finetune import finetune
from micronas.train.inputs import by_input
from micronas.train.loop import Loss, fit
from micronas.train.recipe import Recipe

_CALIBRATION = 512
_CHECKED = 16
_NOISE = 0.15
_SEED = 0


class Examples(Split):
    """A split of inputs of any shape; `wanted` is a class, or a map, of each."""

    def __init__(self, inputs: Tensor, wanted: Tensor) -> None:
        self.inputs, self.wanted = inputs, wanted
        self.is_of_maps = wanted.ndim > 1
        self.labels = torch.arange(len(wanted)) if self.is_of_maps else wanted
        self.groups = torch.arange(len(wanted))

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return inputs as they are: nothing is augmented."""
        return self.inputs[index]

    def loss(self) -> Loss | None:
        """Return the squared error of maps; None stands for cross-entropy."""
        return self._squared if self.is_of_maps else None

    def _squared(self, outputs: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        return (outputs - self.wanted[labels]).square().mean()

    def score(self, outputs: np.ndarray) -> float:
        """Return accuracy in %, or the peak signal-to-noise ratio of pixels of 0 to 1 in dB."""
        wanted = self.wanted.numpy()
        if self.is_of_maps:
            return float(-10 * np.log10(np.square(outputs - wanted).mean()))
        return float(100 * (outputs.reshape(len(wanted), -1).argmax(1) == wanted).mean())


@dataclass(frozen=True)
class Job:
    """A network and how it is trained."""

    build: Callable[[], nn.Module]
    data: str
    epochs: int


def _mobilenet() -> nn.Module:
    from torchvision.models import mobilenet_v3_small

    return mobilenet_v3_small(weights=None, width_mult=0.5, num_classes=10)


_JOBS = {
    "MobileNetV3-small 0.5": Job(_mobilenet, "images of 64x64", 4),
    "SE-ResNet": Job(NETWORKS["SE"].build, "images", 4),
    "TC-ResNet8": Job(lambda: tc_resnet8(10, 40), "series", 8),
    "CRNN": Job(lambda: CRNN(40), "maps of sound", 6),
    "U-Net": Job(lambda: UNet("bilinear", 3), "noisy images", 2),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("keywords", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--only", nargs="+", choices=_JOBS, default=[*_JOBS])
    given = parser.parse_args()
    head = ["network", "examples", "float", "plain", "tuned", "trained", "- float", "wrong", "s"]
    print(table(head, [_row(name, given.keywords, given.images) for name in given.only]))


def _row(name: str, keywords: Path, images: Path) -> list[str]:
    started, job = time.process_time(), _JOBS[name]
    training, validation = _data(job.data, keywords, images)
    torch.manual_seed(_SEED)
    module = job.build()
    recipe = Recipe(epochs=job.epochs, batch_size=64)
    fit(module, training, recipe, seed=_SEED, loss=training.loss())
    with torch.no_grad():
        exact = torch.cat([module(part) for part in validation.inputs.split(64)])
    scores = [validation.score(exact.numpy())]
    example, calibration = training.inputs[:1], training.inputs[:_CALIBRATION].split(64)
    for tune in (False, True):
        model = to_tflite(module, example, calibration=calibration, tune=tune)
        scores.append(_score(model, validation))
    graph = trace(module, example)
    (stored,) = by_input(graph, training.inputs).values()
    rounding = Recipe(epochs=2, batch_size=64, learning_rate=1e-3, warmup=0.1, mean=False)
    split = Examples(stored, training.wanted)
    trained = finetune(graph, split, rounding, seed=_SEED, loss=split.loss())
    model = to_tflite(trained, example)
    scores.append(_score(model, validation))
    written = read(model)
    (checked,) = by_input(written, validation.inputs[:_CHECKED]).values()
    found = verify(model, quantize_inputs(written, checked))
    return [
        name,
        f"{len(training.labels)} + {len(validation.labels)}",
        *(f"{score:.2f}" for score in scores),
        f"{scores[-1] - scores[0]:+.2f}",
        f"{found.mismatches} of {found.bytes_compared}",
        f"{time.process_time() - started:.0f}",
    ]


def _score(model: bytes, validation: Examples) -> float:
    graph = read(model)
    (found,) = int8_outputs(graph, by_input(graph, validation.inputs)).values()
    return validation.score(found)


def _data(kind: str, keywords: Path, images: Path) -> tuple[Examples, Examples]:
    if "image" in kind:
        return _pictures(kind, images)
    held = np.load(keywords)
    scale = held["x_train"][0].astype(np.float32)
    centre, deviation = scale.mean((0, 1)), scale.std((0, 1))
    found = []
    for inputs, labels in (
        (held["x_train"].reshape(-1, *held["x_val"].shape[1:]), np.tile(held["y_train"], 3)),
        (held["x_val"], held["y_val"]),
    ):
        values = torch.tensor((inputs.astype(np.float32) - centre) / deviation)
        shaped = values.transpose(1, 2).contiguous() if kind == "series" else values.unsqueeze(1)
        found.append(Examples(shaped, torch.tensor(labels).long()))
    return found[0], found[1]


def _pictures(kind: str, images: Path) -> tuple[Examples, Examples]:
    """Pixels of 0 to 1; every tenth picture of a class is for validation."""
    side = 64 if kind.endswith("64x64") else 32
    parts: tuple[list[tuple[np.ndarray, int]], ...] = [], []
    for label, folder in enumerate(sorted(each for each in images.iterdir() if each.is_dir())):
        for number, path in enumerate(sorted(folder.iterdir())):
            picture = Image.open(path).convert("RGB").resize((side, side))
            parts[number % 10 == 0].append((np.asarray(picture).transpose(2, 0, 1), label))
    found, generator = [], torch.Generator().manual_seed(_SEED)
    for part in parts:
        pixels = torch.tensor(np.stack([each for each, _ in part])).float() / 255
        labels = torch.tensor([label for _, label in part])
        if kind == "noisy images":
            noise = _NOISE * torch.randn(pixels.shape, generator=generator)
            found.append(Examples(pixels + noise, pixels))
        else:
            found.append(Examples(pixels, labels))
    return found[0], found[1]


if __name__ == "__main__":
    main()
