"""A small turn of `benchmarks/router_crowd.py`."""

from pathlib import Path

from testing.crowd import FEW_TOKENS, FEW_USD, crowd


def test_streams_that_fail_or_are_left_are_whole_and_paid_within_limits(tmp_path: Path) -> None:
    found = crowd(tmp_path, 30, 3.0, limit=300.0)
    assert found.wrong == []
    assert found.ended["left"] > 5
    assert found.ended["limited"] > 0
    # what an upstream sends before it sees that nobody reads is paid for by nobody
    assert abs(found.error) < 0.1
    assert max(found.excess.values()) <= 1
    assert found.booked[FEW_TOKENS] > 0
    assert found.booked[FEW_USD] > 0
