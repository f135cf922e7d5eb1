"""Whole random networks over every kind of operator: bytes, head and arena as TFLM has them."""

from typing import get_args

import pytest

from micronas.graph.ir import Kind
from testing.networks import Agreement, agreement


def check(found: Agreement) -> None:
    assert (found.mismatches, found.wrong_heads) == (0, 0)
    assert found.worst_total <= 32
    assert found.kinds == set(get_args(Kind))  # all of them occur, or agreement says little


def test_150_networks_agree_with_tflm() -> None:
    check(agreement(range(150)))


@pytest.mark.slow
def test_3000_networks_agree_with_tflm() -> None:
    check(agreement(range(1000, 4000)))
