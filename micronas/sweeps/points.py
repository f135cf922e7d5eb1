"""Expand a sweep's axes into points, each with the settings of its run. Imports no torch."""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from micronas.errors import ConfigError
from micronas.runs.settings import RunSettings, load_run
from micronas.settings import with_overrides
from micronas.sweeps.made import Made

Over = Mapping[str, Sequence[Any]]
"""Values of each setting that is varied, by its key."""
_KEYS = {"space": "space", "data": "data.path"}
"""Settings where the name of the function stands that makes it."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep."""

    name: str
    """Name of the point and of its folder: ``latency=20ms,board=stm32f446re``."""
    over: dict[str, Any]
    """Values of the varied keys."""
    settings: RunSettings
    made: Mapping[str, Made] = field(default_factory=dict)
    """The ``space`` and ``data`` that the settings do not describe."""

    @property
    def stored(self) -> str:
        """The settings as JSON, and what they do not describe."""
        stored = self.settings.model_dump(mode="json")
        return json.dumps({**stored, "made": self.made} if self.made else stored)

    @property
    def shared(self) -> str | None:
        """Hash of what a supernet depends on that boards and budgets do not change;
        None where there is none.

        Points of the same hash share it. Whether ``auto`` will train a supernet is mostly not known
        before data is read: then it shares nothing.
        """
        return self.settings.supernet_key(self.made)


def parse_over(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Read ``key=value,value,...`` of the command line; values are YAML.

    Raises
    ------
    ConfigError
        If a text is not of this form, or a key comes twice.
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
    """Return the cartesian product of what is varied, the last key varying fastest.

    Parameters
    ----------
    source, overrides
        The run that all points have in common; see `micronas.runs.settings.load_run`.
    made
        Of ``space`` and ``data`` those that the settings do not describe.

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
        settings.load_board()
        point = Point(",".join(pairs), chosen, settings, made)
        twin = found.get(point.name) or found.get(names.get(point.stored, ""))
        if twin:
            raise ConfigError(
                f"the points of a sweep must differ, but {point.over} and {twin.over} are the same "
                "run or would share a folder; leave one of them out"
            )
        found[point.name] = point
        names[point.stored] = point.name
    return list(found.values())


def _labels(keys: Iterable[str]) -> dict[str, str]:
    """The last part of each key, or the whole where two would be the same."""
    last = {key: key.rpartition(".")[2] for key in keys}
    short = list(last.values())
    return {key: name if short.count(name) == 1 else key for key, name in last.items()}


def _text(value: Any) -> str:
    """A value as part of a folder's name."""
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^\w.+-]+", "_", text.replace(" ", "").removesuffix(".yaml")).strip("_")
