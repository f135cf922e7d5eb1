"""Complete words for the Tab key; without any, the shell offers files."""

from collections.abc import Iterable

import typer


def board_names(incomplete: str) -> list[str]:
    from micronas.hardware.names import all_names

    return _starting(incomplete, [*all_names(), "all"])


def space_names(incomplete: str) -> list[str]:
    from micronas.resources import names

    return _starting(incomplete, names("search_spaces"))


def networks(incomplete: str) -> list[str]:
    from micronas.resources import names

    shipped = [
        f"{folder}/{name}"
        for folder in ("published", "textbook")
        for name in names(f"search_spaces/{folder}")  # type: ignore[arg-type]
    ]
    return _starting(incomplete, shipped)


def tasks(incomplete: str) -> list[str]:
    from micronas.tasks.registry import names

    return _starting(incomplete, names())


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return a setting's keys, or its values where there is a list of values.

    Bash takes ``=`` for a separate word, and click removes it where it is the last.
    """
    if "=" in incomplete:
        key, value = incomplete.split("=", 1)
        return [f"{key}={each}" for each in _values(key, value)]
    words: list[str] = ctx.params.get("overrides") or []
    *_, key, last = ["", "", *words]
    if last == "=":
        return _values(key, incomplete)
    if key != "=" and last and "=" not in last:
        return _values(last, incomplete)
    return _starting(incomplete, _keys())


def _values(key: str, incomplete: str) -> list[str]:
    offered = {"board": board_names, "space": space_names, "data.task": tasks}
    return offered[key](incomplete) if key in offered else []


def _keys() -> list[str]:
    from micronas.runs.settings import RunSettings
    from micronas.settings import settings_below

    keys = []
    for name, field in RunSettings.model_fields.items():
        inner = {key for each in settings_below(field) for key in each.model_fields}
        keys += [f"{name}.{key}=" for key in sorted(inner)] or [f"{name}="]
    return keys


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    return [word for word in words if word.startswith(incomplete)]
