"""Fuzzers for a moment; `make fuzz SECONDS=600` runs them for long."""

from importlib import import_module

import pytest

from tests.fuzz.__main__ import TARGETS


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "seconds", [pytest.param(1, marks=pytest.mark.long), pytest.param(120, marks=pytest.mark.slow)]
)
def test_a_fuzzer_holds(target: str, seconds: float) -> None:
    import_module(f"tests.fuzz.{target}").run(seconds, 1)
