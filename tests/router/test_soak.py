"""A short turn of `benchmarks/router_soak.py`, whose figures of time need a longer one."""

from pathlib import Path

import pytest

from testing.soak import KEY, soak


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_nothing_is_lost_or_doubled_among_hostile_requests(count: int, tmp_path: Path) -> None:
    found = soak(tmp_path, count, at_once=32)
    assert found.wrong == []
    ends = found.ended
    assert ends["good", "answered"] == count // 2 + 2 * max(count // 20, 20)
    assert sum(ends.values()) == count + 2 * max(count // 20, 20)
    for kind in ("slow", "cut", "huge", "odd", "hostile"):
        assert sum(times for (each, _), times in ends.items() if each == kind) == count // 10
    assert "Traceback" not in found.log
    assert KEY not in found.log
    assert max(found.memory) < 2 * found.memory[0]
