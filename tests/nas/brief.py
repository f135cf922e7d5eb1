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
    "champions": 1,
}


def brief(strategy: str, **settings: Any) -> StrategySettings:
    """Return settings of a strategy: few steps and networks, and of those given what it has."""
    kind = SHIPPED[strategy]
    shared = {"epochs": 24} if strategy == "single_stage" else {}
    known = {**_BRIEF, **shared, **settings}
    return kind.model_validate({name: known[name] for name in known.keys() & kind.model_fields})
