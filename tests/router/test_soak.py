"""A server among hostile clients, and a small turn of `benchmarks/router_crowd.py`."""

from pathlib import Path

import pytest

from testing.crowd import FEW_TOKENS, FEW_USD, crowd
from testing.soak import KEY, soak


@pytest.mark.parametrize(
    "count", [pytest.param(100, marks=pytest.mark.long), pytest.param(2000, marks=pytest.mark.slow)]
)
def test_nothing_is_lost_or_doubled_among_hostile_requests(count: int, tmp_path: Path) -> None:
    found = soak(tmp_path, count, at_once=32)
    assert found.wrong == []
    ends = found.ended
    assert ends["good", "answered"] == count // 2
    assert sum(ends.values()) == count
    for kind in ("slow", "cut", "huge", "odd", "hostile"):
        assert sum(times for (each, _), times in ends.items() if each == kind) == count // 10
    assert "Traceback" not in found.log
    assert KEY not in found.log
    assert max(found.memory) < 2 * found.memory[0]
    if count >= 2000:
        # a sample holds the floods that are under way; growth would show in the highest ones
        assert max(found.memory[5:]) < 1.25 * max(found.memory[:5])


@pytest.mark.long
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
