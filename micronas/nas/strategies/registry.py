"""Strategies by name. A new one is a class in its own file, its settings, and a line here."""

from collections.abc import Callable
from pkgutil import resolve_name

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

    Raises ConfigError if a user's own cannot be imported, or the problem does not suit it.
    """
    name = context.settings.strategy
    try:
        made: Callable[[Context], Strategy] = (
            resolve_name(f"micronas.nas.strategies.{_STRATEGIES[name]}")
            if name in _STRATEGIES
            else own_strategy(name)
        )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return made(context)
