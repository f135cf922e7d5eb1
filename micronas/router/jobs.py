"""Jobs of the commands on files: fit from a YAML, evaluate, and print tables."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from micronas.progress import Progress, nobody
from micronas.router.embedding import embedded_cores, embedder_of
from micronas.router.evaluate import OURS, evaluate, random_parts
from micronas.router.fit import BudgetSettings, RouterSettings, embedded_rewordings, fit
from micronas.router.mapping import ParameterBudget, parameters, solve
from micronas.router.policy import Router
from micronas.router.scores import ScoreTable, joined, read_scores
from micronas.settings import read_settings, validate_settings
from micronas.text import pairs, table


def budget_of(active: str | None, total: str | None) -> ParameterBudget:
    """Return a budget from texts such as ``12B``.

    Raises ConfigError if a text is not a number of parameters.
    """
    found = validate_settings({"active": active, "total": total}, BudgetSettings, source="budget")
    return ParameterBudget(found.active, found.total)


def fit_file(config: Path, overrides: Iterable[str] = (), *, progress: Progress = nobody) -> Router:
    """Fit the router of a YAML; see `micronas.router.fit.fit` for errors."""
    settings, scores = _read(config, overrides)
    return fit(
        scores,
        settings.experts,
        settings=settings,
        budget=ParameterBudget(settings.budget.active, settings.budget.total),
        cache=config.parent / settings.vectors,
        progress=progress,
    )


def evaluate_file(
    config: Path,
    overrides: Iterable[str] = (),
    *,
    sweep: Sequence[str],
    test: Path | None = None,
    splits: int = 10,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Evaluate the router of a YAML at budgets such as ``12B``; one row per budget and method.

    It is tested on the table of scores `test`; by default the YAML's table is split at random.
    Raises ConfigError if a budget is not a number of parameters, or the YAML is wrong; DataError if
    the table of scores is wrong; BudgetError if a budget is below the smallest expert.
    """
    settings, scores = _read(config, overrides)
    if test is None:
        parts = random_parts(len(scores), splits, seed=seed)
    else:
        tested = _scores_in(test, settings)
        parts = [(np.arange(len(scores)), len(scores) + np.arange(len(tested)))]
        scores = joined(scores, tested)
    embed = embedder_of(settings.embedding, config.parent / settings.vectors)
    limits = [budget_of(text, None).active or 0.0 for text in sweep]
    done = evaluate(
        scores,
        embedded_cores(embed, scores.prompts),
        active=np.array([expert.active for expert in settings.experts]),
        total=np.array([expert.total for expert in settings.experts]),
        budgets=limits,
        settings=settings,
        parts=parts,
        reworded=embedded_rewordings(embed, scores.prompts, settings.rewordings),
        say=say,
    )
    return done.rows()


def evaluation_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return one line per budget and method; the difference is two steps minus the method."""
    lines = []
    for row in rows:
        ours = row["method"] == OURS
        lines.append(
            [
                parameters(row["budget"]),
                row["method"],
                f"{row['score']:.4f}",
                parameters(row["active"]),
                "" if ours else f"{row['difference']:+.4f}",
                "" if ours else f"{row['low']:+.4f} to {row['high']:+.4f}",
            ]
        )
    return table(["budget", "method", "score", "active", f"{OURS} minus it", "95 %"], lines)


def router_table(router: Router) -> str:
    """Return a table of the mapping, its use of the budget, and its figures on held-out prompts."""
    rows = [
        [
            row["category"],
            f"{100 * row['share']:.1f} %",
            row["expert"],
            parameters(row["active"]),
            f"{row['expected_score']:.3f}",
        ]
        for row in router.mapping()
    ]
    said = router.summary()
    held = said["cross_fitted"]
    single = solve(replace(router.evidence, merged=True).problem(), router.plan.budget)
    facts = {
        "expected score": f"{said['expected_score']:.4f}",
        "cross-fitted score": f"{held['score']:.4f}",
        "best one expert": router.experts[single[0]],
        "minus that one": "{gain:+.4f} ({low:+.4f} to {high:+.4f})".format(**held),
        "active on average": parameters(said["active"]),
        "total": parameters(said["total"]),
        **{name.replace("_", " "): f"{value:.4g}" for name, value in router.validation.items()},
    }
    if router.evidence.merged:
        facts["note"] = "one expert for all categories: held-out prompts show no gain from more"
    elif held["low"] <= 0:
        more = f"; {held['enough']:.0f} prompts would show this gain" if held["enough"] else ""
        facts["note"] = f"held-out prompts do not show that routing pays{more}"
    header = ["category", "share", "expert", "active", "expected score"]
    return f"{table(header, rows)}\n\n{pairs(facts)}"


def _read(config: Path, overrides: Iterable[str]) -> tuple[RouterSettings, ScoreTable]:
    settings = read_settings(config, RouterSettings, overrides)
    return settings, _scores_in(config.parent / settings.scores, settings)


def _scores_in(path: Path, settings: RouterSettings) -> ScoreTable:
    names = [expert.name for expert in settings.experts]
    return read_scores(path, category=settings.category, experts=names).of_experts(names)
