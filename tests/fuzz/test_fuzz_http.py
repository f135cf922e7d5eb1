"""A short turn of the fuzzer in the suite; `make fuzz` takes longer ones."""

import pytest

from tests.fuzz.http import run


@pytest.mark.parametrize("seconds", [4, pytest.param(120, marks=pytest.mark.slow)])
def test_http_that_is_nearly_right(seconds: float) -> None:
    # the known attacks have tests of their own
    run(seconds, seed=1, known=seconds > 60)
