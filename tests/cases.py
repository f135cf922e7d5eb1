"""Cases of a test of which the first, or few, stand for the others."""

from collections.abc import Iterable

import pytest


def first(
    names: str | tuple[str, ...], cases: Iterable[object], count: int, **more: object
) -> pytest.MarkDecorator:
    """As ``pytest.mark.parametrize``, with all but the first `count` cases for `make long`."""
    every = list(cases)
    rest = (each if isinstance(names, tuple) else (each,) for each in every[count:])
    others = [pytest.param(*each, marks=pytest.mark.long) for each in rest]  # type: ignore[misc]
    return pytest.mark.parametrize(names, [*every[:count], *others], **more)  # type: ignore[arg-type]


def seeds(few: range, many: range) -> pytest.MarkDecorator:
    """Draws as an argument `seeds`: few, and many more for `make slow`."""
    more = pytest.param(many, marks=pytest.mark.slow)
    return pytest.mark.parametrize("seeds", [few, more], ids=lambda drawn: str(len(drawn)))
