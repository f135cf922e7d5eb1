"""Costs that gates expect, and those of the graphs of single networks."""

import math
from collections.abc import Iterable
from itertools import product

import pytest

from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.targets import CMSIS_NN
from micronas.nas.member import Member
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates, Sample
from micronas.space.decisions import Choice
from micronas.space.searchable import Searchable


def priced(space: Searchable, sample: Sample) -> dict[str, float]:
    found = expected(space, sample, target=CMSIS_NN).features
    return {name: float(value) for name, value in found.items()}


def counted(space: Searchable, choice: Choice) -> dict[str, float]:
    return CMSIS_NN.features(space.resolve(choice))


def mean_over_networks(space: Searchable, sample: Sample) -> dict[str, float]:
    """Enumerate the networks to which gates give a share."""
    mean: dict[str, float] = {}
    rows = [sample[decision.name].tolist() for decision in space.decisions]
    for choice in product(*([at for at, share in enumerate(row) if share] for row in rows)):
        share = math.prod(row[at] for row, at in zip(rows, choice, strict=True))
        for name, value in counted(space, choice).items():
            mean[name] = mean.get(name, 0.0) + share * value
    return mean


def arena_ratios(space: Searchable, choices: Iterable[Choice]) -> list[float]:
    """Divide exact arenas by the smooth stand-ins; those for files are within 5 %."""
    member = Member(space, Board.load("stm32f446re"), Budget())
    ratios = []
    for choice in choices:
        sample = Gates(space.decisions).one_hot(choice)
        smooth, exact = expected(space, sample, target=CMSIS_NN), member.costs(choice)
        assert float(smooth.flash) == pytest.approx(exact.flash_bytes, rel=0.05)
        ratios.append(exact.arena_bytes / float(smooth.sram))
    return ratios
