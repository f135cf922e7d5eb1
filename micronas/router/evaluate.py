"""Score against parameters over a sweep of budgets, all methods on the same splits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micronas.arrays import Floats
from micronas.errors import BudgetError, DataError
from micronas.language.intervals import intervals
from micronas.router.baselines import BASELINES, Split
from micronas.router.fit import FitSettings, fit_step1
from micronas.router.mapping import ParameterBudget, parameters
from micronas.router.plan import make_plan
from micronas.router.scores import ScoreTable, check_apart

_Say = Callable[[str], None]
_Part = tuple[NDArray[np.int64], NDArray[np.int64]]
OURS = "two steps"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of every method on test prompts."""

    budgets: tuple[float, ...]
    """Limits on the active parameters, on average."""
    scores: Mapping[str, Floats]
    active: Mapping[str, Floats]
    """Score and active parameters of each prompt by method [budgets, splits, prompts], NaN where
    the prompt was not in the test part."""

    def rows(self, *, rounds: int = 2000) -> list[dict[str, Any]]:
        """Return one row per budget and method, for JSON.

        ``difference`` is the score of `OURS` minus that of the row's method, on the same prompts,
        with an interval from a bootstrap over prompts.
        """
        return [
            {
                "budget": budget,
                "method": method,
                "score": _mean(self.scores[method][place]),
                "active": _mean(self.active[method][place]),
                **_compared(self.scores[OURS][place] - self.scores[method][place], rounds),
            }
            for place, budget in enumerate(self.budgets)
            for method in self.scores
        ]


def evaluate(
    table: ScoreTable,
    vectors: Floats,
    *,
    active: Floats,
    total: Floats,
    budgets: Sequence[float],
    parts: Sequence[_Part],
    settings: FitSettings | None = None,
    reworded: Floats | None = None,
    say: _Say = lambda line: None,
) -> Evaluation:
    """Compare the router with its baselines on the same parts of a table.

    Vectors are those of all prompts' cores [cores, prompts, dimensions], of which baselines use the
    first alone, and of reworded prompts [copies, prompts, dimensions], for the fit of the two
    steps; `active` and `total` are the parameters of the table's experts [experts]. Budgets limit
    the active parameters, on average. `parts` are the indices of the fitting prompts and of the
    test prompts of each split, and `say` is called with one line per split.

    Raises DataError if a prompt is in both parts of a split, or there are too few, and BudgetError
    if a budget is below the smallest expert.
    """
    smallest = float(active.min())
    for budget in budgets:
        if budget < smallest:
            raise BudgetError(
                f"a budget must allow the smallest expert, but {parameters(budget)} is below "
                f"{parameters(smallest)}; raise it"
            )
    wanted = settings or FitSettings()
    methods = (OURS, *BASELINES)
    shape = (len(budgets), len(parts), len(table))
    scores = {method: np.full(shape, np.nan) for method in methods}
    spent = {method: np.full(shape, np.nan) for method in methods}
    for number, (part, test) in enumerate(parts):
        known, asked = table.rows(part), table.rows(test)
        check_apart(known, asked)
        split = Split(vectors[0, part], known.scores, vectors[0, test], asked.scores, active, total)
        found = fit_step1(
            vectors[:, part],
            known,
            active=active,
            total=total,
            settings=wanted,
            reworded=None if reworded is None else reworded[:, part],
        )
        # after the fit, which refuses too few prompts
        shares = {name: baseline(split, budgets) for name, baseline in BASELINES.items()}
        category = found.model.classify(vectors[:, test]).category
        plans = [make_plan(found.evidence, ParameterBudget(active=budget)) for budget in budgets]
        shares[OURS] = [np.eye(len(active))[plan.experts[category]] for plan in plans]
        for name, by_budget in shares.items():
            for place, share in enumerate(by_budget):
                scores[name][place, number, test] = (share * split.test_scores).sum(axis=1)
                spent[name][place, number, test] = share @ active
        say(f"split {number + 1} of {len(parts)}")
    return Evaluation(tuple(budgets), scores, spent)


def random_parts(size: int, splits: int, *, seed: int = 0) -> list[_Part]:
    """Return random splits of `size` prompts, 60 % to fit; DataError if a part would be empty."""
    cut = int(0.6 * size)
    if not 0 < cut < size:
        raise DataError(f"a split needs prompts in both parts, but there are {size}; add more")
    orders = [np.random.default_rng([seed, number]).permutation(size) for number in range(splits)]
    return [(order[:cut], order[cut:]) for order in orders]


def paired_interval(
    differences: Floats, *, rounds: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the mean of differences [splits, prompts] and its 95 % interval over prompts.

    Untested prompts have NaN. A prompt drawn by the bootstrap adds its differences in all splits
    that tested on it, so that overlapping splits are no extra evidence. The interval does not cover
    the choice of fitting prompts, which would give other routers.
    """
    tested = np.isfinite(differences)
    used = tested.any(axis=0)
    values, tested = np.nan_to_num(differences[:, used]), tested[:, used]
    size = values.shape[1]
    rng = np.random.default_rng(seed)
    samples = np.empty(rounds)
    for number in range(rounds):
        times = np.bincount(rng.integers(0, size, size), minlength=size).astype(np.float64)
        samples[number] = ((values @ times) / np.maximum(tested @ times, 1)).mean()
    lower, upper = intervals(samples)
    return _mean(differences), float(lower), float(upper)


def _compared(differences: Floats, rounds: int) -> dict[str, float]:
    found = paired_interval(differences, rounds=rounds)
    return dict(zip(("difference", "low", "high"), found, strict=True))


def _mean(values: Floats) -> float:
    """Return the mean over splits of the means over prompts."""
    return float(np.nanmean(values, axis=1).mean())
