"""Progress of a long command: one bar per phase, and a TensorBoard log."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from micronas.event_file import EventFile
from micronas.quantities import format_cost

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""``progress(phase, done, total, numbers)``; a phase begins with none done, or where it goes on."""

_EXPECTED = "expected_"
_FORMAT = "{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}, {remaining} left{postfix}"
READING = "reading"
"""The phase before all others, in which mistakes show: they end in one line, without a bar."""
_DELAY = 1.5
"""Seconds before its bar is drawn."""
_TICK = 1.0
"""Seconds after which the time on a bar moves, whatever a step takes."""


class Bars:
    """Progress bars on stderr, or in a notebook, with what each phase has left; none if `quiet`.

    Used as a context manager, so that the last bar is closed whatever happens.

    Parameters
    ----------
    limits
        Limits of ``sram``, ``flash`` (bytes), ``latency`` (ms) and ``macs``: expected costs are
        shown against them.
    """

    def __init__(self, *, quiet: bool = False, limits: Mapping[str, float] | None = None) -> None:
        self._quiet = quiet
        self._limits = limits or {}
        self._bar: tqdm[Any] | None = None
        self._phase = ""
        self._ended = threading.Event()

    def __enter__(self) -> "Bars":
        if not self._quiet:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._close()

    def tell(self, line: str) -> None:
        """Write a line above the bar."""
        if not self._quiet:
            tqdm.write(line, file=sys.stderr)

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _tick(self) -> None:
        while not self._ended.wait(_TICK):
            bar = self._bar
            if bar is not None:
                _refresh(bar)

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        bar = self._bar
        if bar is None or phase != self._phase:
            self._close()
            self._phase = phase
            bar = tqdm(
                desc=f"{phase:12}",
                total=total,
                # what an earlier run did says nothing of this one's speed
                initial=done,
                file=sys.stderr,
                # one step alone says that something goes on, to a person who waits
                disable=self._quiet or (None if total == 1 else False),
                leave=total > 1,
                bar_format=_FORMAT,
                delay=_DELAY if phase == READING else 0,
            )
            self._bar = bar
        bar.set_postfix_str(shown(numbers, self._limits), refresh=False)
        bar.n = done
        _refresh(bar)


def _refresh(bar: "tqdm[Any]") -> None:
    if not bar.disable and time.time() >= bar.start_t + (bar.delay or 0):
        bar.refresh()


def shown(numbers: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """Write the numbers of a step for a person: accuracy, loss, expected costs of their limits."""
    parts = []
    if "validation_accuracy" in numbers:
        parts.append(f"accuracy {100 * numbers['validation_accuracy']:.1f} %")
    if "loss" in numbers:
        parts.append(f"loss {numbers['loss']:.3f}")
    for name, value in numbers.items():
        if name.startswith(_EXPECTED):
            cost = name.removeprefix(_EXPECTED)
            limit = f" of {format_cost(cost, limits[cost])}" if cost in limits else ""
            parts.append(f"{cost} {format_cost(cost, value)}{limit}")
    return ", ".join(parts)


class Log:
    """Writes every number to `folder` for TensorBoard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: EventFile | None = None

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        if not numbers:
            return
        if self._file is None:  # not before: the folder must still be claimed
            self._file = EventFile(self._folder)
        self._file.add({f"{phase}/{name}": value for name, value in numbers.items()}, step=done)


def both(first: Progress, second: Progress) -> Progress:
    """Tell two listeners."""

    def tell(phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        first(phase, done, total, numbers)
        second(phase, done, total, numbers)

    return tell
