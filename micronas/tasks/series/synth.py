"""Synthetic gestures of a wrist with six axes, as CSV files, to try the tool."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from micronas.arrays import Floats
from micronas.tasks.corpus import write_corpus

_RATE_HZ = 50
COLUMNS = ("ax", "ay", "az", "gx", "gy", "gz")
_README = "README.txt"
_TEXT = """\
Made-up gestures, seed {seed}: accelerations in g and turning rates in degrees a second at 50 Hz,
one folder per gesture, files named PERSON_TAKE.csv. People differ in tempo, size and how they wear
the device. No human moved; a network that knows these knows nobody's wrist.
"""
_PEOPLE, _TAKES, _SECONDS = 10, 2, 12.0
_GRAVITY = 9.81


def _idle(phase: Floats, size: float) -> tuple[Floats, Floats]:
    still = 0.02 * size * np.sin(phase / 3)
    return np.stack([still, still, still], 1), np.stack([still, still, still], 1)


def _shake(phase: Floats, size: float) -> tuple[Floats, Floats]:
    side = 8 * size * np.sign(np.sin(2 * phase)) * np.abs(np.sin(2 * phase)) ** 0.7
    zero = np.zeros_like(phase)
    return np.stack([side, 0.2 * side, zero], 1), np.stack([zero, zero, 0.5 * np.cos(2 * phase)], 1)


def _circle(phase: Floats, size: float) -> tuple[Floats, Floats]:
    across, up = 6 * size * np.cos(phase), 6 * size * np.sin(phase)
    return np.stack([across, up, 0 * up], 1), np.stack([0 * up, 0 * up, 0.4 * np.sin(phase)], 1)


def _lift(phase: Floats, size: float) -> tuple[Floats, Floats]:
    up = 5 * size * np.sin(phase) * (1 + 0.5 * np.sin(2 * phase))
    zero = np.zeros_like(phase)
    return np.stack([zero, 0.2 * up, up], 1), np.stack([0.8 * np.sin(phase), zero, zero], 1)


def _twist(phase: Floats, size: float) -> tuple[Floats, Floats]:
    zero = np.zeros_like(phase)
    roll = 4 * size * np.sin(phase)
    return np.stack([zero, 0.3 * roll, 0.3 * roll], 1), np.stack([roll, zero, zero], 1)


_GESTURES: dict[str, Callable[[Floats, float], tuple[Floats, Floats]]] = {
    "circle": _circle,
    "idle": _idle,
    "lift": _lift,
    "shake": _shake,
    "twist": _twist,
}


def synthesise(
    folder: Path, *, seed: int = 0, people: int = _PEOPLE, seconds: float = _SECONDS
) -> Path:
    """Write ``circle/p00_0.csv`` and so on: time_s, three accelerations, three turning rates.

    Raises DataError if the folder holds something else or cannot be written.
    """

    def write(partial: Path) -> None:
        for number, gesture in enumerate(_GESTURES):
            (partial / gesture).mkdir(parents=True)
            for person in range(people):
                for take in range(_TAKES):
                    source = np.random.default_rng((seed, number, person, take))
                    table = _record(gesture, np.random.default_rng((seed, person)), source, seconds)
                    file = partial / gesture / f"p{person:02}_{take}.csv"
                    write_table(file, ("time_s", *COLUMNS), table)

    text = _TEXT.format(seed=seed) + f"{people} people, {seconds:g} seconds a file.\n"
    return write_corpus(folder, (_README, text), write)


def write_table(path: Path, names: Sequence[str], table: Floats) -> None:
    """Write a CSV file of a table [rows, columns] below the names of its columns."""
    np.savetxt(path, table, fmt="%.5g", delimiter=",", header=",".join(names), comments="")


def _record(
    gesture: str, person: np.random.Generator, take: np.random.Generator, seconds: float
) -> Floats:
    """Return one take [samples, 7]: the time and six axes, for a person's size, tempo and wrist."""
    time = np.arange(round(seconds * _RATE_HZ)) / _RATE_HZ
    tempo, size, tilt = person.uniform(0.8, 1.7), person.uniform(0.6, 1.4), person.normal(0, 0.4, 3)
    wander = np.cumsum(take.normal(0, 0.02, len(time)))
    phase = 2 * np.pi * tempo * time * take.uniform(0.9, 1.1) + wander + take.uniform(0, 6.28)
    moved, turned = _GESTURES[gesture](phase, size * take.uniform(0.8, 1.2))
    worn = _rotation(tilt + take.normal(0, 0.1, 3))
    force = (moved + np.array([0.0, 0.0, _GRAVITY])) @ worn.T / _GRAVITY + take.normal(
        0, 0.06, moved.shape
    )
    rate = np.degrees(turned) @ worn.T + take.normal(0, 6.0, turned.shape)
    return np.column_stack([time, force, rate])


def _rotation(angles: Floats) -> Floats:
    """Return the rotation [3, 3] about x, then y, then z."""
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix
