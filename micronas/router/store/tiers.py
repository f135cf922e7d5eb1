"""The store: experts on disk, in a bounded host tier and, above it, in a bounded device tier."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from micronas.errors import ConfigError, MicronasError, ModelError
from micronas.quantities import parse_bytes
from micronas.router.store.backend import Memory, open_backend
from micronas.router.store.lru import Counts, Lru
from micronas.router.store.memory import Layout, Pages, read_layout, read_pages
from micronas.settings import nearest


@dataclass
class _Slot:
    """An expert's place in a tier; without memory yet, it is being loaded."""

    memory: Memory | None = None
    users: int = 1


@dataclass
class _Tier:
    name: str
    lru: Lru
    slots: dict[str, _Slot] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)


class ExpertStore:
    """Weights of many experts by name, within fixed bounds of memory.

    ``with store.use("code") as weights`` hands out the arrays of one expert and keeps it in
    memory meanwhile. Bounds count whole pages and include what is being loaded; they hold even
    if an array is kept longer than its ``with``, as its expert then counts as in use.
    Threads may share a store: an expert that several want is loaded once.

    Parameters
    ----------
    experts
        Each expert's safetensors file. A file is looked at when it is first needed, so that a
        damaged one does no harm to the others.
    host
        Most bytes in the host's memory, such as ``"10 GB"``.
    device
        Most bytes on the device; without it, weights are used where the host tier has them.
    backend
        ``numpy``, for read-only arrays in the process's own memory, or a device of torch.
    pinned
        Experts that are loaded now and stay in the top tier: the router, above all.
    timeout
        Seconds to wait until others return experts where the rest leaves no room.

    Raises
    ------
    ConfigError
        If a bound is not a size, a pinned name is unknown or does not fit, or the backend is
        not there.
    ModelError
        If the file of a pinned expert is missing or damaged.
    """

    def __init__(
        self,
        experts: Mapping[str, Path],
        host: int | str,
        *,
        device: int | str | None = None,
        backend: str = "numpy",
        pinned: Sequence[str] = (),
        timeout: float = 60.0,
    ) -> None:
        self._experts = dict(experts)
        self._backend = open_backend(backend)
        self._timeout = timeout
        self._layouts: dict[str, Layout] = {}
        self._pinned: dict[str, int] = {}
        self._changed = threading.Condition()
        self._host = _Tier("host", Lru(parse_bytes(host)))
        self._tiers = [self._host]
        if device is not None:
            self._tiers.append(_Tier("device", Lru(parse_bytes(device))))
        elif not self._backend.on_host:
            raise ConfigError(f"backend {backend} must have a bound of bytes; set device")
        self._top = self._tiers[-1]
        for name in dict.fromkeys(pinned):
            # a use that is never returned
            self._acquire(self._top, name)
            self._pinned[name] = self._layouts[name].size

    @contextmanager
    def use(self, name: str) -> Iterator[dict[str, Any]]:
        """Lend the weights of an expert, loading them if need be.

        Yields
        ------
        dict
            Arrays by the tensor's name, valid inside the ``with``: it is emptied afterwards.

        Raises
        ------
        ConfigError
            If the expert is unknown or larger than a tier, or if experts in use left no room
            until the timeout.
        ModelError
            If its file is missing or damaged.
        """
        slot = self._acquire(self._top, name)
        weights: dict[str, Any] = {}
        try:
            weights.update(self._backend.weights(slot.memory, self._layouts[name]))
            yield weights
        finally:
            weights.clear()
            self._release(slot)

    def counts(self) -> dict[str, Counts]:
        """Return what happened so far, by tier: ``host`` and, where there is one, ``device``.

        The host tier is asked for what the device tier missed, and loads of pinned experts count.
        """
        with self._changed:
            return {tier.name: replace(tier.counts) for tier in self._tiers}

    def used(self) -> dict[str, int]:
        """Return the bytes each tier holds now, those being loaded included."""
        with self._changed:
            return {tier.name: tier.lru.used for tier in self._tiers}

    def resident(self) -> frozenset[str]:
        """Return the experts in the top tier, which need no loading."""
        with self._changed:
            return frozenset(self._top.slots)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of memory, whole pages, that each sound expert takes."""
        damaged = self.check()
        return {name: self._layout(name).size for name in self._experts if name not in damaged}

    def check(self) -> dict[str, str]:
        """Look at the header of every file; return the errors of those that cannot be used."""
        errors = {}
        for name in self._experts:
            try:
                self._fit(name)
            except MicronasError as error:
                errors[name] = str(error)
        return errors

    def _layout(self, name: str) -> Layout:
        if name not in self._layouts:
            if name not in self._experts:
                raise ConfigError(f"unknown expert {name!r}; {nearest(name, self._experts)}")
            self._layouts[name] = read_layout(self._experts[name], dtypes=self._backend.dtypes)
        return self._layouts[name]

    def _fit(self, name: str) -> None:
        size = self._layout(name).size
        for tier in self._tiers:
            others = self._pinned if tier is self._top else {}
            pinned = sum(each for other, each in others.items() if other != name)
            if size > tier.lru.capacity - pinned:
                raise ConfigError(
                    f"an expert must fit into every tier beside what is pinned, but {name!r} takes "
                    f"{size} B and the {tier.name} tier has {tier.lru.capacity} B, "
                    f"{pinned} B of them pinned; raise {tier.name}"
                )

    def _acquire(self, tier: _Tier, name: str) -> _Slot:
        """Return the expert's slot in a tier, loaded, with one more user."""
        self._layout(name)
        with self._changed:
            deadline = time.monotonic() + self._timeout
            while True:
                slot = tier.slots.get(name)
                if slot is None:
                    self._fit(name)
                    if self._make_room(tier, self._layouts[name].size):
                        slot = self._reserve(tier, name)
                        break
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise self._crowded(tier, name)
                    self._changed.wait(left)
                elif slot.memory is None:
                    self._changed.wait()
                else:
                    slot.users += 1
                    tier.lru.touch(name)
                    tier.counts.hits += 1
                    return slot
        self._load(tier, name, slot)
        return slot

    def _make_room(self, tier: _Tier, size: int) -> bool:
        busy = {name for name, slot in tier.slots.items() if slot.users}
        while (victims := tier.lru.victims(size, keep=busy)) is not None:
            for name in victims:
                memory = tier.slots[name].memory
                if memory is not None and not memory.close():
                    busy.add(name)
                    break
                del tier.slots[name]
                tier.lru.discard(name)
                tier.counts.evictions += 1
            else:
                return True
        return False

    def _reserve(self, tier: _Tier, name: str) -> _Slot:
        tier.lru.add(name, self._layouts[name].size)
        tier.slots[name] = _Slot()
        return tier.slots[name]

    def _load(self, tier: _Tier, name: str, slot: _Slot) -> None:
        """Fill a reserved slot, from the tier below; where that fails, give it up."""
        try:
            memory, seconds = self._read(name) if tier is self._host else self._copy(name)
        except BaseException:
            with self._changed:
                del tier.slots[name]
                tier.lru.discard(name)
                self._changed.notify_all()
            raise
        with self._changed:
            slot.memory = memory
            tier.counts.misses += 1
            tier.counts.bytes += self._layouts[name].size
            tier.counts.seconds += seconds
            self._changed.notify_all()

    def _read(self, name: str) -> tuple[Memory, float]:
        begin = time.perf_counter()
        layout = read_layout(self._experts[name], dtypes=self._backend.dtypes)
        if layout != self._layouts[name]:
            raise ModelError(
                f"an expert's file must not change while a store is in use, but {layout.path} "
                "did; make a new store"
            )
        return read_pages(layout), time.perf_counter() - begin

    def _copy(self, name: str) -> tuple[Memory, float]:
        source = self._acquire(self._host, name)
        try:
            begin = time.perf_counter()
            return self._backend.load(cast(Pages, source.memory)), time.perf_counter() - begin
        finally:
            self._release(source)

    def _release(self, slot: _Slot) -> None:
        with self._changed:
            slot.users -= 1
            self._changed.notify_all()

    def _crowded(self, tier: _Tier, name: str) -> ConfigError:
        used = sorted(each for each, slot in tier.slots.items() if each not in self._pinned)
        return ConfigError(
            f"the {tier.name} tier must have room for {name!r}, but {', '.join(used)} stayed in "
            f"use for {self._timeout:g} s; raise {tier.name}, or use fewer experts at a time"
        )
