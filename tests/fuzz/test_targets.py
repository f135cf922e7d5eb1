"""Every fuzzer for a moment; `make fuzz SECONDS=600` runs them for long."""

from importlib import import_module

import pytest

from tests.fuzz.__main__ import TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_a_fuzzer_holds_for_a_moment(target: str) -> None:
    import_module(f"tests.fuzz.{target}").run(2.0, 1)
