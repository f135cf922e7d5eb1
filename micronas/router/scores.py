"""Scores of every expert on every prompt, to fit and evaluate a router."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.language.rows import read_rows
from micronas.settings import nearest

_LARGEST = 1e100
"""Largest score, whose variance is a number too."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of experts on prompts.

    Raises DataError if shapes differ, a name or prompt occurs twice, or a score is not finite.
    """

    prompts: tuple[str, ...]
    """Texts, all different."""
    experts: tuple[str, ...]
    """Names of the experts."""
    scores: Floats
    """Scores [prompts, experts]; larger is better."""
    categories: tuple[str, ...]
    """Category of each prompt, ``""`` if unknown."""

    def __post_init__(self) -> None:
        if not self.prompts or not self.experts:
            raise DataError("a table of scores must have a prompt and an expert at least")
        if len(self.categories) != len(self.prompts):
            raise DataError(
                f"a table of scores must have one category per prompt ('' if unknown), but has "
                f"{len(self.categories)} for {len(self.prompts)}"
            )
        if self.scores.shape != (len(self.prompts), len(self.experts)):
            raise DataError(
                f"scores must be [prompts, experts] = {[len(self.prompts), len(self.experts)]}, "
                f"but are {list(self.scores.shape)}"
            )
        for what, names in (("an expert", self.experts), ("a prompt", self.prompts)):
            if len(set(names)) != len(names):
                twice = Counter(names).most_common(1)[0][0]
                raise DataError(
                    f"{what} must occur once in a table of scores, but {twice!r:.60} occurs "
                    "twice; average its scores"
                )
        wrong = np.argwhere(~(np.abs(self.scores) <= _LARGEST))
        if len(wrong):
            row, column = wrong[0].tolist()
            raise DataError(
                f"scores must be finite numbers within 1e100, but {self.experts[column]!r} has "
                f"{self.scores[row, column]} on prompt {self.prompts[row]!r:.60}; judge it again "
                "or leave the prompt out"
            )

    def __len__(self) -> int:
        return len(self.prompts)

    def rows(self, index: ArrayLike) -> "ScoreTable":
        """Return the table of some prompts, by index or mask."""
        places = np.arange(len(self))[np.asarray(index)].tolist()
        return ScoreTable(
            prompts=tuple(self.prompts[place] for place in places),
            experts=self.experts,
            scores=self.scores[places],
            categories=tuple(self.categories[place] for place in places),
        )

    def of_experts(self, names: Sequence[str]) -> "ScoreTable":
        """Return the table of some experts, in the order of the names.

        Raises DataError if an expert has no scores.
        """
        for name in names:
            if name not in self.experts:
                raise DataError(
                    f"every expert must have scores, but {name!r} has none; "
                    f"{nearest(name, self.experts)}"
                )
        columns = [self.experts.index(name) for name in names]
        return ScoreTable(self.prompts, tuple(names), self.scores[:, columns], self.categories)


def check_apart(fit: ScoreTable, test: ScoreTable) -> None:
    """Raise DataError if a prompt is in both parts."""
    shared = set(fit.prompts) & set(test.prompts)
    if shared:
        raise DataError(
            f"no prompt may be both fitted and tested on, but {len(shared)} are, such as "
            f"{min(shared)!r:.60}; leave them out of one part"
        )


def joined(fit: ScoreTable, test: ScoreTable) -> ScoreTable:
    """Return both tables as one; raise DataError if a prompt is in both."""
    check_apart(fit, test)
    return ScoreTable(
        prompts=fit.prompts + test.prompts,
        experts=fit.experts,
        scores=np.vstack([fit.scores, test.of_experts(fit.experts).scores]),
        categories=fit.categories + test.categories,
    )


def read_scores(
    path: Path, *, category: str = "category", experts: Sequence[str] = ()
) -> ScoreTable:
    """Read a table of scores in the format of the name's suffix.

    ``.jsonl``: objects with ``prompt``, ``scores`` (expert to number) and optionally a category.
    ``.csv``: columns ``prompt``, optionally the category, and one per expert.
    ``.sqlite``: the store of a judge run, see `scores_of_store`.
    A folder: results of LLMRouterBench or RouterArena, see `scores_of_results`.
    The first two may be compressed (``.gz``).

    `category` is the key or column of the category; a prompt of a store or folder must have scores
    of all `experts`, by default of all models. Raises DataError, which names the line, if the file
    cannot be read, a row is incomplete or experts differ between rows.
    """
    if path.is_dir():
        return scores_of_results(path, experts)
    if path.suffix == ".sqlite":
        return scores_of_store(path, experts)
    rows = read_rows(path)
    if not rows:
        raise DataError(f"{path} must hold at least one prompt, but holds none")
    if path.name.removesuffix(".gz").endswith(".csv"):
        beside = ("prompt", category)
        for _, row in rows:
            row["scores"] = {name: row[name] for name in row if name not in beside}
    names = tuple(rows[0][1].get("scores") or ())
    table = [_row(f"{path}:{line}", row, names, category) for line, row in rows]
    prompts, scores, categories = zip(*table, strict=True)
    return ScoreTable(prompts, names, np.array(scores, np.float64), categories)


def scores_of_store(path: Path, experts: Sequence[str] = ()) -> ScoreTable:
    """Return the scores of a judge run: the mean share of points against the baseline.

    Both orders and all judges count alike, and so do prompts of one text; the baseline has 0.5.
    Constant answers take no part. Prompts on which one of the experts, by default of all models,
    has no valid verdict are left out.

    Raises DataError if the store cannot be read, does not compare with one baseline, or has no
    complete prompt.
    """
    from micronas.judge.rows import NULL_PREFIX
    from micronas.judge.store import prompts_of, verdicts_of

    valid = [row for row in verdicts_of(path) if row.outcome is not None]
    rows = [row for row in valid if not row.model.startswith(NULL_PREFIX)]
    baselines = {row.baseline for row in rows}
    if len(baselines) != 1:
        raise DataError(
            f"scores of a judge run need verdicts against one baseline, but {path} has "
            f"{', '.join(sorted(baselines)) or 'no valid verdict'}"
            + "; set those against others aside by `micronas judge drop --baseline NAME`"
            * (len(baselines) > 1)
        )
    prompts = [each for each in prompts_of(path) if each.text]  # imports may not know it
    texts = {prompt.id: prompt.text for prompt in prompts}
    outcomes: dict[tuple[str | None, str], list[float]] = defaultdict(list)
    for row in rows:
        outcomes[texts.get(row.prompt_id), row.model].append(float(row.outcome or 0.0))
    judged = {row.model for row in rows}
    models = sorted(judged.intersection(experts) or judged)
    complete = [
        prompt
        for prompt in {each.text: each for each in prompts}.values()
        if all((prompt.text, model) in outcomes for model in models)
    ]
    if not complete:
        raise DataError(
            f"{path} must hold a prompt with its text on which every model was judged, but has none"
        )
    scores = [
        [0.5, *(float(np.mean(outcomes[prompt.text, model])) for model in models)]
        for prompt in complete
    ]
    return ScoreTable(
        prompts=tuple(prompt.text for prompt in complete),
        experts=(baselines.pop(), *models),
        scores=np.array(scores),
        categories=tuple(prompt.category for prompt in complete),
    )


def scores_of_results(folder: Path, experts: Sequence[str] = ()) -> ScoreTable:
    """Return the scores in result files of other projects, one model per file.

    LLMRouterBench: JSON with ``model_name``, ``dataset_name`` and ``records``. RouterArena: JSON
    lines (``cached_results``) with ``llm_selected``, ``global_index`` and ``evaluation_result``.
    Categories are the data sets; prompts without a score of every expert are left out.

    Raises DataError if a file has neither format, or no prompt has a score of every model.
    """
    found: dict[str, dict[str, float]] = defaultdict(dict)
    names: dict[str, str] = {}
    for path in sorted(folder.rglob("*.json*")):
        # LLMRouterBench: one object over many lines
        rows = [(1, path.read_bytes())] if path.suffix == ".json" else []
        for line, each in rows or read_rows(path):
            try:
                row = json.loads(each) if isinstance(each, bytes) else each
                for prompt, model, category, score in _results(row):
                    found[prompt][model], names[prompt] = float(score), category
            except (LookupError, TypeError, ValueError, OverflowError) as error:
                raise DataError(
                    f"{path}:{line}: must be of LLMRouterBench or RouterArena, but {error!r}"
                ) from error
    scored = {model for each in found.values() for model in each}
    models = sorted(scored.intersection(experts) or scored)
    prompts = [prompt for prompt, each in found.items() if each.keys() >= {*models}]
    if not prompts:
        raise DataError(f"{folder} must hold a prompt with a score of every model, but has none")
    scores = np.array([[found[prompt][model] for model in models] for prompt in prompts])
    categories = tuple(names[prompt] for prompt in prompts)
    return ScoreTable(tuple(prompts), tuple(models), scores, categories)


def _results(row: Mapping[str, Any]) -> list[tuple[str, str, str, Any]]:
    """Return prompt, model, data set and score of each result of a row."""
    if "records" in row:
        model, dataset = str(row["model_name"]), str(row["dataset_name"])
        return [
            (each.get("origin_query") or each["prompt"], model, dataset, each["score"])
            for each in row["records"]
        ]
    judged = row["evaluation_result"]
    if judged is None:
        return []
    dataset = row["global_index"].rpartition("_")[0]
    return [(row["question"], row["llm_selected"], dataset, judged["score"])]


def _row(
    place: str, row: Mapping[str, Any], experts: tuple[str, ...], category: str
) -> tuple[str, list[float], str]:
    prompt, scores, name = row.get("prompt"), row.get("scores"), row.get(category) or ""
    if not isinstance(prompt, str) or not isinstance(scores, Mapping) or not isinstance(name, str):
        raise DataError(
            f"{place}: a row of scores must have the text prompt, scores by expert and optionally "
            f"the text {category}, but has {sorted(map(str, row))!r:.120}"
        )
    if set(scores) != set(experts):
        odd = min(set(scores) ^ set(experts), key=str)
        raise DataError(
            f"{place}: every prompt must have a score of every expert of the first one, but "
            f"{odd!r} is {'missing' if odd in experts else 'new'}; complete the row"
        )
    if not prompt.strip():
        raise DataError(f"{place}: a prompt must have a text, but this is blank; leave the row out")
    found = []
    for expert in experts:
        try:
            found.append(float(scores[expert]))
        except (TypeError, ValueError, OverflowError):
            found.append(math.nan)
        if not abs(found[-1]) <= _LARGEST:
            raise DataError(
                f"{place}: a score must be a finite number within 1e100, but {expert!r} has "
                f"{scores[expert]!r:.60}; judge it again, or leave out the prompt, or the "
                "column that is no expert's"
            )
    return prompt, found, name.strip()
