import numpy as np
import pytest

from micronas.router.category import CategorySettings
from micronas.router.fit import FitSettings, fit_step1
from micronas.router.labels import propagate
from micronas.router.scores import ScoreTable
from tests.router.test_category import blobs


def test_labels_spread_to_prompts_like_them() -> None:
    vectors, truth = blobs(300, spread=0.15)
    labels = np.where(np.arange(300) < 24, truth, -1)
    found = propagate(vectors, labels, categories=3, precision=0.9)
    assert np.array_equal(found[:24], truth[:24])
    named = found >= 0
    assert named.mean() > 0.7
    assert (found[named] == truth[named]).mean() > 0.97


def test_labels_do_not_spread_to_prompts_like_none() -> None:
    vectors, truth = blobs(40, spread=0.05)
    vectors = np.vstack([vectors, np.eye(8)[[7, 7, 7]]])
    labels = np.append(truth, [-1, -1, -1])
    assert propagate(vectors, labels, categories=3, precision=0.9)[40:].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("spread", [None, 0.9])
def test_a_fit_learns_from_spread_labels_where_it_is_asked_to(spread: float | None) -> None:
    """Labelled prompts hold a third category a third as often as all prompts do."""
    vectors, truth = blobs(300, spread=0.15)
    labelled = np.arange(300) < np.where(truth == 2, 30, 90)
    names = tuple("abc"[each] if known else "" for each, known in zip(truth, labelled, strict=True))
    prompts = tuple(map(str, range(300)))
    table = ScoreTable(prompts, ("x", "y"), np.random.default_rng(0).random((300, 2)), names)
    settings = FitSettings(categories=CategorySettings(spread=spread))
    sizes = {"active": np.ones(2), "total": np.ones(2)}
    share = fit_step1(vectors[None], table, **sizes, settings=settings).model.gaussians.shares[2]
    wanted = (truth[labelled] == 2).mean() if spread is None else (truth == 2).mean()
    assert share == pytest.approx(wanted, abs=0.03)
