"""Keys of settings, with what a reader needs of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import BeforeValidator, Field

from micronas.errors import ConfigError
from micronas.keys import as_yaml, keys, kinds_below, select
from micronas.settings import OneOf, Settings


class Length(Settings):
    """How long something takes."""

    epochs: int = Field(40, ge=1)
    """Passes over
    the data."""
    rate: float = Field(0.1, gt=0, le=1)


class Circle(Settings):
    shape: Literal["circle"] = "circle"
    radius: float


class Square(Settings):
    shape: Literal["square"] = "square"
    side: Annotated[int, BeforeValidator(int)] = 3


def shapes() -> Mapping[str, type[Settings]]:
    return {"circle": Circle, "square": Square}


class Point(Settings):
    """A place."""

    x: int
    """Steps to the right
    and up."""
    y: int = 0


class Whole(Settings):
    """All of it."""

    name: str
    """Of the whole, in ``small`` letters."""
    first: Length = Length()
    second: Length = Length(epochs=2)
    mode: Literal["a", "b"] | None = None
    folder: Path | Literal["off"] = "off"
    points: tuple[Point, ...] = ()
    named: dict[str, Circle] = Field(default_factory=dict)
    perhaps: Square | None = None
    drawn: Annotated[Settings, OneOf("shape", shapes)]


SHOWN = """\
# Of the whole, in `small` letters.
name:  # required, text
first:
  # Passes over the data.
  epochs: 40  # integer, at least 1
  rate: 0.1  # number, above 0, at most 1
second: {epochs: 2}  # as first
mode: null  # a | b
folder: off  # path or off
points:
    # Steps to the right and up.
  - x:  # required, integer
    y: 0  # integer
named:
  NAME:
    shape: circle  # circle
    radius:  # required, number
perhaps:  # absent by default
  shape: square  # square
  side: 3
drawn:  # required, one of circle, square"""


def test_keys_as_yaml() -> None:
    shown = as_yaml(keys(Whole))
    assert shown.replace("'off'", "off") == SHOWN
    assert yaml.safe_load(shown)["points"] == [{"x": None, "y": 0}]


def test_keys_as_rows() -> None:
    rows = {each.name: each for each in keys(Whole)}
    assert rows["points[].x"].meaning == "Steps to the right and up."
    assert rows["named.NAME.radius"].default is None
    assert rows["first"].default == ""
    assert (rows["first.rate"].default, rows["mode"].default) == ("0.1", "null")


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("second", ["second.epochs", "second.rate"]),
        ("second.rate", ["second.rate"]),
        ("points", ["points[].x", "points[].y"]),
        ("points.y", ["points[].y"]),
        ("named.radius", ["named.NAME.radius"]),
        ("drawn", ["drawn"]),
        ("drawn.square", ["drawn.shape", "drawn.side"]),
        ("drawn.square.side", ["drawn.side"]),
    ],
)
def test_part_of_the_keys(path: str, names: list[str]) -> None:
    assert [each.name for each in select(Whole, path)] == names


def test_a_part_has_the_defaults_of_where_it_stands() -> None:
    assert select(Whole, "second.epochs")[0].default == "2"
    assert [each.default for each in select(Whole, "second")] == ["2", "0.1"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("secon", "second"),
        ("second.epoch", "epochs"),
        ("drawn.squar", "square"),
        ("name.x", "name has none"),
    ],
)
def test_a_key_that_there_is_not(path: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        select(Whole, path)


def test_kinds_that_a_key_picks() -> None:
    assert kinds_below(Whole) == {"drawn.circle": Circle, "drawn.square": Square}
