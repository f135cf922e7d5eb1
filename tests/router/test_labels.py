import numpy as np
import pytest

from micronas.router.labels import kmeans, propagate
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


def test_clusters_are_those_of_blobs() -> None:
    vectors, truth = blobs(200, spread=0.1)
    found = kmeans(vectors, 3)
    assert len({*zip(found.tolist(), truth.tolist(), strict=True)}) == 3
    assert np.array_equal(found, kmeans(vectors, 3))
    assert np.array_equal(np.unique(found), np.arange(3))


@pytest.mark.parametrize("clusters", [1, 2, 5])
def test_no_more_clusters_than_different_prompts(clusters: int) -> None:
    found = kmeans(np.repeat(np.eye(4)[:2], 5, axis=0), clusters)
    assert found.max() + 1 == min(clusters, 2)
