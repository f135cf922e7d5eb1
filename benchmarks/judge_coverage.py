"""Simulate how often a 95 % interval covers the truth: prompts drawn against battles drawn.

    python -m benchmarks.judge_coverage [SIMULATIONS] [ROUNDS]

A model meets a baseline on 500 prompts in both orders. What a prompt does to the model (normal,
on the logit scale) is shared by its two games; the correlation of the two scores, near 0.4, is in
the range of real judges. Verdicts are five-way, and a clear win (1 in the 5-way scale) weighs 3.
Intervals of the win rate: prompts drawn; battles drawn with their weight; and battle rows drawn
after clear wins were repeated three times, as Arena-Hard's scripts do. Seeded.
"""

import sys

import numpy as np
from scipy.special import expit

from micronas.judge.rating import bradley_terry
from micronas.text import table
from testing.coverage import PROMPTS, battles_of, coverage, games


def main(simulations: int = 300, rounds: int = 400) -> None:
    rows = []
    for strength in (0.0, 1.2, 2.4):
        generator = np.random.default_rng(1)
        outcome, weight = games(strength, 100_000, generator)
        signed = (outcome - 0.5) * weight
        correlation = np.corrcoef(signed[:, 0], signed[:, 1])[0, 1]
        rate = bradley_terry(battles_of(outcome[:2000], weight[:2000]), baseline="baseline")
        for name, (covered, width) in coverage(strength, simulations, rounds).items():
            rows.append(
                [
                    f"{expit(rate[1]):.2f}",
                    f"{correlation:.2f}",
                    name,
                    f"{100 * covered:.1f} %",
                    f"{100 * width:.2f}",
                ]
            )
    print(f"{simulations} simulations, {PROMPTS} prompts in both orders, {rounds} rounds")
    print(table(["win rate", "correlation", "drawn", "95 % interval covers", "points wide"], rows))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
