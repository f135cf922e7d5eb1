"""Fit a router: vectors, categories, out-of-fold evidence, and a mapping for a budget."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.progress import Progress, nobody
from micronas.router.category import Categories, CategorySettings, Validation, fit_categories
from micronas.router.decision import GENERAL
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.experts import Expert, Experts, Parameters
from micronas.router.mapping import ParameterBudget
from micronas.router.plan import Evidence, choose, make_plan
from micronas.router.policy import Router
from micronas.router.rewordings import reworded as in_other_words
from micronas.router.scores import ScoreTable
from micronas.settings import Settings


class BudgetSettings(Settings):
    """Limits in parameters, such as 12B; by default none."""

    active: Parameters | None = None
    """Limit of active parameters, on average over prompts."""
    total: Parameters | None = None
    """Limit of the total parameters of all experts in use."""


class FitSettings(Settings):
    """Settings of a router's fit."""

    embedding: Embedding = Embedding()
    categories: CategorySettings = CategorySettings()
    rewordings: Annotated[int, Field(ge=0)] = 2
    """Number of reworded copies of each prompt that categories are also fitted on."""


class RouterSettings(FitSettings):
    """Settings in a router's YAML."""

    scores: Path
    """Table of scores: JSON lines, CSV, a judge run's SQLite, or a folder of results of
    LLMRouterBench or RouterArena. Paths are relative to the YAML."""
    category: str = "category"
    """Key or column of the category in the table."""
    experts: Experts
    budget: BudgetSettings = BudgetSettings()
    vectors: Path = Path("vectors.sqlite")
    """SQLite file for the vectors of ``multilingual`` or an endpoint."""


@dataclass(frozen=True, eq=False)
class Step1:
    """A fitted first step with its evidence."""

    model: Categories
    validation: Validation
    evidence: Evidence


def fit(
    table: ScoreTable,
    experts: Sequence[Expert],
    *,
    settings: FitSettings | None = None,
    budget: ParameterBudget | None = None,
    embedder: Callable[[Sequence[str]], Floats] | None = None,
    cache: Path | None = None,
    progress: Progress = nobody,
) -> Router:
    """Fit both steps on scored prompts.

    Parameters
    ----------
    table
        Scores of every expert on every fitting prompt.
    budget
        Budget of the mapping, by default none; `Router.map` makes another mapping.
    embedder
        Embedder in place of the settings' one; `Router.load` needs it again.
    cache
        SQLite file for the vectors of ``multilingual`` or an endpoint.
    progress
        Called before each embedding of the prompts, original or reworded, and around the fit.

    Raises
    ------
    DataError
        If an expert has no scores, or there are too few labelled prompts.
    BudgetError
        If no mapping is within the budget.
    """
    wanted = settings or FitSettings()
    embedding = wanted.embedding.resolved()
    embed = embedder or embedder_of(embedding, cache)
    names = tuple(expert.name for expert in experts)
    done = itertools.count()

    def embedded(prompts: Sequence[str]) -> Floats:
        progress("embedding", next(done), 1 + wanted.rewordings, {})
        return embed(prompts)

    vectors = embedded_cores(embed, table.prompts, whole=embedded(table.prompts))
    reworded = embedded_rewordings(embedded, table.prompts, wanted.rewordings)
    progress("categories", 0, 1, {})
    found = fit_step1(
        vectors,
        table.of_experts(names),
        active=np.array([expert.active for expert in experts]),
        total=np.array([expert.total for expert in experts]),
        settings=wanted,
        reworded=reworded,
    )
    progress("categories", 1, 1, {})
    return Router(
        embedding=embedding if embedder is None else None,
        embed=embed,
        categories=found.model,
        experts=names,
        evidence=found.evidence,
        plan=make_plan(found.evidence, budget or ParameterBudget()),
        validation=found.validation.summary,
    )


def embedded_rewordings(
    embed: Callable[[Sequence[str]], Floats], prompts: Sequence[str], copies: int
) -> Floats | None:
    """Return vectors [copies, prompts, dimensions] of reworded prompts; None without copies."""
    found = [embed(each) for each in in_other_words(prompts, copies)]
    return np.stack(found) if found else None


def fit_step1(
    vectors: Floats,
    table: ScoreTable,
    *,
    active: Floats,
    total: Floats,
    settings: FitSettings,
    reworded: Floats | None = None,
) -> Step1:
    """Fit categories on vectors [cores, prompts, dimensions]; merge them if they are of no use.

    `reworded` holds vectors of reworded prompts [copies, prompts, dimensions].
    """
    names = sorted(set(table.categories) - {"", GENERAL})
    if not names:
        raise DataError(
            "the table of scores must have categories, but has none; add them, or name their key "
            "or column as category"
        )
    place = {name: index for index, name in enumerate(names)}
    labels = np.array([place.get(name, -1) for name in table.categories], np.int64)
    model, validation = fit_categories(
        vectors, labels, names=tuple(names), settings=settings.categories, reworded=reworded
    )
    evidence = Evidence(
        category=validation.classified.category,
        categories=len(names) + 1,
        fold=validation.fold,
        scores=table.scores,
        active=active,
        total=total,
    )
    chosen = choose(evidence, replace(evidence, merged=True))
    return Step1(model, validation, chosen)
