"""Do what the commands ask with files: read a run's inputs, rate a store, import, and tables."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.judge import importers
from micronas.judge.battles import Battles
from micronas.judge.checks import null_answers
from micronas.judge.leaderboard import (
    Statistics,
    at_equal_length,
    by_categories,
    leaderboard,
    read_categories,
)
from micronas.judge.manifest import MANIFEST, Prompt, load_prompts
from micronas.judge.rows import Answer, read_answers
from micronas.judge.run import JudgeSettings
from micronas.settings import read_settings
from micronas.text import table


def check_built(folder: Path) -> None:
    """Raise DataError where a folder holds no evaluation set."""
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
    config: Path, overrides: Iterable[str], prompts: Path, answers: Path, *, null: bool
) -> tuple[JudgeSettings, list[Prompt], list[Answer]]:
    """Read the settings, prompts and answers of a run; `null` adds constant answers."""
    settings = read_settings(config, JudgeSettings, overrides)
    asked, said = load_prompts(prompts), read_answers(answers)
    if not null:
        return settings, asked, said
    constant = null_answers(asked, settings.rubric.scale)
    if settings.models:
        names = dict.fromkeys(answer.model for answer in constant)
        settings = settings.model_copy(update={"models": [*settings.models, *names]})
    return settings, asked, [*said, *constant]


def ratings(
    battles: Battles,
    statistics: Statistics,
    *,
    by_category: bool = False,
    categories: Path | None = None,
    equal_length: bool = False,
) -> tuple[list[dict[str, Any]], str]:
    """Rate models on all prompts, in each category or at equal length.

    Parameters
    ----------
    categories
        CSV of prompt_id and category, in place of the store's own.

    Returns
    -------
    rows, text
        One row per rating, as JSON values, and a table of them for a terminal.
    """
    names = ["model", "rate", "low", "high"]
    if by_category or categories is not None:
        own = None if categories is None else read_categories(categories)
        rows, names = by_categories(battles, statistics, own), ["category", *names]
    elif equal_length:
        rows, names = at_equal_length(battles, statistics), [*names, "score"]
    else:
        rows, names = leaderboard(battles, statistics).rows(), [*names, "score", "prompts"]
    return rows, table(names, [[_cell(row[name]) for name in names] for row in rows])


def import_verdicts(
    kind: str, source: Path, out: Path, *, baseline: str | None, results: Iterable[Path]
) -> tuple[int, int]:
    """Read another tool's verdicts into a store; return how many, and how many are invalid."""
    match kind:
        case "arena-hard":
            found = importers.arena_hard(source, baseline=baseline)
        case "alpaca-eval":
            found = importers.alpaca_eval(source)
        case "llmfao":
            found = importers.llmfao(source)
        case _:
            found = importers.pandalm(source, {path.stem: path for path in results})
    found.save(out)
    return len(found.verdicts), sum(row.outcome is None for row in found.verdicts)


def _cell(value: str | int | float) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
