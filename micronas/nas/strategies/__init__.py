"""Strategies by name."""

from importlib import import_module
from typing import TYPE_CHECKING

from micronas.errors import ConfigError
from micronas.nas.strategies.registry import STRATEGIES as STRATEGIES
from micronas.nas.strategies.registry import check_name

if TYPE_CHECKING:
    from micronas.nas.strategies.base import Strategy


def strategy(name: str) -> "type[Strategy]":
    """Return the class of a strategy; ConfigError if there is none of that name."""
    try:
        check_name(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    module, _, found = STRATEGIES[name].partition(":")
    loaded: type[Strategy] = getattr(import_module(module), found)
    return loaded
