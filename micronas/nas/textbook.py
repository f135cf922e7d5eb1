"""Textbook networks, scaled to a budget: rivals of a search's draws.

They are its safety net: a result is at least as good as the best network copied from a paper.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.front_ends import front_end_costs
from micronas.nas.candidate import Candidate
from micronas.nas.member import Member
from micronas.space.decisions import GRID
from micronas.space.space import Space

_SCALED = ("width", "hidden", "expansion", "squeeze")
_STEPS = 16
"""Number of multipliers for each factor of two."""
_SPAN = (-3, 3)
"""Powers of two between which a multiplier lies."""


def textbook_networks(
    networks: Iterable[Space],
    board: Board,
    budget: Budget,
    *,
    kind: str,
    input_shape: tuple[int, int, int],
    classes: int,
    as_published: bool = False,
    meaning: Mapping[str, Any] = MappingProxyType({}),
) -> list[Candidate]:
    """Return each network at the widest that fits, without networks that fit at no multiplier.

    Networks are as published; `search_spaces/textbook/` has the shipped ones. With `as_published`
    those that could be wider are also returned with their published widths. Boards have latency
    models for a `kind` of network, see `Searchable.kind`. The input's shape is height, width,
    channels of the data, of which a network over time has the last two as channels; `meaning` is
    that of `DataSet.meaning`, for the front end's share of the budget.
    """
    height, width, channels = input_shape

    def rival(published: Space, factor: float) -> Candidate | None:
        network = scaled(published, factor)
        over_time = network.input[1] == 1
        shape = (height, 1, width * channels) if over_time else input_shape
        network = network.model_copy(update={"input": shape, "classes": classes, "task": kind})
        member = Member(network, board, budget, front_end=front_end_costs(meaning, shape))
        if not member.fits(()):
            return None
        label = f"{published.name} x{factor:.2f}"
        return Candidate("textbook", (), network, member.costs(()), label)

    found = []
    for published in networks:
        widest, low, high = None, _SPAN[0] * _STEPS, _SPAN[1] * _STEPS
        while low <= high:
            step = (low + high) // 2
            fits = rival(published, 2 ** (step / _STEPS))
            widest, low, high = (fits, step + 1, high) if fits else (widest, low, step - 1)
        found += [widest, *([rival(published, 1.0)] if as_published and high > 0 else [])]
    return [each for each in found if each is not None]


def shipped(names: Iterable[str]) -> list[Space]:
    """Return networks of `search_spaces/textbook/` by name."""
    return [Space.load(f"textbook/{name}") for name in names]


def scaled(network: Space, factor: float) -> Space:
    """Return a network with every width times a factor, rounded to a multiple of `GRID`."""

    def part(each: Any) -> Any:
        update = {
            field: tuple(max(GRID, round(width * factor / GRID) * GRID) for width in widths)
            for field in _SCALED
            if (widths := getattr(each, field, None)) is not None
        }
        return each.model_copy(update=update)

    return network.model_copy(
        update={
            "stem": part(network.stem),
            "blocks": tuple(map(part, network.blocks)),
            "head": part(network.head),
        }
    )
