"""Boards by their common names and the chips on them."""

import csv
import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from micronas import resources
from micronas.errors import ConfigError

_LONGEST = 60
"""Most characters of a name that are compared with others, in time of their square."""


@dataclass(frozen=True)
class _Named:
    """A name of a board."""

    name: str
    board: str
    """Shipped board of that name."""
    chip: str
    """Chip of that name, empty where the name is the board's own."""

    def __str__(self) -> str:
        return f"{self.name!r} ({self.chip}, board {self.board})" if self.chip else repr(self.name)


def names_of(board: str) -> list[str]:
    """Return further names of a shipped board."""
    return [each.name for each in _named().values() if each.board == board and each.chip]


def all_names() -> list[str]:
    """Return every name of a shipped board."""
    return [each.name for each in _named().values()]


def is_name(word: str) -> bool:
    """Return whether a shipped board has this name."""
    return _plain(word) in _named()


def board_file(wanted: str | Path) -> Path:
    """Return the file of a board: a user's own, or a shipped one by any of its names.

    Case, blanks, hyphens and underscores make no difference to a name. Raises ConfigError, which
    names the nearest board or chip, if there is none.
    """
    key = _plain(str(wanted).removesuffix(".yaml"))
    try:
        return resources.find("latency_models", wanted)
    except ConfigError:
        if key in _named():
            return resources.find("latency_models", _named()[key].board)
    close = difflib.get_close_matches(key[:_LONGEST], _named(), 1)
    way = (
        f"did you mean {_named()[close[0]]}?"
        if close
        else "`micronas boards` lists them; for another chip write a file of `like`, `clock`, "
        "`sram` and `flash`"
    )
    raise ConfigError(
        f"a board must be a file or one of those shipped, but got {str(wanted)!r:.200}; {way}"
    )


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name.lower())


@cache
def _named() -> dict[str, _Named]:
    """Return names of boards by their plain form."""
    folder = resources.folder("latency_models")
    boards = [_Named(name, name, "") for name in resources.names("latency_models")]
    with (folder / "board_names.csv").open(newline="", encoding="utf-8") as file:
        further = [_Named(**row) for row in csv.DictReader(file)]
    return {_plain(each.name): each for each in [*boards, *further]}
