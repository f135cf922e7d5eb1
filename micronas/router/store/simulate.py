"""Simulate a store on a trace: hits, bytes and time, from sizes and bandwidths alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from micronas.errors import ConfigError
from micronas.router.store.batch import BatchQueue
from micronas.router.store.lru import Belady, Counts, Lru, PolicyName
from micronas.settings import nearest


@dataclass(frozen=True)
class Level:
    """A tier of memory.

    Attributes
    ----------
    name
        Such as ``host``.
    capacity
        Most bytes it holds.
    bandwidth
        Bytes a second with which it is filled from the tier below.

    Raises
    ------
    ConfigError
        If the bandwidth is not positive.
    """

    name: str
    capacity: int
    bandwidth: float

    def __post_init__(self) -> None:
        if not self.bandwidth > 0:
            raise ConfigError(
                f"the bandwidth of {self.name} must be positive, but is {self.bandwidth}"
            )


@dataclass(frozen=True)
class Simulation:
    """Result of a trace.

    Attributes
    ----------
    requests
        Requests that were counted.
    lookups
        Times an expert was asked for: once per batch.
    tiers
        Counts by tier, the top tier last. A tier's requests are those the one above it missed.
    run_seconds
        Time the experts ran.
    """

    requests: int
    lookups: int
    tiers: dict[str, Counts]
    run_seconds: float

    @property
    def switch_seconds(self) -> float:
        """Time weights were moved."""
        return sum(counts.seconds for counts in self.tiers.values())

    @property
    def seconds_per_request(self) -> float:
        """Mean time of a request, one after the other."""
        return (self.switch_seconds + self.run_seconds) / self.requests

    @property
    def switch_share(self) -> float:
        """Part of the time in which weights were moved."""
        total = self.switch_seconds + self.run_seconds
        return self.switch_seconds / total if total else 0.0

    @property
    def hit_rates(self) -> dict[str, float]:
        """By tier, the part of all requests that moved nothing into it."""
        return {name: 1 - counts.misses / self.requests for name, counts in self.tiers.items()}


def simulate(
    trace: Sequence[str],
    sizes: Mapping[str, int],
    *,
    levels: Sequence[Level],
    policy: PolicyName = "lru",
    batch: int = 1,
    patience: int = 16,
    run_seconds: float = 0.0,
    pinned: Sequence[str] = (),
    warmup: int = 0,
) -> Simulation:
    """Run a trace through tiers of memory.

    The tiers start empty, but for what is pinned. Loads take bytes / bandwidth and follow one
    another, as in `ExpertStore`, whose choice of what goes is the same code.

    Parameters
    ----------
    trace
        Experts in the order they are asked for.
    sizes
        Bytes of each of them, and of what is pinned.
    levels
        Tiers from the disk upwards; the last is where experts run.
    policy
        ``lru``, or ``belady``, which knows the future: in each tier, of what reaches it.
    batch
        That many requests wait at a time and are grouped by expert (`BatchQueue`); another comes
        for each that is served. With 1 they run in order of arrival.
    patience
        Most batches that overtake a request.
    run_seconds
        Time an expert takes for one request, its weights at hand.
    pinned
        What stays in the top tier: the router, above all. Loading it is not counted.
    warmup
        Requests at the beginning that fill the tiers; batches of them alone are not counted.

    Raises
    ------
    ConfigError
        If an expert has no size or does not fit into a tier beside what is pinned, or no request
        is left to count.
    """
    held = sum(sizes.get(name, 0) for name in set(pinned))
    levels = [*levels[:-1], replace(levels[-1], capacity=levels[-1].capacity - held)]
    _check(trace, sizes, levels, pinned, warmup)
    lookups = _lookups(trace, sizes, Lru(levels[-1].capacity), pinned, batch, patience, warmup)
    counted = [each.requests for each in lookups if each.counted]
    tiers: dict[str, Counts] = {}
    for level in reversed(levels):
        always = pinned if level is levels[-1] else ()
        tiers[level.name], lookups = _replay(lookups, sizes, level, policy, always)
    return Simulation(
        requests=sum(counted),
        lookups=len(counted),
        tiers=dict(reversed(tiers.items())),
        run_seconds=sum(counted) * run_seconds,
    )


@dataclass(frozen=True)
class _Lookup:
    name: str
    requests: int
    counted: bool


def _lookups(
    trace: Sequence[str],
    sizes: Mapping[str, int],
    tier: Lru,
    pinned: Sequence[str],
    batch: int,
    patience: int,
    warmup: int,
) -> list[_Lookup]:
    """Return the batches in which a server with this top tier would run a trace."""
    queue: BatchQueue[None] = BatchQueue(batch, patience=patience)
    coming = iter(trace)
    for name in islice(coming, batch):
        queue.put(None, name)
    lookups: list[_Lookup] = []
    served = 0
    while len(queue):
        taken = queue.take(resident={*tier, *pinned})
        if taken.expert not in pinned:
            _visit(tier, taken.expert, sizes)
        served += len(taken.requests)
        lookups.append(_Lookup(taken.expert, len(taken.requests), served > warmup))
        for name in islice(coming, len(taken.requests)):
            queue.put(None, name)
    return lookups


def _replay(
    lookups: Sequence[_Lookup],
    sizes: Mapping[str, int],
    level: Level,
    policy: PolicyName,
    pinned: Sequence[str],
) -> tuple[Counts, list[_Lookup]]:
    """Return what happens at one tier, and the lookups it misses."""
    names = [each.name for each in lookups if each.name not in pinned]
    tier = Lru(level.capacity) if policy == "lru" else Belady(level.capacity, names)
    counts = Counts()
    missed = []
    for each in lookups:
        evicted = None if each.name in pinned else _visit(tier, each.name, sizes)
        if evicted is not None:
            missed.append(each)
        if each.counted and evicted is None:
            counts.hits += 1
        elif each.counted and evicted is not None:
            counts.misses += 1
            counts.evictions += len(evicted)
            counts.bytes += sizes[each.name]
            counts.seconds += sizes[each.name] / level.bandwidth
    return counts, missed


def _visit(tier: Lru, name: str, sizes: Mapping[str, int]) -> list[str] | None:
    """Use a name; return who had to go for it, or None if it was there."""
    if name in tier:
        tier.touch(name)
        return None
    victims = tier.victims(sizes[name]) or []
    for victim in victims:
        tier.discard(victim)
    tier.add(name, sizes[name])
    return victims


def _check(
    trace: Sequence[str],
    sizes: Mapping[str, int],
    levels: Sequence[Level],
    pinned: Sequence[str],
    warmup: int,
) -> None:
    if not 0 <= warmup < len(trace):
        raise ConfigError(
            f"requests must be left to count, but got warmup={warmup} of {len(trace)}; lower warmup"
        )
    for name in sorted({*trace, *pinned}):
        if name not in sizes:
            raise ConfigError(f"unknown expert {name!r}; {nearest(name, sizes)}")
    if levels[-1].capacity < 0:
        raise ConfigError(
            "what is pinned must fit into the top tier, but exceeds it by "
            f"{-levels[-1].capacity} B; raise {levels[-1].name}"
        )
    for name in sorted(set(trace) - set(pinned)):
        for level in levels:
            if sizes[name] > level.capacity:
                raise ConfigError(
                    f"an expert must fit into every tier beside what is pinned, but {name!r} takes "
                    f"{sizes[name]} B and {level.name} has room for {level.capacity} B; "
                    f"raise {level.name}"
                )
