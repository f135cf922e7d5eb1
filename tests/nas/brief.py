"""Settings of every strategy for searches of seconds."""

from typing import Any

from micronas.nas.settings import SHIPPED, StrategySettings

_BRIEF = {
    "steps": 3,
    "warmup": 3,
    "batch_size": 8,
    "candidates": 3,
    "finalists": 1,
    "draws": 2,
    "generations": 2,
}


def brief(strategy: str, **settings: Any) -> StrategySettings:
    """Return settings of a strategy: few steps, few networks, and what is given."""
    kind = SHIPPED[strategy]
    few = {name: value for name, value in _BRIEF.items() if name in kind.model_fields}
    return kind.model_validate({**few, **settings})
