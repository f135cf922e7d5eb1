"""Whole random networks over every kind of operator: bytes, head and arena as TFLM has them."""

from typing import get_args

from micronas.graph.ir import Kind
from testing.networks import agreement
from tests.cases import seeds


@seeds(range(100), range(1000, 4000))
def test_networks_agree_with_tflm(seeds: range) -> None:
    found = agreement(seeds)
    assert (found.mismatches, found.wrong_heads) == (0, 0)
    assert found.worst_total <= 32
    assert found.kinds == set(get_args(Kind))  # all of them occur, or agreement says little
