"""Strategies by name; a new one is a class in a file of its own and a line here."""

from micronas.settings import nearest

STRATEGIES: dict[str, str] = {
    "dnas": "micronas.nas.strategies.dnas:Dnas",
    "evolution": "micronas.nas.strategies.evolution:Evolution",
    "halving": "micronas.nas.strategies.halving:Halving",
    "ranked": "micronas.nas.strategies.ranked:Ranked",
}
"""Module and class of each: imported when one is used, as settings are read without torch."""


def check_name(name: str) -> str:
    """Return the name of a strategy, or ``auto``; ValueError names the nearest for any other."""
    if name != "auto" and name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; {nearest(name, ('auto', *STRATEGIES))}")
    return name
