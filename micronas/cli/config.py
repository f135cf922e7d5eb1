"""The command that shows keys of settings: config."""

from dataclasses import asdict
from pkgutil import resolve_name
from typing import Annotated, Any

import typer

from micronas.cli.shared import Json, show

FILES = {
    "run": ("a search or training", "micronas.runs.settings:RunSettings"),
    "space": ("a search space", "micronas.space.space:Space"),
    "board": ("a board", "micronas.hardware.board:Board"),
    "judge": ("a judge run", "micronas.judge.run:JudgeSettings"),
    "set": ("the recipe of an evaluation set", "micronas.judge.recipe:Recipe"),
    "router": ("a router", "micronas.router.fit:RouterSettings"),
    "serve": ("serving experts", "micronas.router.serve.settings:ServeSettings"),
}
"""Kinds of YAML files, with their settings classes."""


def config(
    section: Annotated[
        str | None,
        typer.Argument(help="Kind of file, or a key such as search.trial, data.kws, serve.limits."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the keys of a YAML file: types, defaults and meanings, as YAML."""
    if section is None:
        show(sections(), as_json, _overview)
        return
    from micronas.keys import as_yaml

    found = section_keys(section)
    show([asdict(each) for each in found], as_json, lambda: as_yaml(found))


def section_keys(section: str) -> list[Any]:
    """Return the keys of `micronas config SECTION`; without a kind of file, those of a run."""
    from micronas.keys import keys, select

    file, _, path = section.partition(".")
    if file not in FILES:
        file, path = "run", section
    return select(_settings_of(file), path) if path else keys(_settings_of(file))


def _settings_of(file: str) -> Any:
    """Return the settings class of a kind of file."""
    return resolve_name(FILES[file][1])


def sections() -> dict[str, str]:
    """Return a description of each section."""
    from micronas.keys import kinds_below

    parts = {
        name: "data of a task" if name.startswith("data.") else "a strategy of a search"
        for name in kinds_below(_settings_of("run"))
    }
    blocks = {f"space.{name}": "a type of block" for name in kinds_below(_settings_of("space"))}
    return {name: what for name, (what, _) in FILES.items()} | parts | blocks


def _overview() -> str:
    from micronas.text import pairs

    return f"{pairs(sections())}\n\nmicronas config SECTION shows its keys."
