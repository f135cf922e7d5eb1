"""Battles that are drawn."""

import numpy as np

from micronas.judge.battles import Battles


def random_battles(models: int, rows: int, seed: int) -> Battles:
    """Connected battles of models that do not differ much."""
    generator = np.random.default_rng(seed)
    scores = generator.normal(0, 0.7, models)
    left = generator.integers(0, models, rows)
    right = (left + generator.integers(1, models, rows)) % models
    # everybody wins and loses once in a circle, so that ratings exist
    left[:models], right[:models] = np.arange(models), np.roll(np.arange(models), 1)
    outcome = (generator.random(rows) < 1 / (1 + np.exp(scores[right] - scores[left]))) * 1.0
    outcome[generator.random(rows) < 0.2] = 0.5
    outcome[:models] = 1
    names = [f"m{model}" for model in range(models)]
    return Battles.of_names(
        [names[each] for each in left],
        [names[each] for each in right],
        outcome,
        prompt=[f"p{each}" for each in generator.integers(0, 40, rows)],
        weight=generator.choice([1.0, 3.0], rows),
    )
