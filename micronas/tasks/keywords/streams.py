"""Long made-up recordings: keywords at known times among other words, pauses and noise."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np

from micronas.errors import DataError
from micronas.tasks.corpus import write_corpus
from micronas.tasks.keywords.folder import STANDARD_KEYWORDS
from micronas.tasks.keywords.synth import VOICES, Request, find_engine, render, trimmed, voices_of
from micronas.tasks.keywords.words import BETWEEN
from micronas.tasks.parts import PARTS
from micronas.tasks.waveform import RATE, Samples, Signal, coloured_noise, to_int16, write_samples

MARKS = "events.csv"
_PIECE_S = 300.0
_MARKER = "streams.json"


class Spoken(NamedTuple):
    """A word in a long recording."""

    label: str
    sound: Signal
    ends: bool
    """The word ends a turn, and a pause follows."""


def synthesise_streams(folder: Path, *, minutes: float, seed: int = 0) -> Path:
    """Write long recordings of synthetic speech to choose and evaluate thresholds on.

    ``validation`` and ``testing``, of so many minutes each, hold recordings of five minutes and
    ``events.csv`` with the times of all words. Voices are those of the same part of the corpus that
    `micronas.tasks.keywords.synth.synthesise` makes from the same seed; words other than keywords
    are in one part only. Raises DataError as that does.
    """
    if not 0 < minutes <= 6_000:
        raise DataError(
            f"long recordings must last up to 6,000 minutes, but got {minutes:g}; ask for less"
        )
    engine = find_engine()
    plan = {
        "minutes": float(minutes),
        "words": [*STANDARD_KEYWORDS],
        "voices": VOICES,
        "seed": seed,
    }

    def write(partial: Path) -> None:
        speakers = voices_of(engine, VOICES, np.random.default_rng(seed))
        for number, part in enumerate(PARTS[1:], 1):
            own = [voice for place, voice in speakers if place == number]
            others = BETWEEN[number % 2 :: 2]
            generator = np.random.default_rng((seed, 3, number))
            requests = _turns(others, own, generator)
            asked, said = tee(requests)
            sounds = render((request for request, _ in asked), engine)
            spoken = (
                Spoken(request[3], sound, ends)
                for sound, (request, ends) in zip(sounds, said, strict=False)
            )
            write_streams(partial / part, spoken, minutes, generator)

    return write_corpus(folder, (_MARKER, json.dumps(plan, indent=1)), write)


def write_streams(
    folder: Path, spoken: Iterator[Spoken], minutes: float, generator: np.random.Generator
) -> None:
    """Write recordings in which endless words follow one another, and ``events.csv``."""
    folder.mkdir(parents=True)
    rows = []
    left = minutes * 60
    for number in range(-int(-left // _PIECE_S)):
        name = f"{number:03}.wav"
        samples, marks = stream(spoken, min(_PIECE_S, left), generator)
        write_samples(folder / name, samples)
        rows += [(name, label, f"{start:.3f}", f"{end:.3f}") for label, start, end in marks]
        left -= _PIECE_S
    text = io.StringIO()
    csv.writer(text).writerows([("recording", "label", "start", "end"), *rows])
    (folder / MARKS).write_text(text.getvalue(), encoding="utf-8")


def stream(
    spoken: Iterator[Spoken], seconds: float, generator: np.random.Generator
) -> tuple[Samples, list[tuple[str, float, float]]]:
    """Return a recording, int16 [samples], and label, start and end of each word in seconds.

    There are 0.1 to 0.6 s between the words of a turn and 0.8 to 3 s between turns; each turn has
    its own level, over noise of one colour and level.
    """
    length = round(seconds * RATE)
    level = 10 ** (generator.uniform(-60.0, -36.0) / 20)
    sound = level * coloured_noise(length, generator.uniform(0.0, 1.5), generator)
    marks: list[tuple[str, float, float]] = []
    place, loudness = RATE, generator.uniform(0.2, 0.9)
    for label, speech, ends in spoken:
        word = trimmed(speech)
        if place + len(word) + RATE > length:
            break
        sound[place : place + len(word)] += loudness * word / np.max(np.abs(word), initial=1e-9)
        marks.append((label, place / RATE, (place + len(word)) / RATE))
        place += len(word) + round(generator.uniform(*((0.8, 3.0) if ends else (0.1, 0.6))) * RATE)
        loudness = generator.uniform(0.2, 0.9) if ends else loudness
    return to_int16(sound), marks


def _turns(
    others: Sequence[str], voices: Sequence[str], generator: np.random.Generator
) -> Iterator[tuple[Request, bool]]:
    """Yield words without end: turns of one keyword or of 3 to 12 other words, equally often."""
    while True:
        is_keyword = generator.random() < 0.5
        count = 1 if is_keyword else int(generator.integers(3, 13))
        voice = str(generator.choice(voices))
        speed, pitch = generator.integers((120, 30), (221, 71)).tolist()
        for word in generator.choice(STANDARD_KEYWORDS if is_keyword else others, count).tolist():
            count -= 1
            yield (voice, speed, pitch, word), count == 0
