"""Objectives by name."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from micronas.errors import DataError
from micronas.objectives.anomalies import Anomalies
from micronas.objectives.base import Objective
from micronas.objectives.classes import Classes
from micronas.objectives.labels import Labels
from micronas.objectives.regression import Regression

OBJECTIVES: dict[str, type[Objective]] = {
    each.name: each for each in (Classes, Labels, Regression, Anomalies)
}


def to_plain(objective: Objective) -> dict[str, Any]:
    """Return an objective as JSON values."""
    return {"name": objective.name, **asdict(objective)}  # type: ignore[call-overload]


def from_plain(values: Mapping[str, Any]) -> Objective:
    """Return the objective of `to_plain`'s values.

    Raises DataError if no objective has that name.
    """
    name = values["name"]
    if name not in OBJECTIVES:
        raise DataError(
            f"an objective must be one of {', '.join(OBJECTIVES)}, but the data set has {name!r}; "
            "import the module that registers it in micronas.objectives.registry.OBJECTIVES"
        )
    fields = {key: value for key, value in values.items() if key != "name"}
    return OBJECTIVES[name](
        **{key: tuple(each) if isinstance(each, list) else each for key, each in fields.items()}
    )
