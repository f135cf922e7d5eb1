"""Synthetic machines that run until they fail, as CSV files with values and labels."""

from pathlib import Path

import numpy as np

from micronas.arrays import Floats
from micronas.tasks.corpus import write_corpus
from micronas.tasks.series.synth import write_table

COLUMNS = ("vibration", "pressure", "current", "rul", "worn", "leaking")
_README = "README.txt"
_TEXT = """\
Made-up machines that run until they fail, seed {seed}, a file each: vibration, pressure and
current of each cycle; rul, the cycles left, at most {most}; worn and leaking, 1 while that holds.
No machine ran; a network that knows these knows no machine.
"""
_MACHINES, _SHORTEST, _LONGEST, _MOST = 20, 100, 160, 80


def synthesise(folder: Path, *, seed: int = 0) -> Path:
    """Write ``m00.csv`` and so on: one line per cycle, with `COLUMNS`.

    Raises DataError if the folder holds something else or cannot be written.
    """

    def write(partial: Path) -> None:
        partial.mkdir(parents=True)
        for number in range(_MACHINES):
            table = _run(np.random.default_rng((seed, number)))
            write_table(partial / f"m{number:02}.csv", COLUMNS, table)

    text = _TEXT.format(seed=seed, most=_MOST) + f"{_MACHINES} machines.\n"
    return write_corpus(folder, (_README, text), write)


def _run(source: np.random.Generator) -> Floats:
    """Return one machine until its failure [cycles, 6], with growing wear and passing leaks."""
    count = int(source.integers(_SHORTEST, _LONGEST))
    left = np.arange(count)[::-1]
    wear = np.exp(-left / 35.0)
    leaking = np.zeros(count)
    for _ in range(3):
        start = int(source.integers(count))
        leaking[start : start + int(source.integers(15, 40))] = 1
    noise = source.normal(0, 1, (3, count))
    vibration = wear + 0.08 * noise[0]
    pressure = 20 - 3 * leaking + 0.5 * noise[1]
    current = 5 + wear + 0.3 * noise[2]
    return np.column_stack(
        [vibration, pressure, current, np.minimum(left, _MOST), left < 30, leaking]
    )
