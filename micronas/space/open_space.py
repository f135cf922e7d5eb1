"""A search space of several families, with choices that one set of weights cannot mix.

Widths, kernels, depths and kinds of blocks are decisions of a `Space`. The layout and resolution of
the input, strides, and all else that changes the size of maps are open in a family, and each way to
settle them is a separate space.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from micronas.errors import ConfigError
from micronas.settings import Extent, validate_settings
from micronas.space.decisions import BitsOptions
from micronas.space.searchable import Architecture
from micronas.space.space import Described, Space, read_space
from micronas.text import html_table

_MOST_WAYS = 1000

Picks = tuple[int, ...]
"""Index of the option taken at each `any` of a family."""


class OpenSpace(Described):
    """Families of networks, from which a search draws.

    Each family is a space without `name`, `task` and `classes`, and without `input` where all have
    the same. ``any: [...]`` may replace any value: one of the options is taken. In a list, an
    option that is a list itself is inserted item by item; an empty one inserts nothing.
    """

    name: str = "open"
    input: tuple[Extent, Extent, Extent] | None = None
    """Height, width, channels of families without their own input."""
    classes: Extent
    bits: BitsOptions = (8,)
    """Bits of weights in blocks without `bits`, and in the head's convolution. Where 4 is an
    option, networks are drawn with it if flash binds."""
    fill: float = Field(0.9, gt=0, le=0.9)
    """Least share of the budget that networks use. Below 0.9, for small data that small networks
    fit better, sizes are drawn evenly on a logarithmic scale, and textbook networks compete as
    published, too."""
    streaming: bool = False
    """All families stream, see `Space.streaming`."""
    families: dict[str, dict[str, Any]]
    textbook: tuple[str, ...] = ()
    """Networks of `search_spaces/textbook/` that compete in the trials, scaled to the budget."""

    @model_validator(mode="after")
    def _sound(self) -> "OpenSpace":
        """Check every family at least once with each option of each `any`."""
        if not self.families:
            raise ValueError("families must be at least one")
        if self.streaming and self.textbook:
            raise ValueError(
                "textbook networks must stream where the space does, but those of a paper pad "
                "their maps over time; leave textbook out, and describe them as families"
            )
        for family in self.families:
            for at, options in self.layouts(family):
                if not options:
                    raise ValueError(f"families.{family}: any must have options, at least one")
                twice = [each for place, each in enumerate(options) if each in options[:place]]
                if twice:
                    raise ValueError(
                        f"families.{family}.{at}: any must have each option once, but has "
                        f"{twice[0]!r:.60} twice, which would be drawn more often; leave one out"
                    )
        every = {family: self.sizes(family) for family in self.families}
        if self.count() > _MOST_WAYS:  # all are tried where hardly any fits a budget
            raise ValueError(
                f"families must be settled in at most {_MOST_WAYS:,} ways by any, but these are "
                "more; make lists of widths, kernels and repeats, which networks share weights of"
            )
        for family, sizes in every.items():
            for picks in _each_once(sizes):
                try:
                    self._settled(family, picks)
                except ConfigError as error:
                    raise ValueError(str(error)) from error
        return self

    @property
    def inputs(self) -> tuple[tuple[int, int, int], ...]:
        """Height, width and channels of every member, each once."""
        return tuple(dict.fromkeys(member.input for member in self.members()))

    def sizes(self, family: str) -> Picks:
        """Return the number of options of each `any` of a family."""
        return tuple(len(options) for _, options in self.layouts(family))

    def member(self, family: str, picks: Picks) -> Space:
        """Return a family with one option of each `any`."""
        found: Space = self._members(family, picks)
        return found

    def ways(self) -> Iterator[tuple[str, Picks]]:
        """Yield every way to settle every family."""
        for family in self.families:
            for picks in product(*map(range, self.sizes(family))):
                yield family, picks

    def members(self) -> Iterator[Space]:
        """Yield every member of every family."""
        for family in self.families:
            yield from self.members_of(family)

    def members_of(self, family: str) -> Iterator[Space]:
        """Yield every member of a family."""
        for picks in product(*map(range, self.sizes(family))):
            yield self.member(family, picks)

    def layouts(self, family: str) -> list[tuple[str, list[Any]]]:
        """Return the path of each `any` of a family, and its options as written."""
        return list(_layouts(self.families[family], ""))

    def draw(self, family: str, source: random.Random) -> Picks:
        """Draw an option of each `any`, all equally likely."""
        return tuple(source.randrange(size) for size in self.sizes(family))

    def label(self, family: str, architecture: Architecture) -> str:
        """Return a text that is unique to the network within the space."""
        assert isinstance(architecture, Space), "members are"
        return f"{family} {architecture.in_full}"

    def count(self) -> int:
        """Return the number of members, without the choices within each."""
        return sum(math.prod(self.sizes(family)) for family in self.families)

    def _repr_html_(self) -> str:
        rows = []
        for family in self.families:
            member = self.member(family, tuple(0 for _ in self.sizes(family)))
            blocks = " ".join(block.type for block in member.blocks)
            input_size = "x".join(map(str, member.input))
            rows.append((family, input_size, str(math.prod(self.sizes(family))), blocks))
        header = ("family", "input", "layouts", "blocks of the first")
        return html_table(header, rows, title=", ".join([self.name, *self.textbook]))

    @cached_property
    def _members(self) -> Any:
        return lru_cache(maxsize=4096)(self._settled)

    def _settled(self, family: str, picks: Picks) -> Space:
        described = _with_bits(_settled(self.families[family], iter(picks)), self.bits)
        values = {"name": f"{self.name}/{family}", "classes": self.classes, **described}
        if self.input is not None:
            values.setdefault("input", self.input)
        if self.task is not None:
            values["task"] = self.task
        if self.streaming:
            values["streaming"] = True
        return validate_settings(values, Space, source=f"families.{family}")


def load_space(source: str | Path) -> OpenSpace | Space:
    """Read a space of several families or of one.

    Parameters
    ----------
    source
        A YAML file, or the name of a shipped space.

    Raises
    ------
    ConfigError
        If there is no such space, or the file is not valid.
    """
    path, values, lines = read_space(source)
    kind: type[OpenSpace] | type[Space] = OpenSpace if "families" in values else Space
    return validate_settings(values, kind, source=str(path), lines=lines)


def _is_any(node: Any) -> bool:
    return isinstance(node, Mapping) and node.keys() == {"any"} and isinstance(node["any"], list)


def _layouts(node: Any, at: str) -> Iterator[tuple[str, list[Any]]]:
    """Yield the path and the options of each `any` of a description."""
    if _is_any(node):
        yield at, node["any"]
        for option in node["any"]:
            yield from _layouts(option, at)
    elif isinstance(node, Mapping | list):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in items:
            yield from _layouts(value, f"{at}.{key}" if at else str(key))


def _settled(node: Any, picks: Iterator[int]) -> Any:
    """Copy a description with one option of each `any`, picked in the order of `_layouts`."""
    if _is_any(node):
        pick = next(picks)
        return [_settled(each, picks) for each in node["any"]][pick]
    if isinstance(node, Mapping):
        return {key: _settled(value, picks) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    settled = list[Any]()
    for each in node:
        value = _settled(each, picks)
        settled += value if _is_any(each) and isinstance(value, list) else [value]
    return settled


def _with_bits(family: Mapping[str, Any], bits: Sequence[int]) -> dict[str, Any]:
    """Copy a settled description with `bits` in the parts that allow but do not give them."""

    def part(each: Any) -> Any:
        if not isinstance(each, Mapping) or each.get("type") == "pool":
            return each
        if isinstance(each.get("options"), list):
            return {**each, "options": list(map(part, each["options"]))}
        return {"bits": list(bits), **each}

    described, head = dict(family), family.get("head")
    if isinstance(family.get("blocks"), list):
        described["blocks"] = list(map(part, family["blocks"]))
    if isinstance(head, Mapping) and head.get("width") is not None:
        described["head"] = part(head)
    return described


def _each_once(sizes: Sequence[int]) -> Iterator[Picks]:
    """Yield picks that together take every option at least once."""
    for turn in range(max(sizes, default=1)):
        yield tuple(min(turn, size - 1) for size in sizes)
