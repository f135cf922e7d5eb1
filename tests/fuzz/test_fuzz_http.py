"""A short turn of the fuzzer in the suite; `make fuzz` takes longer ones."""

import pytest

from tests.fuzz.http import run


@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=pytest.mark.slow)])
def test_http_that_is_nearly_right(seconds: float) -> None:
    run(seconds, seed=1)
