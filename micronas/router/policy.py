"""A fitted router: prompts to decisions, budgets to mappings, and a folder to keep it in."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from micronas.arrays import Floats
from micronas.errors import BudgetError, ConfigError, DataError
from micronas.files import regular, write_atomically
from micronas.npz import read_arrays
from micronas.router.category import Categories, gaussians_arrays, gaussians_of
from micronas.router.decision import GENERAL, RoutingDecision
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.mapping import ParameterBudget, parameters
from micronas.router.plan import Evidence, Plan, gain, make_plan, plan_of
from micronas.settings import nearest, validate_settings

DESCRIPTION, ARRAYS = "router.json", "router.npz"
_EVIDENCE = ("category", "fold", "scores", "active", "total")
_VERSION = 4


@dataclass(frozen=True, eq=False)
class Router:
    """A router of prompts to experts in two steps; see `micronas.router.fit.fit`."""

    embedding: Embedding | None
    """Settings of the embedder; None for a given function."""
    embed: Callable[[Sequence[str]], Floats]
    """Function from prompts to vectors [prompts, dimensions]."""
    categories: Categories
    """First step."""
    experts: tuple[str, ...]
    """Names of the experts."""
    evidence: Evidence
    """Data for mappings."""
    plan: Plan
    """Second step."""
    validation: Mapping[str, float] = field(default_factory=dict)
    """Figures of the first step on out-of-fold predictions."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the categories, `general` last."""
        return (*self.categories.names, GENERAL)

    def map(self, budget: ParameterBudget) -> "Router":
        """Return the same router with the mapping of another budget.

        Raises BudgetError, which names the smallest feasible one, if no mapping is within the
        budget.
        """
        return replace(self, plan=make_plan(self.evidence, budget))

    def levels(self, count: int) -> tuple["Router", ...]:
        """Return the same router with the mappings of `count` budgets of active parameters.

        They rise in equal ratios from the smallest expert to the largest; the budget of total
        parameters stays. Budgets without a mapping are left out.
        """
        active = self.evidence.active
        found = []
        for limit in np.geomspace(active.min(), active.max(), count):
            with suppress(BudgetError):
                found.append(self.map(replace(self.plan.budget, active=float(limit))))
        return tuple(found)

    def route(self, prompts: Sequence[str]) -> list[RoutingDecision]:
        """Return one decision per prompt."""
        if not prompts:
            return []
        whole = self.embed(prompts)
        found = self.categories.classify(whole[None])
        # only unusual prompts are worth the time of their cores
        far = np.flatnonzero(found.distance > self.categories.usual)
        if len(far):
            unusual = [prompts[place] for place in far.tolist()]
            cores = embedded_cores(self.embed, unusual, whole=whole[far])
            found = found.replaced(far, self.categories.classify(cores))
        return [
            self._decision(int(category), row, float(doubt), float(distance))
            for category, row, doubt, distance in zip(
                found.category, found.probabilities, found.entropy, found.distance, strict=True
            )
        ]

    def _decision(
        self, category: int, probabilities: Floats, doubt: float, distance: float
    ) -> RoutingDecision:
        top = int(probabilities.argmax())
        likeliest = self.categories.names[top]
        expert = int(self.plan.experts[category])
        score = float(self.plan.utilities[category, expert])
        if category == top:
            said = f"{likeliest} with probability {probabilities[top]:.2f}"
        else:
            said = (
                f"unlike the fitting prompts, {likeliest} at best (distance {distance:.2f} > "
                f"{self.categories.max_distance:.2f})"
            )
        whole = " for all categories" if self.evidence.merged else ""
        return RoutingDecision(
            category=self.names[category],
            probability=float(probabilities[top]),
            uncertainty=doubt,
            expert=self.experts[expert],
            active=float(self.evidence.active[expert]),
            expected_score=score,
            reason=f"{said}; {self.experts[expert]} is the choice{whole} within "
            f"{_budget(self.plan.budget)}, expected score {score:.3f}",
        )

    def save(self, folder: Path) -> None:
        """Write the router to a folder: numbers without pickles, the rest as JSON with hashes."""
        categories, evidence = self.categories, self.evidence
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {name: getattr(evidence, name) for name in _EVIDENCE}
        arrays |= gaussians_arrays(categories.gaussians)
        np.savez(buffer, **arrays)
        data = buffer.getvalue()
        description = {
            "version": _VERSION,
            "arrays_sha256": hashlib.sha256(data).hexdigest(),
            "embedding": self.embedding and self.embedding.model_dump(mode="json"),
            "categories": categories.names,
            "temperature": categories.temperature,
            "max_distance": categories.max_distance,
            "usual": categories.usual,
            "experts": self.experts,
            "merged": evidence.merged,
            "budget": vars(self.plan.budget),
            "validation": dict(self.validation),
            "mapping": self.mapping(),
        }
        # the description is written last: its hash identifies its numbers
        write_atomically(folder / ARRAYS, data)
        text = json.dumps(description, indent=2, ensure_ascii=False)
        write_atomically(folder / DESCRIPTION, f"{text}\n".encode())

    @classmethod
    def load(
        cls, folder: Path, *, embedder: Callable[[Sequence[str]], Floats] | None = None
    ) -> "Router":
        """Read a router from the folder that `save` wrote.

        `embedder` is the function that it was fitted with, if any. Raises DataError if a file is
        missing, damaged, or does not belong to the other, ConfigError if the embedder is missing.
        """
        try:
            data = regular(folder / ARRAYS).read_bytes()
            said = json.loads(regular(folder / DESCRIPTION).read_text(encoding="utf-8"))
            if said["version"] != _VERSION:
                raise ValueError(f"version {said['version']} is not {_VERSION}")
            if said["arrays_sha256"] != hashlib.sha256(data).hexdigest():
                raise ValueError(f"{ARRAYS} does not have the hash that {DESCRIPTION} says")
            arrays = read_arrays(io.BytesIO(data))
            if not isinstance(arrays, dict):
                raise ValueError(f"{ARRAYS} holds one array without a name")
            router = cls._of(said, arrays, embedder)
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{folder} must hold a fitted router ({DESCRIPTION}, {ARRAYS}): {error}; fit it "
                "again"
            ) from error
        return router

    @classmethod
    def _of(
        cls,
        said: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        embedder: Callable[[Sequence[str]], Floats] | None,
    ) -> "Router":
        embedding = None
        if embedder is None:
            if said["embedding"] is None:
                raise ConfigError(
                    "this router was fitted with a function as embedder: give it to Router.load"
                )
            embedding = validate_settings(said["embedding"], Embedding, source=DESCRIPTION)
            embedder = embedder_of(embedding)
        names = tuple(said["categories"])
        known: dict[str, Any] = {name: arrays[name] for name in _EVIDENCE}
        evidence = Evidence(**known, categories=len(names) + 1, merged=said["merged"])
        # the mapping may have been edited by hand
        wanted = {row["category"]: row["expert"] for row in said["mapping"]}
        mapped = [said["experts"].index(wanted[name]) for name in (*names, GENERAL)]
        return cls(
            embedding=embedding,
            embed=embedder,
            categories=Categories(
                names=names,
                gaussians=gaussians_of(arrays),
                temperature=said["temperature"],
                max_distance=said["max_distance"],
                usual=said["usual"],
            ),
            experts=tuple(said["experts"]),
            evidence=evidence,
            plan=plan_of(evidence, ParameterBudget(**said["budget"]), np.array(mapped, np.int64)),
            validation={name: float(each) for name, each in dict(said["validation"]).items()},
        )

    def mapping(self) -> list[dict[str, Any]]:
        """Return one row per category, for JSON: its share, expert, parameters, expected score."""
        plan = self.plan
        return [
            {
                "category": name,
                "share": float(plan.weights[row]),
                "expert": self.experts[expert],
                "active": float(self.evidence.active[expert]),
                "expected_score": float(plan.utilities[row, expert]),
            }
            for row, (name, expert) in enumerate(zip(self.names, plan.experts, strict=True))
        ]

    def ranking(self, category: str) -> tuple[str, ...]:
        """Return all experts by expected score on a category, the best first.

        Raises DataError if there is no such category.
        """
        if category not in self.names:
            raise DataError(f"no category {category!r}; {nearest(category, self.names)}")
        order = np.argsort(-self.plan.utilities[self.names.index(category)], kind="stable")
        return tuple(self.experts[expert] for expert in order)

    def summary(self) -> dict[str, Any]:
        """Return a description of the router, as JSON values."""
        return {
            "budget": vars(self.plan.budget),
            "expected_score": self.plan.score,
            "active": self.plan.used.active,
            "total": self.plan.used.total,
            "cross_fitted": gain(self.evidence, self.plan.budget),
            "one_for_all": self.evidence.merged,
            "mapping": self.mapping(),
            "validation": dict(self.validation),
        }


def _budget(budget: ParameterBudget) -> str:
    limits = [
        f"{parameters(limit)} {name}" for name, limit in vars(budget).items() if limit is not None
    ]
    return " and ".join(limits) or "no limit"
