"""Amounts of work, in which the instructions of a function are linear."""

from dataclasses import dataclass

Terms = dict[str, float]


@dataclass(frozen=True)
class Done:
    """Work of one function, in all its runs."""

    function: str
    terms: Terms
