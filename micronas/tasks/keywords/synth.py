"""A synthetic keyword corpus, to try the tool without recordings."""

import importlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, NamedTuple

import numpy as np
from tqdm import tqdm

from micronas.errors import DataError
from micronas.tasks.corpus import write_corpus
from micronas.tasks.keywords.folder import NOISE_FOLDER, STANDARD_KEYWORDS
from micronas.tasks.keywords.words import invent
from micronas.tasks.parts import PARTS
from micronas.tasks.waveform import RATE, Signal, coloured_noise, resample, to_int16, write_samples

_OTHER_WORDS = ("bed", "bird", "cat", "happy", "house", "seven", "tree", "wow")
_ACCENTS = (
    *("en", "en-us", "en-029", "en-gb-scotland"),
    *("en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc"),
)
VOICES = (64, 20, 20)
"""Number of voices in each part."""
_MADE_UP = "made_up"
_MARKER = "corpus.json"
_VERSION = 1
_NOISE_SECONDS = 30
_README = """\
This is synthetic speech: every clip was spoken by one formant synthesiser (eSpeak NG) in different
voices, with noise added. It is for trying out micronas, not for products: a network trained on it
recognises synthetic voices it has never heard, but far fewer words of real people, and its accuracy
says nothing about theirs. Record people, or use the Speech Commands data set, for anything real.
"""


@dataclass(frozen=True)
class _Plan:
    """Everything that decides the bytes of a corpus."""

    version: int
    words: tuple[str, ...]
    voices: tuple[int, int, int]
    clips_per_voice: int
    seed: int
    made_up: int

    @property
    def text(self) -> str:
        """Plan as it is stored; without made-up words it has no entry for them."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "made_up" or v}, indent=1)


Request = tuple[str, int, int, str]
"""Voice, words per minute, pitch and text."""


class _Utterance(NamedTuple):
    part: int
    name: str
    request: Request


def synthesise(
    folder: Path,
    *,
    words: Sequence[str] = STANDARD_KEYWORDS + _OTHER_WORDS,
    voices: tuple[int, int, int] = VOICES,
    clips_per_voice: int = 2,
    made_up: int = 0,
    seed: int = 0,
) -> Path:
    """Write a corpus in the Speech Commands layout: 16 kHz clips of one second, lists, noises.

    Each of the words names a folder, with `clips_per_voice` at different speeds, pitches, levels
    and noise floors. Voices, of which 104 exist, are counted for training, validation and test;
    none is in two parts. With `made_up`, the folder of that name holds so many clips by each voice,
    each of another word that does not exist. The same arguments give the same bytes. A folder that
    already holds this corpus is kept; a corpus is written under a temporary name and renamed when
    complete. Raises DataError if the speech engine is not installed, there are too few voices, a
    word cannot name a folder, or the folder holds something else.
    """
    plan = _Plan(_VERSION, tuple(words), voices, clips_per_voice, seed, made_up)

    def write(partial: Path) -> None:
        engine = find_engine()
        _write_clips(partial, _plan_utterances(plan, engine), engine, plan)
        _write_noises(partial / NOISE_FOLDER, plan.seed)
        (partial / "README.txt").write_text(_README, encoding="utf-8")

    return write_corpus(folder, (_MARKER, plan.text), write)


def find_engine() -> ModuleType:
    try:
        return importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise DataError(
            "synthetic speech must have its engine, but the package espeakng-loader is not "
            "installed; run pip install espeakng-loader"
        ) from error


def _plan_utterances(plan: _Plan, engine: ModuleType) -> list[_Utterance]:
    for word in plan.words:
        if not word or word.startswith(("_", ".")) or not word.replace(" ", "").isalnum():
            raise DataError(
                f"a word must be letters or digits, since it names a folder, but got {word!r}; "
                "choose another"
            )
    if plan.clips_per_voice < 1:
        raise DataError(
            f"a corpus must have at least one clip a voice, but got clips_per_voice="
            f"{plan.clips_per_voice}; ask for more"
        )
    if not 0 <= plan.made_up <= 1_000:
        raise DataError(
            f"a voice may say up to 1,000 made-up words, but got made_up={plan.made_up}; choose "
            "another number"
        )
    generator = np.random.default_rng(plan.seed)
    voices = voices_of(engine, plan.voices, generator)
    utterances = [
        _utterance(part, voice, word, word, take, generator)
        for part, voice in voices
        for word in plan.words
        for take in range(plan.clips_per_voice)
    ]
    # after all others, which are the same without them
    for part, voice in voices:
        for take in range(plan.made_up):
            word = invent(generator, plan.words)
            utterances.append(_utterance(part, voice, _MADE_UP, word, take, generator))
    return utterances


def _utterance(
    part: int, voice: str, folder: str, word: str, take: int, generator: np.random.Generator
) -> _Utterance:
    speaker = voice.replace("+", "-").replace(" ", "-")
    speed, pitch = generator.integers((120, 30), (221, 71)).tolist()
    name = f"{folder}/{speaker}_nohash_{take}.wav"
    return _Utterance(part, name, (voice, speed, pitch, word))


def voices_of(
    engine: ModuleType, counts: tuple[int, int, int], generator: np.random.Generator
) -> list[tuple[int, str]]:
    """Return part and name of each voice, by the number of voices in each part.

    Raises DataError if a part has no voice, or too few exist.
    """
    variants = sorted(path.name for path in Path(engine.get_data_path(), "voices", "!v").iterdir())
    if min(counts) < 1 or sum(counts) > len(variants):
        raise DataError(
            f"a corpus must have at least one voice a part and {len(variants)} voices in all, but "
            f"got voices={counts}; ask for fewer"
        )
    order = generator.permutation(len(variants))[: sum(counts)]
    parts = np.repeat(np.arange(3), counts).tolist()
    return [
        (part, f"{_ACCENTS[position % len(_ACCENTS)]}+{variants[variant]}")
        for position, (part, variant) in enumerate(zip(parts, order, strict=True))
    ]


def _write_clips(
    folder: Path, utterances: list[_Utterance], engine: ModuleType, plan: _Plan
) -> None:
    for word in plan.words + (_MADE_UP,) * (plan.made_up > 0):
        (folder / word).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng((plan.seed, 1))
    spoken = tqdm(
        zip(utterances, render((each.request for each in utterances), engine), strict=True),
        *("synthetic speech", len(utterances)),
        unit="clip",
        leave=False,
        disable=None,
    )
    for utterance, speech in spoken:
        clip = to_int16(_record(speech, generator))
        write_samples(folder / utterance.name, clip)
    for i, part in enumerate(PARTS):
        names = sorted(utterance.name for utterance in utterances if utterance.part == i)
        (folder / f"{part}_list.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def render(requests: Iterable[Request], engine: ModuleType) -> Iterator[Signal]:
    """Yield the speech of each request at 16 kHz, from a fresh process: the engine has a state."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "micronas.tasks.keywords.espeak"]
    command += [engine.get_library_path(), engine.get_data_path()]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            rate = _read_count(process.stdout)
            for request in requests:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                samples = process.stdout.read(2 * _read_count(process.stdout))
                yield resample(np.frombuffer(samples, np.int16) / 32768.0, rate, RATE)
    except (BrokenPipeError, EOFError) as error:
        raise DataError(
            "synthetic speech must be rendered to the end, but the engine stopped (it says why "
            "above); reinstall espeakng-loader"
        ) from error


def _read_count(stream: IO[bytes]) -> int:
    header = stream.read(4)
    if len(header) < 4:
        raise EOFError
    return int(struct.unpack("=I", header)[0])


def _record(speech: Signal, generator: np.random.Generator) -> Signal:
    """Return the word in a second of room noise, as if by a microphone: [16000]."""
    word = trimmed(speech)
    word = word[max(0, len(word) - RATE) // 2 :][:RATE]
    level, floor = generator.uniform((0.2, -60.0), (0.9, -36.0))
    room = coloured_noise(RATE, generator.uniform(0.0, 1.5), generator)
    clip: Signal = room * 10 ** (floor / 20)
    start = int((RATE - len(word)) * generator.uniform(0.3, 0.7))
    clip[start : start + len(word)] += level * word / np.max(np.abs(word), initial=1e-9)
    return clip


def trimmed(speech: Signal) -> Signal:
    """Return speech without its start and end that are 40 dB below the loudest sample."""
    loud = np.flatnonzero(np.abs(speech) > 0.01 * np.max(np.abs(speech), initial=1e-9))
    return speech[loud[0] : loud[-1] + 1] if len(loud) else speech[:0]


def _write_noises(folder: Path, seed: int) -> None:
    """Write white, pink, brown, mains hum and fan noise, 30 s each, at -20 dB of full scale."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng((seed, 2))
    samples = _NOISE_SECONDS * RATE
    time = np.arange(samples) / RATE
    white, pink, brown, rumble = (
        coloured_noise(samples, exponent, generator) for exponent in (0.0, 1.0, 2.0, 1.0)
    )
    hum = sum(np.sin(2 * np.pi * 50 * k * time + k) / k for k in range(1, 12))
    noises = {
        "white": white,
        "pink": pink,
        "brown": brown,
        "mains_hum": hum + 0.3 * pink,
        "fan": rumble * (1 + 0.5 * np.sin(2 * np.pi * 7 * time)),
    }
    for name, noise in noises.items():
        level = 0.1 / np.sqrt(np.mean(np.square(noise)))
        write_samples(folder / f"{name}.wav", to_int16(level * noise))
