"""Would a second step pay that checks the cheap answer and sends the prompt on where it fails?

    python -m benchmarks.router_escalation SCORES MODELS

SCORES and MODELS as in router_heldout. The table holds scores and no answers, so the check is
drawn: it passes right answers, and sends on wrong ones, with a chance of `accuracy`. It costs a
call of the smallest model, is paid beside the cheap call, and a prompt that is sent on pays for the
second one too. Each category gets one model, or a cheap one, the check and a dearer one, whichever
scores best within the budget, by the fitting prompts; both ways are chosen by the same price. Five
folds; the difference is escalation less routing on the same prompts, with a bootstrap over prompts.
Dollars: a million tokens cost .20 up to 8 B, .30 up to 21 B and .90 above, an assumption by size,
and every call has as many tokens.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from benchmarks.router_heldout import cores_of, random_folds, read, step1_of
from micronas.router.evaluate import paired_interval
from micronas.router.utility import utilities
from micronas.text import table
from testing.usage import given

Floats = NDArray[np.float64]
BUDGETS = {"B": (8.2, 12.0, 31.0), "$": (0.25, 0.35, 0.55)}
ACCURACIES = (0.6, 0.7, 0.8, 0.9, 1.0)
_HALVINGS = 60


def dollars(active: Floats) -> Floats:
    """Return US dollars a million tokens of models of so many parameters [models]."""
    return np.select([active <= 8e9, active <= 21e9], [0.20, 0.30], 0.90)


def ways(scores: Floats, cost: Floats, accuracy: float) -> tuple[Floats, Floats]:
    """Return score and cost [prompts, ways] of each model alone, then of each pair with a check."""
    alone = np.broadcast_to(cost, scores.shape)
    low, high = np.nonzero(cost[:, None] < cost[None, :])
    passes = accuracy * scores[:, low] + (1 - accuracy) * (1 - scores[:, low])
    # a score is a chance to be right: what passes is right as often as Bayes says
    pairs = accuracy * scores[:, low] + (1 - passes) * scores[:, high]
    spent = cost[low] + cost.min() + (1 - passes) * cost[high]
    return np.hstack([scores, pairs]), np.hstack([alone, spent])


def chosen(values: Floats, costs: Floats, weights: Floats, budget: float) -> NDArray[np.int64]:
    """Return the way of each category: the best score less a price that keeps the budget."""

    def at(price: float) -> NDArray[np.int64]:
        return np.asarray((values - price * costs).argmax(axis=1), np.int64)

    def spends(found: NDArray[np.int64]) -> float:
        return float(weights @ costs[np.arange(len(found)), found])

    if spends(at(0.0)) <= budget:
        return at(0.0)
    low, high = 0.0, 2 / float(np.diff(np.unique(costs.round(12))).min())
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spends(at(middle)) <= budget else (middle, high)
    return at(high)


def main(scores: str, models: str) -> None:
    judged, active = read(scores, models)
    vectors, size = cores_of(judged, "wordllama"), len(judged)
    parts = []
    for part, test in random_folds(size, 5):
        found = step1_of(vectors[:, part], judged.rows(part), active, None)
        asked = found.model.classify(vectors[:, test]).category
        parts.append((part, test, found.evidence.category, asked, found.evidence.categories))
        print("fold", len(parts), "of 5", file=sys.stderr, flush=True)
    rows = []
    for unit, cost in (("B", active / 1e9), ("$", dollars(active))):
        for budget in BUDGETS[unit]:
            kept: dict[float, tuple[Floats, Floats]] = {}
            for accuracy in (0.0, *ACCURACIES):
                got, spent = np.full((1, size), np.nan), np.full(size, np.nan)
                for part, test, category, asked, count in parts:
                    values, costs = ways(judged.scores, cost, accuracy)
                    if not accuracy:
                        values, costs = values[:, : len(cost)], costs[:, : len(cost)]
                    weights = np.bincount(category, minlength=count) / len(category)
                    means = utilities(values[part], category, count)
                    dear = np.array(
                        [
                            costs[part][category == each].mean(axis=0)
                            if (category == each).any()
                            else costs[part].mean(axis=0)
                            for each in range(count)
                        ]
                    )
                    way = chosen(means, dear, weights, budget)[asked]
                    got[0, test] = values[test, way]
                    spent[test] = costs[test, way]
                kept[accuracy] = got, spent
            routed, used = kept[0.0]
            cells = [f"{budget:.3g} {unit}", f"{routed.mean():.4f}", f"{used.mean():.3g}"]
            for accuracy in ACCURACIES:
                got, spent = kept[accuracy]
                mean, low, high = paired_interval(got - routed, rounds=1000)
                cells.append(f"{mean:+.4f} ({low:+.4f} to {high:+.4f}) at {spent.mean():.3g}")
            rows.append(cells)
    header = ["budget", "routing", "used", *(f"check right in {each:.0%}" for each in ACCURACIES)]
    print(table(header, rows))


if __name__ == "__main__":
    main(*given(__doc__, 2))
