"""Networks within a budget: uniform ones, and draws from a prior of smooth widths.

Random networks with independent widths have bottlenecks, which no other layer makes up for
(figures: benchmarks.rank_correlation). Here a network has a depth, a kernel, three widths at its
start, middle and end, between which all others lie, and a factor by which it widens at every
stride; uniform networks are the flat ones.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from micronas.nas.member import Member
from micronas.space.decisions import Choice, Decision
from micronas.space.searchable import Searchable

USED = 0.9
"""Least share of the binding budget that a proposal uses."""
PLACES = 6
"""Number of coordinates of a `Profile`."""
_MOVES = 400
"""Single-step changes tried to bring one draw inside the budget."""
_NARROWEST = 1 / 3
"""Narrowest width of a profile, as a share of its widest."""
_GROWTH = 3
"""Largest factor of widening where a stride shrinks the maps; published networks take 2."""
_LARGE_KERNELS = 1 / 3
"""Share of the networks whose kernels are the largest instead of the smallest."""
_SCALES = 64
"""Steps of a factor of 2 ** (1 / 8) in which a profile is widened."""
_TRIES = 20
"""Most draws for each network wanted."""
_PAYS = 1.4
"""Least ratio of multiply-accumulates at which weights of 4 bits pay: textbook networks gained 1.2
to 3.1 points at 1.9 to 2.0, and -0.2 and 1.0 at 1.2 (`benchmarks.open_spaces`, `four`)."""
_REPEATS = 100
"""Known networks in a row after which drawing ends: a small space has no more."""


def draw(member: Member, *, count: int, source: random.Random, fill: float = USED) -> list[Choice]:
    """Draw up to `count` different networks that fit, and use 90 to 100 % of the budget.

    With a lower `fill` each uses 90 to 100 % of a share of the budget, drawn evenly on a
    logarithmic scale such that 90 % of the share is at least `fill`.

    Where the largest network of the space fits, widths of any size are drawn. Networks that use
    less are returned where others are too few: a space may be too small, or too coarse. Where only
    the smallest network fits, it is returned for any draw.
    """
    space, roomy = member.space, member.is_roomy
    found: dict[Choice, Choice] = {}
    spare: dict[Choice, Choice] = {}
    repeats = 0
    for _ in range(_TRIES * count):
        if len(found) >= count or repeats == _REPEATS:
            break
        # draw no number where there is nothing to choose: old draws stay the same
        room = 1.0 if fill >= USED else (fill / USED) ** source.random()
        choice = _drawn(member, source, roomy=roomy, room=room)
        if choice is None:
            continue
        network = space.canonical(choice)
        kept = found if roomy or member.share(choice) >= min(USED, fill) else spare
        repeats = repeats + 1 if network in kept else 0
        kept.setdefault(network, choice)
    if not found and not spare:
        least = (space.smallest(), space.quickest())
        return [choice for choice in least if member.fits(choice)][:1]
    return [*found.values(), *spare.values()][:count]


def draw_any(space: Searchable, *, count: int, source: random.Random) -> list[Choice]:
    """Draw up to `count` different networks of any size, evenly on a logarithmic scale of width."""
    found: dict[Choice, Choice] = {}
    for _ in range(_TRIES * count):
        if len(found) >= count:
            break
        profile = Profile.at(space, [source.random() for _ in range(PLACES)], source)
        choice = profile.scaled(space, source.randint(profile.narrowest(space), _SCALES))
        found.setdefault(space.canonical(choice), choice)
    return list(found.values())


@dataclass(frozen=True)
class Profile:
    """Curve of the widths of a network, and its depth and kernels as in `Searchable.shaped`.

    Shares of the largest width at the start, middle and end are 1/3 to 1; `scaled` sets the overall
    width.
    """

    start: float
    middle: float
    end: float
    growth: float
    """Factor at every stride, 1 to 3."""
    depth: float
    kernel: float
    bits: int = 8
    kinds: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def at(cls, space: Searchable, place: Sequence[float], source: random.Random) -> "Profile":
        """Return the profile at a point of the unit cube, on which the prior is uniform.

        `place` has `PLACES` numbers from 0 to 1; bits and kinds of blocks, which have no order, are
        drawn from `source`.
        """
        start, end = (_NARROWEST**share for share in place[:2])
        return cls(
            start=start,
            end=end,
            # no width between the ends is below both
            middle=min(start, end) ** place[2],
            growth=_GROWTH ** place[3],
            depth=place[4],
            kernel=float(place[5] < _LARGE_KERNELS),
            bits=source.choice((4, 8)),
            kinds={
                number: source.randrange(len(decision.options))
                for number, decision in enumerate(space.decisions)
                if decision.kind == "select"
            },
        )

    def scaled(self, space: Searchable, step: int) -> Choice:
        """Return the network at one of 65 scales, each 2 ** (1 / 8) times wider than the last."""
        factor = 2 ** ((step - _SCALES + 8) / 8)
        shares = [min(factor * share, 1.0) for share in (self.start, self.middle, self.end)]
        return space.shaped(
            shares,
            growth=self.growth,
            depth=self.depth,
            kernel=self.kernel,
            bits=self.bits,
            kinds=self.kinds,
        )

    def narrowest(self, space: Searchable) -> int:
        """Return the last step at which all widths are still the smallest."""
        least = self.scaled(space, 0)
        return _last(lambda step: self.scaled(space, step) == least)

    def widest(self, member: Member, room: float = 1.0) -> Choice:
        """Return the widest network within a share of the budget; the narrowest if none is."""
        step = _last(lambda step: member.share(self.scaled(member.space, step)) <= room)
        return self.scaled(member.space, step)


def _last(holds: Callable[[int], bool]) -> int:
    """Return the last of the scales up to which something holds, by bisection; 0 if none."""
    low, high = 0, _SCALES
    while low < high:
        step = (low + high + 1) // 2
        low, high = (step, high) if holds(step) else (low, step - 1)
    return low


def _drawn(member: Member, source: random.Random, *, roomy: bool, room: float) -> Choice | None:
    space = member.space
    profile = Profile.at(space, [source.random() for _ in range(PLACES)], source)
    if profile.bits == 4 and (roomy or not _wants_four(member, profile)):
        profile = replace(profile, bits=8)
    if roomy:
        return profile.scaled(space, source.randrange(_SCALES + 1))
    least = member.share(profile.scaled(space, 0))
    if least > 1.0:
        return None
    room = max(room, least)
    return moved(member, profile.widest(member, room), USED * room, source, most=room)


def _wants_four(member: Member, profile: Profile) -> bool:
    """Return whether flash binds, and 4 bits widen the network enough to pay."""
    if all(each.kind != "bits" for each in member.space.decisions):
        return False
    eight, four = (replace(profile, bits=bits).widest(member) for bits in (8, 4))
    pays = member.costs(four).macs >= _PAYS * member.costs(eight).macs
    return member.binding(eight)[0] == "flash" and pays


def uniform_networks(member: Member) -> list[Choice]:
    """Return the widest uniform network that fits, for each of up to three depths.

    Where 4 bits are an option, also the widest of full depth with 4 bits everywhere.
    """
    space = member.space
    found: dict[Choice, Choice] = {}
    for depth, bits in ((1.0, 8), (2 / 3, 8), (1 / 3, 8), (1.0, 4)):
        shaped = (space.uniform(percent / 100, depth, bits) for percent in range(1, 101))
        fitting = [choice for choice in shaped if member.fits(choice)]
        if fitting:
            found.setdefault(space.canonical(fitting[-1]), fitting[-1])
    return list(found.values())


def moved(
    member: Member, choice: Choice, floor: float, source: random.Random, *, most: float = 1.0
) -> Choice:
    """Move single options at random until `floor` to `most` of the limit that binds is used."""
    decisions = member.space.decisions
    for _ in range(_MOVES):
        binding, share = member.binding(choice)
        if floor <= share <= most:
            break
        direction = 1 if share < floor else -1
        movable = [
            (position, option)
            for position, decision in enumerate(decisions)
            if (step := _towards(decision, binding, direction))
            and 0 <= (option := choice[position] + step) < len(decision.options)
        ]
        if not movable:
            break
        position, option = source.choice(movable)
        choice = (*choice[:position], option, *choice[position + 1 :])
    return choice


def _towards(decision: Decision, cost: str, direction: int) -> int:
    """Return the step that moves a cost up or down, by the sign of `direction`.

    Fewer bits take less flash and more time: bits go up where flash is left or time is short, down
    where flash is short, and stay where time is left. Kinds of blocks have no order, and stay.
    """
    if decision.kind == "select":
        return 0
    if decision.kind == "bits":
        return {("flash", 1): 1, ("flash", -1): -1, ("latency", -1): 1}.get((cost, direction), 0)
    return direction
