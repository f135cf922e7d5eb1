"""Prompts of three kinds and experts that are each good at some, for tests of the router."""

import random

import numpy as np

from micronas.router.experts import Expert
from micronas.router.scores import ScoreTable

EXPERTS = (
    Expert(name="small", active=1e9),
    Expert(name="reckoner", active=3e9, total=5e9),
    Expert(name="large", active=30e9),
)
SKILLS = {"sums": (0.3, 0.9, 0.8), "words": (0.7, 0.2, 0.75), "code": (0.1, 0.3, 0.9)}
_NOUNS = ("anchor", "basket", "candle", "forest", "garden", "island", "jacket", "kettle")


def prompt(kind: str, rng: random.Random) -> str:
    """One prompt; two of a kind hardly ever are the same."""
    numbers = [rng.randint(10, 9999) for _ in range(3)]
    nouns = rng.sample(_NOUNS, 3)
    if kind == "sums":
        return f"Add {numbers[0]} to {numbers[1]} and take {numbers[2]} away from the sum"
    if kind == "words":
        return f"Spell backwards the words {' and '.join(nouns)} for reader {numbers[0]}"
    return f"def {nouns[0]}_{numbers[0]}({nouns[1]}):\n    return {nouns[2]}[{numbers[1]}]\n"


def table(count: int, *, seed: int = 0, labelled: float = 1.0) -> ScoreTable:
    """Scores of 0 and 1 on `count` prompts, a share of which has its category."""
    rng = random.Random(seed)
    kinds = {}
    while len(kinds) < count:
        kind = rng.choice(list(SKILLS))
        kinds[prompt(kind, rng)] = kind
    scores = [[float(rng.random() < skill) for skill in SKILLS[kind]] for kind in kinds.values()]
    return ScoreTable(
        prompts=tuple(kinds),
        experts=tuple(expert.name for expert in EXPERTS),
        scores=np.array(scores),
        categories=tuple(kind if rng.random() < labelled else "" for kind in kinds.values()),
    )
