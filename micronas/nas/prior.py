"""Networks drawn from a prior: widths that follow a smooth profile, scaled to the budget.

Random networks whose widths are independent have bottlenecks, which no other layer makes up for
(benchmarks.rank_correlation has the figures). Here a network is a depth, a kernel, three widths at
its start, middle and end, between which all others lie, and a factor by which it widens at every
stride; the uniform networks are the flat ones.
"""

import random

from micronas.graph.builder import Bits
from micronas.nas.budget import Limits, Meter
from micronas.nas.select import USED, moved
from micronas.space.architecture import Architecture
from micronas.space.search_space import Choice, SearchSpace

_NARROWEST = 1 / 3
"""Narrowest width of a profile, as a share of its widest."""
_GROWTH = 3
"""Most by which a network widens where a stride shrinks its maps; the field's take 2."""
_LARGE_KERNELS = 1 / 3
"""Share of the networks whose kernels are the largest instead of the smallest."""
_SCALES = 64
"""Steps of a factor of 2 ** (1 / 8) in which a profile is widened."""
_TRIES = 20
"""Draws for each network wanted, at most."""
_REPEATS = 100
"""Known networks drawn one after another: a small space has no more to give."""


def draw(
    space: SearchSpace, limits: Limits, meter: Meter, *, count: int, source: random.Random
) -> list[Choice]:
    """Draw up to `count` different networks that fit, and use 90 to 100 % of the budget.

    Of a space whose largest network fits, widths of any size are drawn. Networks that use less are
    given where there are not enough others: a space may be too small, or too coarse. Where nothing
    but the smallest networks fits, it is given whatever the draws were.
    """
    roomy = limits.fits(meter.costs(space.architecture(space.largest())))
    found: dict[Architecture, Choice] = {}
    spare: dict[Architecture, Choice] = {}
    repeats = 0
    for _ in range(_TRIES * count):
        if len(found) >= count or repeats == _REPEATS:
            break
        choice = _drawn(space, limits, meter, source, roomy=roomy)
        if choice is None:
            continue
        architecture = space.architecture(choice)
        share = max(limits.used(meter.costs(architecture)).values())
        kept = found if roomy or share >= USED else spare
        repeats = repeats + 1 if architecture in kept else 0
        kept.setdefault(architecture, choice)
    if not found and not spare:
        least = (space.smallest(), space.quickest())
        return [each for each in least if limits.fits(meter.costs(space.architecture(each)))][:1]
    return [*found.values(), *spare.values()][:count]


def _drawn(
    space: SearchSpace, limits: Limits, meter: Meter, source: random.Random, *, roomy: bool
) -> Choice | None:
    start, end = (_NARROWEST ** source.random() for _ in range(2))
    # nothing between the ends is narrower than both
    middle = min(start, end) ** source.random()
    growth = _GROWTH ** source.random()
    depth = source.random()
    kernel = float(source.random() < _LARGE_KERNELS)
    bits: Bits = source.choice((4, 8))

    def scaled(step: int) -> Choice:
        factor = 2 ** ((step - _SCALES + 8) / 8)
        profile = [min(factor * share, 1.0) for share in (start, middle, end)]
        return space.shaped(profile, growth=growth, depth=depth, kernel=kernel, bits=bits)

    def fits(step: int) -> bool:
        return limits.fits(meter.costs(space.architecture(scaled(step))))

    if roomy:
        return scaled(source.randrange(_SCALES + 1))
    if not fits(0):
        return None
    low, high = 0, _SCALES
    while low < high:
        step = (low + high + 1) // 2
        low, high = (step, high) if fits(step) else (low, step - 1)
    return moved(space, scaled(low), USED, limits, meter, source)
