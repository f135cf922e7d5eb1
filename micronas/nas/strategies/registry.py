"""Strategies by name. A new one is a class in its own file, its settings, and a line here."""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import Any

from micronas.errors import ConfigError
from micronas.nas.settings import own_strategy
from micronas.nas.strategies.base import Context, Plan, Strategy

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

    Raises ConfigError if a user's own cannot be imported or made, or the problem does not suit it.
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
    try:
        found: Any = made(context)
    except AttributeError as error:
        found = error.obj
        if not isinstance(found, Strategy) or hasattr(found, "found"):
            raise
    if not hasattr(found, "found"):
        raise ConfigError(
            f"a strategy of one's own must begin as every Strategy, but {name!r} lacks what that "
            "sets; let its __init__ call super().__init__(context) first"
        )
    chosen: Strategy = found
    return chosen


def planned(chosen: Strategy) -> Plan:
    """Return a strategy's plan; ConfigError if it is none."""
    plan: Any = chosen.plan()
    if not isinstance(plan, Plan):
        raise ConfigError(
            f"`plan` must return a Plan, but that of {chosen.name} returned {type(plan).__name__}; "
            "return Plan(networks, count, trainings, epochs)"
        )
    return plan
