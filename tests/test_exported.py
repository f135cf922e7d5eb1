"""Random networks of the three spaces, from gates to TFLM: every number agrees."""

import pytest

from testing.exactness import SPACES, Exactness, measure


def check(name: str, networks: int, seed: int) -> None:
    found = measure(name, networks, seed)
    assert found.bytes > 0
    assert found == Exactness(networks, found.bytes, worst_total=found.worst_total)
    assert found.worst_total <= 32


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[pytest.mark.long] * (each in ("kws_open", "images_open")))
        for each in SPACES
    ],
)
def test_two_networks_of_each_space(name: str) -> None:
    check(name, 2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_two_hundred_networks_of_each_space(name: str) -> None:
    check(name, 200, seed=1)
