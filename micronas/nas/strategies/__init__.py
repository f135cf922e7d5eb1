"""Strategies by name; a new one is a class in a file of its own and a line here."""

from importlib import import_module
from typing import TYPE_CHECKING

from micronas.errors import ConfigError
from micronas.settings import nearest

if TYPE_CHECKING:
    from micronas.nas.strategies.base import Strategy

STRATEGIES: dict[str, str] = {
    "dnas": "micronas.nas.strategies.dnas:Dnas",
    "evolution": "micronas.nas.strategies.evolution:Evolution",
    "halving": "micronas.nas.strategies.halving:Halving",
}
"""Module and class of each: imported when one is used, as settings are read without torch."""


def check_name(name: str) -> str:
    """Return the name of a strategy, or ``auto``; ValueError names the nearest for any other."""
    if name != "auto" and name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; {nearest(name, ('auto', *STRATEGIES))}")
    return name


def strategy(name: str) -> "type[Strategy]":
    """Return the class of a strategy; ConfigError if there is none of that name."""
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    module, _, found = STRATEGIES[name].partition(":")
    loaded: type[Strategy] = getattr(import_module(module), found)
    return loaded
