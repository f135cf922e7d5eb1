"""A disk that fails at one call: afterwards there is the state before or the one after."""

from pathlib import Path

import pytest

from tests.faults.layer import tried
from tests.faults.scenarios import SCENARIOS


@pytest.mark.parametrize(
    "every", [pytest.param(61, marks=pytest.mark.long), pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_fault_leaves_the_state_before_or_after(tmp_path: Path, every: int) -> None:
    found = tried([*SCENARIOS], tmp_path, every=every)
    for each in found:
        print(f"{each.scenario:20}{each.calls:5} calls{each.cases:6} cases")
        assert each.calls > 0, each
    wrong = [line for each in found for line in each.wrong]
    assert not wrong, "\n".join(wrong)
    print(f"{sum(each.calls for each in found)} calls, {sum(each.cases for each in found)} cases")
