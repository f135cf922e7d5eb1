"""The work of the commands on files: read a run's inputs, rate a store, import, make tables."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import text_hash
from micronas.judge import importers
from micronas.judge.categories import by_categories
from micronas.judge.checks import Agreement, Policy, null_answers, repeatability
from micronas.judge.leaderboard import Statistics, at_equal_length, leaderboard
from micronas.judge.manifest import MANIFEST, Prompt, load_prompts
from micronas.judge.review import read_labels
from micronas.judge.rows import Answer, check_judges, read_answers
from micronas.judge.run import JudgeSettings
from micronas.judge.store import answers_of, battles_of, prompts_of, verdicts_of, writing
from micronas.settings import read_settings
from micronas.text import table


def check_built(folder: Path) -> None:
    """Raise DataError if a folder holds no evaluation set."""
    if not (folder / MANIFEST).exists():
        raise DataError(f"a set must be built before it is drawn again, but {folder} holds none")


def strata_table(manifest: Mapping[str, Any]) -> str:
    """Return a table for a terminal, one line per category of an evaluation set."""
    rows = [
        [name, *(str(stratum[key]) for key in ("quota", "drawn", "available"))]
        for name, stratum in manifest["categories"].items()
    ]
    return table(["category", "quota", "drawn", "available"], rows)


def run_inputs(
    config: Path, overrides: Iterable[str], prompts: Path, answers: Path | None, *, null: bool
) -> tuple[JudgeSettings, list[Prompt], list[Answer]]:
    """Read the settings, prompts and answers of a run; `null` adds constant answers.

    Prompts and answers may also be in stores, as after imports.
    """
    settings = read_settings(config, JudgeSettings, overrides)
    asked = _of_store(prompts) if prompts.suffix == ".sqlite" else load_prompts(prompts)
    said: list[Answer] = []
    if answers is not None:
        said = answers_of(answers) if answers.suffix == ".sqlite" else read_answers(answers)
    if not null:
        return settings, asked, said
    constant = null_answers(asked, settings.rubric.scale)
    if settings.models:
        names = dict.fromkeys(answer.model for answer in constant)
        settings = settings.model_copy(update={"models": [*settings.models, *names]})
    return settings, asked, [*dict.fromkeys([*said, *constant])]  # a store may hold them


def ratings(
    store: Path,
    statistics: Statistics,
    *,
    judge: str | None = None,
    strong_weight: float = 3.0,
    by_category: bool = False,
    categories: Path | None = None,
    equal_length: bool = False,
) -> tuple[list[dict[str, Any]], str, str]:
    """Rate models on all prompts, in each category or at equal length.

    A CSV of prompt_id and category replaces the store's own `categories`. One row per rating is
    returned, as JSON values, with a table of them for a terminal and a line, or none, on the
    prompts to which the CSV gives no category.
    """
    left_out = ""
    names = ["model", "rate", "low", "high"]
    battles = battles_of(store, judge=judge, strong_weight=strong_weight)
    if by_category or categories is not None:
        if equal_length:
            raise DataError("win rates are by category or at equal length; leave one option out")
        own = None if categories is None else read_labels(categories, name="prompt_id")
        rows, names = by_categories(battles, statistics, own), ["category", *names]
        without = [] if own is None else [name for name in battles.prompts if not own.get(name)]
        if without:
            left_out = (
                f"left out: {categories} gives {len(without)} of {len(battles.prompts)} prompts "
                f"no category, {without[0]!r} first"
            )
        if not rows:
            none = f"{categories or store} has none with prompts such as {battles.prompts[0]!r}"
            raise DataError(
                f"win rates by category need one of two prompts or more, but {none}; give a CSV of "
                "prompt_id and category by --categories, or rate all prompts at once"
            )
    elif equal_length:
        rows, names = at_equal_length(battles, statistics), [*names, "score"]
    else:
        rows = leaderboard(battles, statistics).rows()
        names = list(rows[0])
    return rows, table(names, [[_cell(row[name]) for name in names] for row in rows]), left_out


def _of_store(path: Path) -> list[Prompt]:
    found = prompts_of(path)
    without = [each.id for each in found if not each.text]
    if without or not found:
        lacks = f"lacks {len(without)}, of {without[0]!r} first" if without else "has no prompt"
        raise DataError(
            f"a set needs the texts of its prompts, but {path} {lacks}; give the set itself"
        )
    return [
        Prompt(**vars(each), source=path.stem, licence="", hash=text_hash(each.text))
        for each in found
    ]


_FILES = {"alpaca-eval": "**/annotations.json", "llmfao": "*.csv"}
"""Patterns of a tool's files in a folder; JSON lines for other tools."""


def import_verdicts(
    kind: str, sources: Iterable[Path], out: Path, *, baseline: str | None = None
) -> dict[str, int]:
    """Read another tool's files, or folders of them, into a store; count what was read.

    Counted are ``files``, ``verdicts``, ``invalid``, ``itself``: verdicts on a model against
    itself, which are set aside, ``replaced``: those with a later one on the same answers, and
    ``deleted``: those of the store on a prompt or an answer that has another text in a file.
    Raises DataError if a folder holds no such file, a file is damaged, or no file has a verdict;
    earlier files are in the store.
    """
    pattern = _FILES.get(kind, "*.jsonl")
    read: dict[str, Callable[[Path], importers.Imported]] = {
        "arena-hard": partial(importers.arena_hard, baseline=baseline),
        "alpaca-eval": importers.alpaca_eval,
        "llmfao": importers.llmfao,
        "judgebench": importers.judgebench,
        "rewardbench2": importers.rewardbench2,
    }
    count = {"files": 0, "verdicts": 0, "invalid": 0, "itself": 0, "deleted": 0}
    seen: set[tuple[str, ...]] = set()
    for source in sources:
        files = sorted(source.glob(pattern)) if source.is_dir() else [source]
        if not files:
            raise DataError(f"a folder must hold files {pattern} of {kind}, but {source} has none")
        for file in files:
            found = read[kind](file)
            count["deleted"] += found.save(out)
            fought = found.fought()
            seen.update((r.prompt_id, r.model, r.baseline, r.order, r.judge) for r in fought)
            count["files"] += 1
            count["verdicts"] += len(fought)
            count["invalid"] += sum(row.outcome is None for row in fought)
            count["itself"] += len(found.verdicts) - len(fought)
    if not count["verdicts"] + count["itself"]:
        raise DataError(
            f"an import must hold verdicts of {kind}, but {count['files']} files hold none; name "
            "those that the tool wrote"
        )
    return {**count, "replaced": count["verdicts"] - len(seen)}


def repeated(store: Path, other: Path | None, judge: str | None) -> dict[str, Agreement]:
    """Return the `repeatability` of a run, and of another on the same prompts and answers.

    Raises DataError where a prompt or an answer that both judged is another, as far as they know,
    or a run has no verdict of the judge.
    """
    paths = [path for path in (store, other) if path is not None]
    runs = [verdicts_of(path) for path in paths]
    if judge is not None:
        for path, run in zip(paths, runs, strict=True):
            check_judges(run, (judge,), path)
        runs = [[row for row in run if row.judge == judge] for run in runs]
    both = set.intersection(
        *({(row.prompt_id, row.model, row.baseline, row.order) for row in run} for run in runs)
    )
    judged = {(prompt, name) for prompt, *names, _ in both for name in ("", *names)}
    texts: dict[tuple[str, str], str] = {}
    for path in paths:
        known = {(each.prompt_id, each.model): each.text for each in answers_of(path)}
        known |= {(each.id, ""): each.text for each in prompts_of(path) if each.text}
        for prompt, name in sorted(judged & known.keys()):
            if texts.setdefault((prompt, name), known[prompt, name]) != known[prompt, name]:
                which = f"the answer of {name!r} to {prompt!r}" if name else f"prompt {prompt!r}"
                raise DataError(
                    f"a judge repeats itself on the same texts, but {which} is another in {path} "
                    f"than in {store}; judge that of {store} again, or drop its verdicts"
                )
    return repeatability(*runs)


def accuracy_table(found: Mapping[Policy, Agreement]) -> str:
    """Return one line per policy of labels, with the accuracy of a judge and its interval."""
    names = ["accuracy", "kappa", "whole"]
    rows = [
        [policy, str(each.pairs)]
        + [
            f"{getattr(each, name):.3f} ({getattr(each, f'{name}_low'):.3f} to "
            f"{getattr(each, f'{name}_high'):.3f})"
            for name in names
        ]
        for policy, each in found.items()
    ]
    return table(["labels", "pairs", *names], rows)


def drop(store: Path, reason: str | None, **chosen: str | None) -> int:
    """Set verdicts aside with a reason, or restore them where it is None; return their number.

    Raises DataError if no value is given, the reason is blank, or no verdict matches.

    Verdicts must have all `chosen` values of ``model``, ``baseline``, ``prompt_id``, ``judge``.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    where = " AND ".join(f"{name} = ?" for name in given)
    if not given:
        names = ", ".join(name.removesuffix("_id") for name in sorted(chosen))
        raise DataError(f"say which verdicts: at least one of {names}")
    if reason is not None and not reason.strip():
        raise DataError("verdicts are set aside with a reason, but it is blank; say why")
    if not store.is_file():
        raise DataError(f"a judge run must be a file, but there is no {store}")
    with writing(store) as open_store:
        count = open_store.drop(reason, where, list(given.values()))
    if not count:
        kind = "dropped verdict" if reason is None else "verdict"
        named = ", ".join(f"{name.removesuffix('_id')} {value!r}" for name, value in given.items())
        raise DataError(
            f"{store} holds no {kind} of {named}; micronas judge rate lists models, the set's "
            "prompts.jsonl the ids of prompts"
        )
    return count


def _cell(value: str | int | float | None) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("" if value is None else value)
