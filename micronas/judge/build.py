"""Build an evaluation set from its sources."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from micronas._version import VERSION
from micronas.errors import DataError
from micronas.files import text_hash, write_atomically
from micronas.judge.choose import Outcomes
from micronas.judge.cleaning import clean
from micronas.judge.duplicates import find_duplicates
from micronas.judge.language import identify
from micronas.judge.manifest import (
    MANIFEST,
    PROMPTS,
    Prompt,
    write_manifest,
    write_prompts,
)
from micronas.judge.pools import Pools, earlier_outcomes
from micronas.judge.recipe import RecipeFile
from micronas.judge.review import merge_review, read_labels, write_review
from micronas.judge.sources import Record, read_source
from micronas.language.clusters import clusters
from micronas.language.embedders import Vectors
from micronas.language.neighbours import correct_prior, cross_validate, vote
from micronas.language.rows import json_lines
from micronas.progress import Progress, nobody

REVIEW = "review.csv"
LABELS = "labels.csv"
_DROPPED = "dropped.jsonl"

_STEPS = 5
"""Number of steps: clean, language, duplicates, label, sample."""
_CROSS_VALIDATED = {"neighbours", "precision", "threshold", "folds"}
_Say = Callable[[str], None]


@dataclass(frozen=True)
class _StepResult:
    """Result of a step."""

    kept: list[Record]
    dropped: list[dict[str, Any]] = field(default_factory=list)
    """Id, source, line and reason of each dropped prompt."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Entries of the manifest on the step."""
    review: list[dict[str, Any]] = field(default_factory=list)
    """Rows for review by hand."""


class Build:
    """Builder of one evaluation set.

    Parameters
    ----------
    recipe
        Recipe, and the folder of its relative paths.
    out
        Folder of the set: ``prompts.jsonl``, ``manifest.json``, ``dropped.jsonl`` and
        ``review.csv``.
    say
        Called with one line per step.
    progress
        Called with the number of finished steps.
    """

    def __init__(
        self,
        recipe: RecipeFile,
        out: Path,
        *,
        say: _Say = lambda _: None,
        progress: Progress = nobody,
    ) -> None:
        self._recipe, self._folder, self._out = recipe.recipe, recipe.folder, out
        self._say, self._progress = say, progress
        self._counts: dict[str, dict[str, Any]] = {}
        self._dropped: list[dict[str, Any]] = []
        progress("build", 0, _STEPS, {})
        self._vectors: Vectors | None = None

    def run(self) -> dict[str, Any]:
        """Build the set and return its manifest.

        Raises DataError if a source is damaged, prompts cannot be labelled or a quota cannot be
        met.
        """
        unique = self._unique()
        labelled = self._noted("label", self._label(unique.kept))
        write_review(self._out / REVIEW, labelled.review)
        earlier = earlier_outcomes(self._recipe.sampling, self._folder)
        drawn = self._sample(labelled.kept, unique.kept, earlier)
        return self._write(self._noted("sample", drawn))

    def sheet(self, size: int) -> int:
        """Write `size` unlabelled prompts, spread over all clusters; return their number.

        Fill the column ``category`` of ``review.csv`` and build the set, which reads it.
        """
        records = self._unique().kept
        languages = self._recipe.language_categories
        open_ones = [
            index
            for index, record in enumerate(records)
            if not record.category and record.language not in languages
        ]
        chosen: list[int] = []
        if open_ones:
            vectors = self._embed(records)[np.array(open_ones)]
            groups = clusters(vectors, size, self._recipe.seed)
            first = {int(group): index for index, group in reversed(list(enumerate(groups)))}
            chosen = [open_ones[index] for index in sorted(first.values())][:size]
        rows = [_sheet_row(records[index]) for index in chosen]
        write_review(self._out / REVIEW, rows)
        return len(rows)

    def _unique(self) -> _StepResult:
        recipe, out = self._recipe, self._out
        merge_review(out / REVIEW, out / LABELS, recipe.categories)
        labels = [self._folder / path for path in recipe.labelling.labels]
        labels += [out / LABELS] if (out / LABELS).exists() else []
        cleaned = self._noted("clean", self._clean(labels))
        identified = self._noted("language", self._language(cleaned.kept))
        return self._noted("duplicates", self._duplicates(identified.kept))

    def _noted(self, name: str, outcome: _StepResult) -> _StepResult:
        dropped = _count(each["reason"] for each in outcome.dropped)
        self._counts[name] = {"kept": len(outcome.kept), "dropped": dropped, **outcome.facts}
        self._dropped += [{**each, "step": name} for each in outcome.dropped]
        reasons = ", ".join(f"{number} {reason}" for reason, number in dropped.items())
        self._say(f"{name}: {len(outcome.kept)} kept, dropped: {reasons or 'none'}")
        self._progress("build", len(self._counts), _STEPS, {})
        return outcome

    def _clean(self, labels: list[Path]) -> _StepResult:
        if not self._recipe.sources:
            raise DataError("a recipe must name at least one file under sources, but names none")
        read = [
            record
            for source in self._recipe.sources
            for record in read_source(source, self._folder, self._recipe.categories)
        ]
        _check_ids(read)
        by_hand: dict[str, str] = {}
        for path in labels:
            found = read_labels(path, self._recipe.categories)
            if not found:
                raise DataError(
                    f"{path} must give a prompt or more a category, but gives none; fill its "
                    "columns id and category, or leave it out"
                )
            unknown = sorted(set(found) - {record.id for record in read})
            if unknown:
                raise DataError(
                    f"{path} must label prompts of the sources, but {len(unknown)} ids are in "
                    f"none, {unknown[0]!r} first"
                )
            by_hand |= found
        kept, dropped = [], []
        for record in read:
            cleaned, reason = clean(record, self._recipe.cleaning)
            if cleaned is None:
                dropped.append(_drop(record, reason))
                continue
            origin = "hand" if record.id in by_hand else "seed" if record.category else ""
            category = by_hand.get(record.id, record.category)
            kept.append(replace(cleaned, category=category, origin=origin))
        read_of = Counter(record.source for record in read)
        return _StepResult(kept, dropped, {"read": dict(sorted(read_of.items()))})

    def _language(self, records: list[Record]) -> _StepResult:
        unknown = [index for index, record in enumerate(records) if not record.language]
        expected = [*self._recipe.languages.expected, *sorted(self._recipe.language_categories)]
        codes = identify([records[i].text for i in unknown], expected, self._recipe.languages)
        kept = list(records)
        for index, code in zip(unknown, codes, strict=True):
            kept[index] = replace(records[index], language=code)
        languages = Counter(record.language for record in kept)
        return _StepResult(kept, [], {"languages": dict(sorted(languages.items()))})

    def _duplicates(self, records: list[Record]) -> _StepResult:
        # of two duplicates a labelled prompt is kept
        order = sorted(range(len(records)), key=lambda index: not records[index].origin)
        texts = [records[index].text for index in order]
        gone = {order[each.index]: each for each in find_duplicates(texts, self._recipe.duplicates)}
        kept = [record for index, record in enumerate(records) if index not in gone]
        dropped = []
        for index, each in sorted(gone.items()):
            reason = "duplicate" if each.similarity == 1 else "near-duplicate"
            more = {"of": records[order[each.of]].id, "similarity": round(each.similarity, 4)}
            dropped.append(_drop(records[index], reason) | more)
        return _StepResult(kept, dropped)

    def _label(self, records: list[Record]) -> _StepResult:
        recipe = self._recipe
        languages = recipe.language_categories
        kept = [
            replace(record, category=languages[record.language], origin="language")
            if not record.category and record.language in languages
            else record
            for record in records
        ]
        rest = np.array([i for i, record in enumerate(kept) if not record.category], np.int64)
        seeds = np.array(
            [
                i
                for i, record in enumerate(kept)
                if record.category and record.category not in languages.values()
            ],
            np.int64,
        )
        facts: dict[str, Any] = {"seeds": len(seeds), "unlabelled": len(rest)}
        if not len(rest):
            return _StepResult(kept, [], facts)
        if not len(seeds):
            raise DataError(
                f"{len(rest)} prompts need a category, but no prompt has one to learn from; "
                "`micronas judge label` writes a sheet to fill"
            )
        names = sorted({kept[i].category for i in seeds})
        labels = np.array([names.index(kept[i].category) for i in seeds], np.int64)
        vectors = self._embed(records)
        found = cross_validate(
            vectors[seeds],
            labels,
            len(names),
            recipe.seed,
            **recipe.labelling.model_dump(include=_CROSS_VALIDATED),
        )
        raw = vote(vectors[seeds], labels, len(names), vectors[rest], found.neighbours)
        votes = correct_prior(raw, found, recipe.labelling.prior)
        dropped, review = [], []
        for i, label, doubt in zip(rest, votes.label, votes.entropy, strict=True):
            if doubt <= found.threshold:
                kept[i] = replace(kept[i], category=names[label], origin="knn")
                continue
            row = _sheet_row(kept[i]) | {"suggested": names[label], "entropy": f"{doubt:.4f}"}
            review.append(row)
            if recipe.labelling.uncertain == "general":
                kept[i] = replace(kept[i], category=recipe.labelling.general, origin="general")
            else:
                dropped.append(_drop(kept[i], "awaits review"))
        facts |= {
            "neighbours": found.neighbours,
            "accuracy": found.accuracy,
            "accuracies": {str(count): each for count, each in found.by_neighbours.items()},
            "sharpness": found.sharpness,
            "threshold": found.threshold,
            "coverage": found.coverage,
            "precision": found.precision,
            "prior": dict(zip(names, votes.prior.tolist(), strict=True)),
            "confusion": dict(zip(names, found.confusion.tolist(), strict=True)),
        }
        return _StepResult([record for record in kept if record.category], dropped, facts, review)

    def _sample(
        self, records: list[Record], embedded: list[Record], earlier: Outcomes | None
    ) -> _StepResult:
        place = {record.id: index for index, record in enumerate(embedded)}

        def vectors(pool: list[Record]) -> Vectors:
            return self._embed(embedded)[np.array([place[each.id] for each in pool], np.int64)]

        pools = Pools.of(records, self._recipe)
        facts: dict[str, Any] = {
            "available": {name: len(each) for name, each in pools.prompts.items()}
        }
        if earlier is None:
            drawn = pools.evenly(vectors)
        else:
            drawn, judged = pools.discriminating(earlier)
            facts |= {"judged": judged, "models": list(earlier.models)}
        dropped = [
            _drop(record, "not drawn" if record.id in pools.good else "low quality")
            for record in records
            if record.id not in drawn
        ]
        kept = [record for record in records if record.id in drawn]
        return _StepResult(kept, dropped, facts)

    def _write(self, drawn: _StepResult) -> dict[str, Any]:
        recipe = self._recipe
        prompts = [
            Prompt(
                id=record.id,
                text=record.text,
                category=record.category,
                language=record.language,
                source=record.source,
                licence=record.licence,
                hash=text_hash(record.text),
            )
            for record in sorted(drawn.kept, key=lambda record: (record.category, record.id))
        ]
        write_atomically(self._out / _DROPPED, json_lines(self._dropped))
        strata = {
            name: {
                "quota": category.quota,
                "drawn": sum(record.category == name for record in drawn.kept),
                "available": drawn.facts["available"][name],
                "languages": _count(r.language for r in drawn.kept if r.category == name),
                "origins": _count(r.origin for r in drawn.kept if r.category == name),
            }
            for name, category in recipe.categories.items()
        }
        manifest = {
            "format": 1,
            "micronas": VERSION,
            "recipe": recipe.model_dump(
                mode="json",
                exclude={
                    "sources": {"__all__": {"path"}},
                    "labelling": {"labels"},
                    "sampling": {"judged"},
                },
            ),
            "embedder": recipe.embedding.model_dump_json(),
            "sources": {
                source.title: {
                    "file": source.path.name,
                    "sha256": hashlib.sha256((self._folder / source.path).read_bytes()).hexdigest(),
                }
                for source in recipe.sources
            },
            "steps": self._counts,
            "categories": strata,
            "licences": _count(prompt.licence for prompt in prompts),
            "prompts": len(prompts),
            "sha256": write_prompts(self._out / PROMPTS, prompts),
        }
        write_manifest(self._out / MANIFEST, manifest)
        return manifest

    def _embed(self, records: list[Record]) -> Vectors:
        if self._vectors is None:
            cache = self._out / "vectors.sqlite"
            embed = self._recipe.embedding.embedder(cache)
            self._vectors = embed([record.text for record in records])
        return self._vectors


def _drop(record: Record, reason: str) -> dict[str, Any]:
    return {"id": record.id, "source": record.source, "line": record.line, "reason": reason}


def _count(names: Iterable[str]) -> dict[str, int]:
    """Return the count of each name, in alphabetical order."""
    return dict(sorted(Counter(names).items()))


def _check_ids(records: list[Record]) -> None:
    seen: dict[str, Record] = {}
    for record in records:
        other = seen.setdefault(record.id, record)
        if other is not record:
            raise DataError(
                f"prompts must have different ids, but {record.id!r} is line {record.line} of "
                f"{record.source} and line {other.line} of {other.source}; name a "
                "field as id that differs in every line, or none, or give a source another name"
            )


def _sheet_row(record: Record) -> dict[str, Any]:
    return {"id": record.id, "language": record.language, "text": record.text}
