"""Strategies by name. A new one is a class in its own file, its settings, and a line here."""

from collections.abc import Callable
from importlib import import_module

from micronas.errors import ConfigError
from micronas.nas.settings import own_strategy
from micronas.nas.strategies.base import Context, Strategy

_STRATEGIES = {
    "auto": "auto:chosen",
    "dnas": "dnas:Dnas",
    "evolution": "halving:Evolution",
    "halving": "halving:Halving",
    "random": "halving:Random",
    "ranked": "ranked:Ranked",
    "single_stage": "single_stage:SingleStage",
}


def strategy(context: Context) -> Strategy:
    """Return the strategy that the settings name.

    Raises
    ------
    ConfigError
        If a user's own strategy cannot be imported, or the problem does not suit the strategy.
    """
    name = context.settings.strategy
    try:
        made: Callable[[Context], Strategy] = _shipped(name) or own_strategy(name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return made(context)


def _shipped(name: str) -> Callable[[Context], Strategy] | None:
    if name not in _STRATEGIES:
        return None
    module, _, found = _STRATEGIES[name].partition(":")
    loaded: Callable[[Context], Strategy] = getattr(
        import_module(f"micronas.nas.strategies.{module}"), found
    )
    return loaded
