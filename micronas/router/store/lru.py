"""Evict by least recent use within a bound of bytes, for the store and the simulator."""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

PolicyName = Literal["lru", "belady"]


@dataclass
class Counts:
    """Counts of one tier of memory.

    Attributes
    ----------
    hits
        Requests that found the expert in the tier.
    misses
        Requests that had it loaded into the tier.
    evictions
        Experts that made room for others.
    bytes
        Bytes loaded into the tier. None ever leave it: weights are read-only.
    seconds
        Time of those loads, added up.
    """

    hits: int = 0
    misses: int = 0
    evictions: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Lru:
    """Names and their bytes within a bound; the least recently used goes first.

    It is told about memory and holds none.

    Parameters
    ----------
    capacity
        Most bytes of all names together.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self._sizes: OrderedDict[str, int] = OrderedDict()

    def __contains__(self, name: object) -> bool:
        return name in self._sizes

    def __iter__(self) -> Iterator[str]:
        return iter(self._sizes)

    def touch(self, name: str) -> None:
        """Note that a resident name is used now."""
        self._sizes.move_to_end(name)

    def add(self, name: str, size: int) -> None:
        """Take in a name, which is used now.

        Raises
        ------
        ValueError
            If that exceeds the bound: room has to be made before.
        """
        if self.used + size > self.capacity:
            raise ValueError(f"{name} of {size} B exceeds {self.capacity} B, {self.used} B used")
        self._sizes[name] = size
        self.used += size

    def discard(self, name: str) -> None:
        """Take a resident name out."""
        self.used -= self._sizes.pop(name)

    def victims(self, size: int, *, keep: Container[str] = ()) -> list[str] | None:
        """Return who has to go so that ``size`` bytes fit; nobody in ``keep`` does.

        Returns
        -------
        list or None
            The names, first out first; None where all others together are too small.
        """
        missing = self.used + size - self.capacity
        chosen: list[str] = []
        for name in self._order() if missing > 0 else ():
            if name not in keep:
                chosen.append(name)
                missing -= self._sizes[name]
            if missing <= 0:
                break
        return chosen if missing <= 0 else None

    def _order(self) -> Iterable[str]:
        return self._sizes


class Belady(Lru):
    """The name whose next use is farthest goes first: it needs to know all requests beforehand.

    For experts of equal size no other choice has fewer misses (Belady 1966). It is a bound to
    compare with, not something a server can do.

    Parameters
    ----------
    capacity
        Most bytes of all names together.
    requests
        Every request to come. Each one must reach `touch` or `add`.
    """

    def __init__(self, capacity: int, requests: Sequence[str]) -> None:
        super().__init__(capacity)
        self._last = len(requests)
        self._uses: defaultdict[str, deque[int]] = defaultdict(deque)
        for position, name in enumerate(requests):
            self._uses[name].append(position)

    def touch(self, name: str) -> None:
        self._uses[name].popleft()

    def add(self, name: str, size: int) -> None:
        super().add(name, size)
        self._uses[name].popleft()

    def _order(self) -> Iterable[str]:
        def next_use(name: str) -> int:
            return self._uses[name][0] if self._uses[name] else self._last

        return sorted(self._sizes, key=next_use, reverse=True)
