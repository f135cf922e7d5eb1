"""Synthetic machines with labelled faults, to try the tool without recordings."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from micronas.errors import DataError
from micronas.tasks.corpus import write_corpus
from micronas.tasks.waveform import RATE, Signal, coloured_noise, to_int16, write_samples

_Fault = Literal["normal", "imbalance", "ticks", "rub", "loose belt"]
_FAULTS: dict[str, tuple[_Fault, ...]] = {
    "fan": ("imbalance", "ticks", "rub"),
    "slider": ("loose belt", "ticks", "rub"),
}
_IDS = 4
"""Number of machines of each type."""
_FAULT_LIST = "faults.csv"
_MARKER = "machines.json"
_VERSION = 1
_README = """\
These machines are computed, not recorded: fans with a shaft, blades and a bearing, and sliders that
go to and fro, with faults that were made up. They are for trying out micronas; what a network finds
in them says nothing about real machines. Faults of the test clips are listed in faults.csv.
"""


@dataclass(frozen=True)
class _Machine:
    """Properties of one machine, equal in all its clips."""

    hertz: float
    """Revolutions, or strokes to one side, per second."""
    harmonics: Signal
    resonance: float
    """Frequency of the bearing or the rail, in hertz."""
    breadth: float
    tilt: float
    """Exponent of the load noise."""
    tone: float
    """Number of blades of a fan; frequency of a slider's motor at full speed, in hertz."""


def synthesise(
    folder: Path, *, training: int = 24, test: int = 12, seconds: float = 5.0, seed: int = 0
) -> Path:
    """Write fans and sliders, four of each, in the DCASE layout: 16 kHz WAVs and ``faults.csv``.

    Each machine has so many normal clips for training, and so many normal and as many anomalous
    ones for test. Neighbouring machines of a type are of the same make and differ a little. Speed,
    load, level and the noise of the hall vary from clip to clip. The same arguments give the same
    bytes. A folder that already holds this corpus is kept; a corpus is written under a temporary
    name and renamed when complete. Raises DataError if the folder holds something else or cannot be
    written, or there would be no clip.
    """
    if min(training, test) < 1 or seconds < 1:
        raise DataError(
            "synthetic machines must have clips of a second or more in both parts, but got "
            f"training={training}, test={test}, seconds={seconds:g}; ask for more"
        )
    plan = {"training": training, "test": test, "seconds": seconds, "seed": seed}

    def write(partial: Path) -> None:
        _write(partial, training, test, seconds, seed)
        (partial / "README.txt").write_text(_README, encoding="utf-8")

    return write_corpus(
        folder, (_MARKER, json.dumps({"version": _VERSION, **plan}, indent=1)), write
    )


def _write(folder: Path, training: int, test: int, seconds: float, seed: int) -> None:
    rows: list[Sequence[object]] = [("file", "fault", "severity")]
    for number, (kind, faults) in enumerate(_FAULTS.items()):
        for part in ("train", "test"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        for unit in range(_IDS):
            generator = np.random.default_rng((seed, number, unit, 3))
            machine = _machine(kind, unit, (seed, number))
            clips: list[tuple[str, _Fault]] = [
                *((f"train/normal_id_{unit:02}_{i:08}.wav", "normal") for i in range(training)),
                *((f"test/normal_id_{unit:02}_{i:08}.wav", "normal") for i in range(test)),
                *(
                    (f"test/anomaly_id_{unit:02}_{i:08}.wav", faults[i % len(faults)])
                    for i in range(test)
                ),
            ]
            for name, fault in clips:
                severity = float(generator.uniform(0.5, 1.5)) if fault != "normal" else 0.0
                clip = _record(kind, machine, fault, severity, seconds, generator)
                write_samples(folder / kind / name, to_int16(clip))
                if fault != "normal":
                    rows.append((f"{kind}/{name}", fault, f"{severity:.3f}"))
    with (folder / _FAULT_LIST).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _machine(kind: str, unit: int, seed: tuple[int, int]) -> _Machine:
    """Return a machine of a type; units 0 and 1, 2 and 3 are of one make."""
    make = np.random.default_rng((*seed, unit // 2, 1))
    own = np.random.default_rng((*seed, unit, 2))
    hertz = make.uniform(22.0, 38.0) if kind == "fan" else make.uniform(0.7, 1.1)
    tone = float(make.integers(5, 10)) if kind == "fan" else make.uniform(300.0, 700.0)
    harmonics = make.uniform(0.3, 1.0, 12) * own.uniform(0.8, 1.2, 12)
    return _Machine(
        hertz=hertz,
        harmonics=harmonics / np.arange(1, 13) ** 0.7,
        resonance=make.uniform(1800.0, 4500.0) * own.uniform(0.92, 1.08),
        breadth=make.uniform(150.0, 350.0),
        tilt=make.uniform(0.8, 1.4),
        tone=tone if kind == "fan" else tone * own.uniform(0.97, 1.03),
    )


def _record(
    kind: str,
    machine: _Machine,
    fault: _Fault,
    severity: float,
    seconds: float,
    generator: np.random.Generator,
) -> Signal:
    """Return a clip [samples]: the machine under a random load, in a noisy hall."""
    samples = round(seconds * RATE)
    sound = (_fan if kind == "fan" else _slider)(machine, fault, severity, samples, generator)
    hall = coloured_noise(samples, generator.uniform(0.7, 1.3), generator)
    floor, level = 10 ** (generator.uniform((-30.0, -32.0), (-18.0, -26.0)) / 20)
    loudness = np.sqrt(np.mean(sound**2))
    clip: Signal = level * (sound / loudness + floor * hall)
    return clip


def _fan(
    machine: _Machine, fault: _Fault, severity: float, samples: int, generator: np.random.Generator
) -> Signal:
    """Return shaft harmonics, blades, load noise in time with the shaft, and bearing resonance."""
    time = np.arange(samples) / RATE
    wobble = np.interp(time, np.arange(0, time[-1] + 1, 0.5), _walk(time[-1], generator))
    drag = 0.03 * severity if fault == "rub" else 0.0
    hertz = machine.hertz * generator.uniform(0.98, 1.02) * (1 - drag + 0.002 * wobble)
    turns = np.cumsum(hertz) / RATE + generator.random()
    load = generator.uniform(0.7, 1.4)
    order = np.arange(1, 13)[:, None]
    shaft = machine.harmonics @ np.sin(2 * np.pi * order * (turns + generator.random((12, 1))))
    blades = np.sin(2 * np.pi * machine.tone * turns)
    noise = coloured_noise(samples, machine.tilt, generator)
    unevenness = 0.15 + (0.5 * severity if fault == "imbalance" else 0.0)
    noise *= 1 + unevenness * np.sin(2 * np.pi * turns)
    bearing = _band(generator.standard_normal(samples), machine.resonance, machine.breadth)
    sound: Signal = 0.4 * shaft + load * (0.4 * blades + 0.8 * noise) + 0.25 * bearing
    if fault == "imbalance":
        # the mounting gives way: the lower harmonics grow, unlike in a sound machine
        shake = generator.uniform(0.5, 1.0, 6) @ np.sin(2 * np.pi * order[:6] * turns)
        sound += 0.7 * severity * (shake + blades * np.sin(2 * np.pi * turns))
    elif fault == "ticks":
        sound += (
            0.4 * severity * _ticks(3.57 * turns, _off(machine.resonance, generator), generator)
        )
    elif fault == "rub":
        contact = np.maximum(np.cos(2 * np.pi * turns), 0) ** 4
        hiss = _band(generator.standard_normal(samples), _off(machine.resonance, generator), 400.0)
        sound += 0.5 * severity * contact * hiss
    return sound


def _slider(
    machine: _Machine, fault: _Fault, severity: float, samples: int, generator: np.random.Generator
) -> Signal:
    """Return strokes: a motor whose pitch follows the speed, rolling noise, and end stops."""
    time = np.arange(samples) / RATE
    strokes = machine.hertz * generator.uniform(0.96, 1.04) * time + generator.random()
    phase = strokes % 1.0
    # a trapezoid: acceleration for 15 % of the stroke, braking for 15 %, rest for 10 %
    speed = np.clip(np.minimum(phase, 0.9 - phase) / 0.15, 0.0, 1.0)
    load = generator.uniform(0.7, 1.4)
    slip = 0.12 * severity * (np.sin(2 * np.pi * 9 * time) - 1) if fault == "loose belt" else 0.0
    pitch = 2 * np.pi * np.cumsum(machine.tone * speed * (1 + slip)) / RATE
    order = np.arange(1, 7)[:, None]
    motor = speed * (machine.harmonics[:6] @ np.sin(order * pitch))
    rolling = speed * coloured_noise(samples, machine.tilt, generator)
    rail = speed * _band(generator.standard_normal(samples), machine.resonance, machine.breadth)
    sound: Signal = 0.5 * motor + load * 0.8 * rolling + 0.25 * rail
    sound += 0.5 * _ticks(strokes, 0.1 * machine.resonance, generator)
    if fault == "loose belt":
        sound += 0.9 * severity * _ticks(strokes - 0.15, 0.35 * machine.resonance, generator)
        sound += 0.5 * severity * _ticks(strokes - 0.19, 0.35 * machine.resonance, generator)
    elif fault == "ticks":
        rolled = np.cumsum(speed) * 45.0 / RATE
        sound += 0.55 * severity * _ticks(rolled, _off(machine.resonance, generator), generator)
    elif fault == "rub":
        contact = speed * np.exp(-(((phase - 0.5) / 0.12) ** 2))
        hiss = _band(generator.standard_normal(samples), _off(machine.resonance, generator), 400.0)
        sound += 0.9 * severity * contact * hiss
    return sound


def _off(resonance: float, generator: np.random.Generator) -> float:
    """Return the resonance of a damaged part, 0.6 to 1.4 times that of the sound one."""
    return resonance * float(generator.choice([0.6, 0.75, 1.25, 1.4]))


def _walk(seconds: float, generator: np.random.Generator) -> Signal:
    """Return a slow random walk, one value per half second."""
    steps = len(np.arange(0, seconds + 1, 0.5))
    return np.cumsum(generator.standard_normal(steps))


def _ticks(position: Signal, resonance: float, generator: np.random.Generator) -> Signal:
    """Return rings of the resonance at each whole number of the position, a little irregular."""
    starts = np.flatnonzero(np.diff(np.floor(position)) > 0) + 1
    starts = np.maximum(starts + generator.integers(-16, 17, len(starts)), 0)
    time = np.arange(RATE // 50) / RATE
    ring = np.sin(2 * np.pi * resonance * time) * np.exp(-time * 400.0)
    sound = np.zeros(len(position) + len(ring) + 32)
    for start, strength in zip(starts, generator.uniform(0.5, 1.5, len(starts)), strict=True):
        sound[start : start + len(ring)] += 2.0 * strength * ring
    return sound[: len(position)]


def _band(noise: Signal, centre: float, breadth: float) -> Signal:
    """Return the noise with a bell-shaped spectrum and a root mean square of one."""
    frequency = np.fft.rfftfreq(len(noise), 1 / RATE)
    bell = np.exp(-(((frequency - centre) / breadth) ** 2))
    filtered = np.fft.irfft(np.fft.rfft(noise) * bell, len(noise))
    normalised: Signal = filtered / np.sqrt(np.mean(filtered**2))
    return normalised
