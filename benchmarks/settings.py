"""Settings of the quality tables: a space, a budget and the data of each."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from micronas.data import DataSet, TensorSplit
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.member import Member
from micronas.nas.prior import USED, moved
from micronas.space.decisions import Choice
from micronas.space.space import Space
from micronas.tasks.images.files import decode
from micronas.tasks.images.load import load as load_pictures
from micronas.tasks.images.settings import VisualSettings
from micronas.tasks.keywords.load import load as load_keywords
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.machines.load import load as load_machines
from micronas.tasks.machines.settings import MachineSettings
from micronas.tasks.machines.synth import synthesise
from micronas.views import Pixels

BOARD = Board.load("stm32f446re")
WIDTHS = tuple(range(8, 129, 4))
SHIPPED = {
    "kws": ("kws", WIDTHS),
    "macs": ("kws", WIDTHS),
    "strides": ("kws_strides", tuple(range(8, 257, 4))),
}
"""Space and widths of the settings for keywords: the paper's backbone, or one more stride."""
GRAY = 50
"""Side of the pictures that the paper's `vww_2` sees."""
BUDGETS = {
    "kws-24": Budget(sram="24 KB", latency="60 ms"),
    "kws-48": Budget(sram="48 KB", latency="120 ms"),
    "kws-96": Budget(sram="96 KB", latency="250 ms"),
    "cifar-32": Budget(sram="32 KB", latency="100 ms"),
    "cifar-64": Budget(sram="64 KB", latency="200 ms"),
    "strides-24": Budget(sram="24 KB", latency="60 ms"),
    "strides-48": Budget(sram="48 KB", latency="120 ms"),
    "strides-96": Budget(sram="96 KB", latency="250 ms"),
    "macs-0.3": Budget(macs="0.3 MMACs"),
    "macs-1": Budget(macs="1 MMACs"),
    "macs-3": Budget(macs="3 MMACs"),
}

LADDER = {
    f"macs-{limit:.2f}": Budget(macs=f"{limit:.2f} MMACs")
    for limit in (0.4 * 10 ** (step / 9) for step in range(10))
}
"""Ten budgets by equal ratios, 0.4 to 4 MMACs, of a sweep."""


class Pictures(TensorSplit):
    """Training moves a picture by up to four pixels and mirrors half of them."""

    cutmix = True

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        inputs = self.inputs[index]
        if generator is None:
            return inputs
        count, _, height, width = inputs.shape
        padded = torch.nn.functional.pad(inputs, (4, 4, 4, 4))
        rows = torch.randint(9, (count, 1), generator=generator) + torch.arange(height)
        columns = torch.randint(9, (count, 1), generator=generator) + torch.arange(width)
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
        which = torch.arange(count)[:, None, None]
        return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def pictures(folder: Path, *, gray: int | None = None) -> DataSet:
    """Half of each class to train on, the other half to judge on; `gray` is a side in pixels."""
    names = sorted(each.name for each in folder.iterdir())
    halves: tuple[list[Any], list[Any]] = ([], [])
    for label, name in enumerate(names):
        files = sorted((folder / name).iterdir())
        for number, file in enumerate(files):
            picture = decode(file.read_bytes(), file).convert("RGB" if gray is None else "L")
            pixels = np.asarray(picture.resize((gray, gray)) if gray else picture)
            halves[2 * number >= len(files)].append((pixels.reshape(*pixels.shape[:2], -1), label))
    parts = [
        (
            torch.from_numpy(np.stack([pixels for pixels, _ in half])).permute(0, 3, 1, 2).float(),
            torch.tensor([label for _, label in half]),
        )
        for half in halves
    ]
    mean, deviation = parts[0][0].mean(), parts[0][0].std()
    train, validation = (Pictures((inputs - mean) / deviation, labels) for inputs, labels in parts)
    channels, height, width = train.inputs.shape[1:]
    return DataSet(
        train=train,
        validation=validation,
        test=None,
        classes=tuple(names),
        input=(height, width, channels),
        view=Pixels(),
    )


def machines(folder: Path) -> DataSet:
    """Eight synthetic machines, made where they are not there yet: 48 clips of each to train on,
    and 60 normal and 60 anomalous ones to test; twice and five times those of the example."""
    return load_machines(MachineSettings(path=synthesise(folder, training=48, test=60)))


def voices(folder: Path) -> DataSet:
    """Ten words and two classes beside them, of folders of WAVs, as `micronas run` reads them."""
    return load_keywords(KeywordSettings(path=folder, cache="off"))


def people(folder: Path) -> DataSet:
    """Pictures of 96x96 in gray with and without a person, two fifths of them to judge on."""
    loaded = load_pictures(VisualSettings(path=folder, validation_fraction=0.4, test_fraction=0.05))
    return replace(loaded, test=None)


def space_of(setting: str, classes: int) -> Space:
    """A keyword backbone with its stem of stride 1, or the like for pictures."""
    kind = setting.partition("-")[0]
    if kind in SHIPPED:
        name, widths = SHIPPED[kind]
        space = Space.load(name)
        update: dict[str, Any] = {"width": widths}
        kernels = {"kernel": ((3, 3), (5, 5))}
        blocks = tuple(each.model_copy(update=update | kernels) for each in space.blocks)
        stem = space.stem.model_copy(update=update)
        return space.model_copy(update={"classes": classes, "stem": stem, "blocks": blocks})
    width, kernel = list(WIDTHS), ["3x3", "5x5"]
    down = {"type": "separable", "width": width, "kernel": kernel, "stride": 2}
    more = {"type": "separable", "width": width, "kernel": kernel, "repeat": 3, "skip": True}
    return Space.model_validate(
        {
            "name": "cifar",
            "task": "vww",
            "input": [32, 32, 3],
            "classes": classes,
            "stem": {"width": width, "kernel": 3},
            "blocks": [down, more, down, more],
        }
    )


def independent(member: Member, source: random.Random, count: int) -> list[Choice]:
    """Different networks within the budget whose widths know nothing of one another."""
    space = member.space
    found: dict[Choice, Choice] = {}
    while len(found) < count:
        choice = moved(member, space.random(source), USED, source)
        if USED <= member.share(choice) <= 1:
            found.setdefault(space.canonical(choice), choice)
    return list(found.values())
