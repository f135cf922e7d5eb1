"""Expand a sweep's axes into points, each with the settings of its run. Imports no torch."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from micronas.errors import ConfigError, DataError
from micronas.files import text_hash
from micronas.runs.settings import RunSettings, load_run
from micronas.settings import with_overrides
from micronas.space.content import content
from micronas.sweeps.made import Made

Over = Mapping[str, Sequence[Any]]
"""Values of each varied setting, by its key."""
_KEYS = {"space": "space", "data": "data.path"}
"""Settings that hold the name of the function that makes a space or data."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    name: str
    """Name of the point and of its folder: ``latency=20ms,board=stm32f446re``."""
    over: dict[str, Any]
    """Values of the varied keys."""
    settings: RunSettings
    made: Mapping[str, Made] = field(default_factory=dict)
    """``space`` and ``data`` that the settings do not describe."""

    @cached_property
    def _named(self) -> dict[str, str]:
        """Hashes of what the settings only name."""
        named = {"board": self.settings.board_content()}
        if "space" not in self.made:
            named["space"] = content(self.settings.load_space())
        return named

    @property
    def stored(self) -> str:
        """Settings as JSON, with `made` and hashes of what the settings only name."""
        return json.dumps([self.settings.model_dump(mode="json"), self.made, self._named])

    @property
    def run(self) -> str:
        """What is stored, however paths are spelt: equal for two points that are the same run."""
        settings = {**self.settings.model_dump(), **self._named}
        return json.dumps([settings, self.made], default=_resolved)

    @property
    def data(self) -> str:
        """Hash of the settings of the data."""
        return text_hash(self.settings.data.model_dump_json())[:16]

    @property
    def shared(self) -> str | None:
        """Hash of the supernet that points share, see `RunSettings.supernet_key`; None for none."""
        return self.settings.supernet_key(self.made)


def parse_over(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read ``key=value,value,...`` of the command line; values are YAML.

    Raises ConfigError if a text is not of this form, or a key comes twice.
    """
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, equals, values = (part.strip() for part in text.partition("="))
        if not (key and equals and values):
            raise ConfigError(f"what a sweep is over must be KEY=VALUE,VALUE,..., but got {text!r}")
        if key in found:
            raise ConfigError(f"a sweep must name a key once, but {key!r} comes twice; join them")
        found[key] = with_overrides({}, [f"values=[{values}]"])["values"]
    return found


def plan(
    source: str | Path,
    over: Over,
    overrides: Sequence[str] = (),
    *,
    made: Mapping[str, Made] | None = None,
) -> list[Point]:
    """Return the cartesian product of the varied values, the last key varying fastest.

    Parameters
    ----------
    source, overrides
        Common run of all points; see `micronas.runs.settings.load_run`.
    made
        ``space`` and ``data`` that the settings do not describe.

    Raises
    ------
    ConfigError
        If a point's settings or its board are not valid, or two points are the same run.
    """
    if not over or not all(isinstance(each, list | tuple) and each for each in over.values()):
        raise ConfigError(
            "a sweep must be over one key or more, with a list of values each, but got "
            f"{dict(over)}; for example --over budget.latency=20ms,50ms"
        )
    over = json.loads(json.dumps(over, default=str))
    made = made or {}
    own = {_KEYS[key]: each.function for key, each in made.items()}
    labels = _labels(over)
    found: dict[str, Point] = {}
    names: dict[str, str] = {}
    for values in itertools.product(*over.values()):
        chosen = dict(zip(over, values, strict=True))
        pairs = [f"{labels[key]}={_text(value)}" for key, value in chosen.items()]
        varied = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        settings = load_run(source, [*overrides, *varied], own=own)
        point = Point(",".join(pairs), chosen, settings, made)
        run = _run(point)
        twin = found.get(point.name) or found.get(names.get(run, ""))
        if twin:
            raise ConfigError(
                f"the points of a sweep must differ, but {point.over} and {twin.over} are the same "
                "run or would share a folder; leave one of them out"
            )
        found[point.name] = point
        names[run] = point.name
    return list(found.values())


def _run(point: Point) -> str:
    try:
        return point.run
    except DataError as error:
        if "data" not in point.made:
            raise
        raise ConfigError(
            "a function that makes data must have a task without files, but "
            f"data.task={point.settings.data.task} reads them for the shape of the input; set "
            "data.task=arrays"
        ) from error


def _resolved(value: object) -> str:
    return str(value.expanduser().resolve() if isinstance(value, Path) else value)


def _labels(keys: Iterable[str]) -> dict[str, str]:
    """Return the last part of each key, or the whole key where two would be equal."""
    last = {key: key.rpartition(".")[2] for key in keys}
    short = list(last.values())
    return {key: name if short.count(name) == 1 else key for key, name in last.items()}


def _text(value: Any) -> str:
    """Return a value as part of a folder's name."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^\w.+-]+", "_", text.replace(" ", "").removesuffix(".yaml")).strip("_")
