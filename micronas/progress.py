"""Progress of a long command: a bar or a line per phase."""

import io
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from tqdm.auto import tqdm

from micronas.quantities import format_cost, format_duration

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""``progress(phase, done, total, numbers)``; a phase begins with none done, or where it goes on."""


def nobody(phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
    """Progress that is shown to nobody."""


_EXPECTED = "expected_"
_FORMAT = "{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}, {remaining} left{postfix}"
READING = "reading"
"""The phase before all others, in which mistakes show: they end in one line, without a bar."""
_DELAY = 1.5
"""Seconds before its bar is drawn."""
_TICK = 1.0
"""Seconds after which the time on a bar moves, whatever a step takes."""


class Bars:
    """Progress of each phase: bars in a terminal, one in a notebook, elsewhere a line a minute.

    All on stderr; nothing if `quiet`. Used as a context manager, so that the last bar is closed
    whatever happens.

    Parameters
    ----------
    limits
        Limits of ``sram``, ``flash`` (bytes), ``latency`` (ms) and ``macs``: expected costs are
        shown against them.
    every
        Seconds between two lines.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        limits: Mapping[str, float] | None = None,
        every: float = 60.0,
    ) -> None:
        self._quiet = quiet
        self._limits = limits or {}
        self._every = every
        self._in_notebook = "ipykernel" in sys.modules
        self._drawn = sys.stderr.isatty() or self._in_notebook
        self._bar: tqdm[Any] | None = None
        self._phase = ""
        self._said = time.monotonic()
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
        while not self._ended.wait(min(_TICK, self._every)):
            bar = self._bar
            if bar is None:
                continue
            if self._drawn:
                _refresh(bar)
            elif time.monotonic() >= self._said + self._every:
                self._said = time.monotonic()
                self.tell(_line(bar))

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
                file=sys.stderr if self._drawn else io.StringIO(),
                disable=self._quiet,
                # one step alone says that something goes on, to a person who waits; a notebook has
                # one bar, of the phase that runs
                leave=total > 1 and not self._in_notebook,
                bar_format=_FORMAT,
                delay=_DELAY if phase == READING else 0,
            )
            self._bar = bar
        bar.set_postfix_str(shown(numbers, self._limits), refresh=False)
        bar.n = done
        if self._drawn:
            _refresh(bar)


def _refresh(bar: "tqdm[Any]") -> None:
    if not bar.disable and time.time() >= bar.start_t + (bar.delay or 0):
        bar.refresh()


def _line(bar: "tqdm[Any]") -> str:
    """The state of a bar as a line: ``training 12/40, 3 min, 7 min left, loss 0.412``."""
    said = bar.format_dict
    done, total, elapsed = said["n"] - said["initial"], said["total"], said["elapsed"]
    left = f", {format_duration(elapsed / done * (total - said['n']))} left" if done > 0 else ""
    numbers = f", {said['postfix']}" if said["postfix"] else ""
    phase = said["prefix"].removesuffix(": ").strip()
    return f"{phase} {said['n']}/{total}, {format_duration(elapsed)}{left}{numbers}"


def shown(numbers: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """Write the numbers of a step for a person: accuracy, loss, expected costs of their limits."""
    parts = []
    if "validation_accuracy" in numbers:
        parts.append(f"accuracy {100 * numbers['validation_accuracy']:.1f} %")
    names = (name for name in numbers if name.startswith("validation_"))
    parts += [
        f"{name.removeprefix('validation_')} {numbers[name]:.3g}"
        for name in names
        if name != "validation_accuracy"
    ]
    if "loss" in numbers:
        parts.append(f"loss {numbers['loss']:.3f}")
    for name, value in numbers.items():
        if name.startswith(_EXPECTED):
            cost = name.removeprefix(_EXPECTED)
            limit = f" of {format_cost(cost, limits[cost])}" if cost in limits else ""
            parts.append(f"{cost} {format_cost(cost, value)}{limit}")
    return ", ".join(parts)
