import numpy as np

from micronas.router.labels import propagate
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
