"""Random networks of the three spaces, from gates to TFLM: every number agrees."""

import pytest

from testing.exactness import SPACES, Exactness, measure


@pytest.mark.parametrize(
    ("name", "networks"),
    [
        pytest.param(each, 1, marks=[pytest.mark.long] * (each in ("kws_open", "images_open")))
        for each in SPACES
    ]
    + [pytest.param(each, 200, marks=pytest.mark.slow) for each in SPACES],
)
def test_networks_of_each_space(name: str, networks: int) -> None:
    found = measure(name, networks, seed=int(networks > 1))
    assert found.bytes > 0
    assert found == Exactness(networks, found.bytes, worst_total=found.worst_total)
    assert found.worst_total <= 32
