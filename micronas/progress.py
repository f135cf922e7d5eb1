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
"""``progress(phase, done, total, numbers)``; a phase begins with 0 done, or where it resumes."""


def nobody(phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
    """Show no progress."""


_EXPECTED = "expected_"
_FORMAT = "{desc} {bar:20} {n_fmt}/{total_fmt} {elapsed}, {remaining} left{postfix}"
READING = "reading"
"""First phase, which finds most mistakes: they end in one line, without a bar."""
_DELAY = 1.5
"""Seconds before the bar of `READING` is drawn."""
_TICK = 1.0
"""Seconds between updates of the time on a bar, independent of steps."""


class Bars:
    """Progress of each phase: bars in a terminal, one in a notebook, elsewhere a line per minute.

    Output goes to stderr; there is none if `quiet`. Use it as a context manager, which closes the
    last bar.

    Parameters
    ----------
    limits
        Limits of ``sram``, ``flash`` (bytes), ``latency`` (ms) and ``macs``, shown beside expected
        costs.
    every
        Seconds between two lines.
    """

    def __init__(
        self, *, quiet: bool = False, limits: Mapping[str, float] | None = None, every: float = 60.0
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
                # steps of an earlier run do not count for the speed of this one
                initial=done,
                file=sys.stderr if self._drawn else io.StringIO(),
                disable=self._quiet,
                # the bar of a single step is removed at its end; a notebook has one bar, of the
                # current phase
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
    """Return the state of a bar as a line: ``training 12/40, 3 min, 7 min left, loss 0.412``."""
    said = bar.format_dict
    done, total, elapsed = said["n"] - said["initial"], said["total"], said["elapsed"]
    left = f", {format_duration(elapsed / done * (total - said['n']))} left" if done > 0 else ""
    numbers = f", {said['postfix']}" if said["postfix"] else ""
    phase = said["prefix"].removesuffix(": ").strip()
    return f"{phase} {said['n']}/{total}, {format_duration(elapsed)}{left}{numbers}"


def shown(numbers: Mapping[str, float], limits: Mapping[str, float]) -> str:
    """Return the numbers of a step as text: accuracy, loss, expected costs with their limits."""
    parts = []
    for name, value in numbers.items():
        if name.startswith("validation_"):
            text = f"{100 * value:.1f} %" if name == "validation_accuracy" else f"{value:.3g}"
            parts.append(f"{name.removeprefix('validation_')} {text}")
    if "loss" in numbers:
        parts.append(f"loss {numbers['loss']:.3f}")
    for name, value in numbers.items():
        if name.startswith(_EXPECTED):
            cost = name.removeprefix(_EXPECTED)
            limit = f" of {format_cost(cost, limits[cost])}" if cost in limits else ""
            parts.append(f"{cost} {format_cost(cost, value)}{limit}")
    return ", ".join(parts)
