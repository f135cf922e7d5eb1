"""Statistics of pictures by hand, and a rival that they make."""

from pathlib import Path

import pytest
import torch

from micronas.evaluation.plain import plain_rivals
from micronas.objectives.base import Answers, Judged
from micronas.tasks.images.load import load
from micronas.tasks.images.settings import ImageSettings
from micronas.tasks.images.statistics import statistics
from micronas.tasks.images.synth import sample_grounds


@pytest.mark.parametrize(("slope", "bins"), [((0, 1), {0}), ((2, 0), {4}), ((1, 1), {2})])
def test_a_slope_goes_in_one_direction(slope: tuple[int, int], bins: set[int]) -> None:
    at = torch.arange(16.0)
    picture = slope[0] * at[:, None] + slope[1] * at
    found = statistics(picture.expand(1, 3, 16, 16))[0]
    copy, directions = found[:192].reshape(3, 8, 8), found[192:].reshape(8, 4, 4)
    # parts of 2x2: half a step from the first of them to their middle
    assert copy[1, 0].tolist() == [slope[0] / 2 + slope[1] * (2 * x + 0.5) for x in range(8)]
    assert {*directions.sum((1, 2)).nonzero()[:, 0].tolist()} == bins
    assert directions.square().sum().item() == pytest.approx(1)


@pytest.mark.long
def test_pictures_have_a_plain_rival(tmp_path: Path) -> None:
    data = load(ImageSettings(path=sample_grounds(tmp_path / "grounds"), cache="off"))
    split = data.test
    nothing = torch.zeros(len(split.labels), len(data.classes))
    judged = Judged(
        split, data.classes, "test", Answers(nothing, nothing.to(torch.int8).numpy()), {}
    )
    found = plain_rivals(data, judged)
    assert found["plain"]["name"] == "linear model of 192 statistics"
    for rival in found.values():
        assert rival["score"] > 0.6, "of three grounds"
        assert rival["ahead"] < 0
