"""Words to train on, and streams of other voices or speakers, in two halves, for
`benchmarks.listening`.

synthetic  the synthesiser's voices, with made-up words; the others have none
recorded   the part of the Arabic corpus in `MICRONAS_DATA`, three validation speakers a half
arabic     all clips of these speakers, thirty other words among them; CLIPS is the folder
           `dataset` of abdulkaderghandoura/arabic-speech-commands-dataset
exchanged  the same, judged on six training speakers, who chose no setting; the six others train
few        the clips of `recorded`, divided as `exchanged`
english    the part of Speech Commands' test set that `benchmarks.people` reads; validation and test
           speakers are the halves, and CLIPS is as in `benchmarks.english`
"""

import argparse
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import people
from micronas.tasks.keywords.folder import NOISE_FOLDER, STANDARD_KEYWORDS
from micronas.tasks.keywords.streams import Spoken, synthesise_streams, write_streams
from micronas.tasks.keywords.synth import synthesise
from micronas.tasks.waveform import read_samples

_FEW = 5
"""Clips of other words of a speaker."""
ARABIC = ("close", "down", "left", "no", "open", "right", "start", "stop", "up", "yes")


def recorded(given: argparse.Namespace, made_up: int) -> tuple[Path, list[Path]]:
    """Return the Arabic corpus of `MICRONAS_DATA`, and streams of its validation speakers."""
    corpus = unpacked(given.folder)
    return corpus, _halves(given, listed(corpus, "validation"), ARABIC)


def arabic(given: argparse.Namespace, made_up: int) -> tuple[Path, list[Path]]:
    """Lay out all clips of the speakers of `recorded`, keywords and noise being the same."""
    part = unpacked(given.folder)
    speakers = (_speakers(part, kind) for kind in ("training", "validation"))
    return _laid_out(given, given.clips, *speakers)


def exchanged(given: argparse.Namespace, made_up: int) -> tuple[Path, list[Path]]:
    """Lay out the clips of `arabic`, of which every third training speaker is judged now."""
    return _exchanged(given, given.clips)


def few(given: argparse.Namespace, made_up: int) -> tuple[Path, list[Path]]:
    """Lay out the clips of `recorded`, of which every third training speaker is judged."""
    return _exchanged(given, unpacked(given.folder))


def _exchanged(given: argparse.Namespace, clips: Path) -> tuple[Path, list[Path]]:
    part = unpacked(given.folder)
    known, former = (_speakers(part, kind) for kind in ("training", "validation"))
    judged = known[::3]
    return _laid_out(given, clips, [each for each in known + former if each not in judged], judged)


def _laid_out(
    given: argparse.Namespace, clips: Path, training: Sequence[str], validation: Sequence[str]
) -> tuple[Path, list[Path]]:
    corpus: Path = given.folder / given.corpus
    if not corpus.exists():
        corpus.mkdir()
        noise = unpacked(given.folder) / NOISE_FOLDER
        for folder in (noise, *filter(Path.is_dir, clips.glob("[!_]*"))):
            (corpus / folder.name).symlink_to(folder.resolve())
        for kind, speakers in (("training", training), ("validation", validation)):
            said = [clip for clip in clips.glob("[!_]*/*.wav") if _speaker(clip) in speakers]
            names = sorted(f"{clip.parent.name}/{clip.name}" for clip in said)
            (corpus / f"{kind}_list.txt").write_text("\n".join(names))
    return corpus, _halves(given, listed(corpus, "validation"), ARABIC)


def english(given: argparse.Namespace, made_up: int) -> tuple[Path, list[Path]]:
    """Lay out the clips as `benchmarks.people` does; validation and test speakers are judged."""
    corpus: Path = given.folder / "english"
    if not corpus.exists():
        people.words(argparse.Namespace(words=given.clips), corpus)
    clips = [*listed(corpus, "validation"), *listed(corpus, "testing")]
    return corpus, _halves(given, clips, STANDARD_KEYWORDS)


def unpacked(folder: Path) -> Path:
    corpus = folder / "speech_commands_ar"
    if not corpus.exists():
        with tarfile.open(Path(os.environ["MICRONAS_DATA"]) / "tinyml/kws_ar.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return corpus


def listed(corpus: Path, part: str) -> list[Path]:
    return [corpus / name for name in (corpus / f"{part}_list.txt").read_text().split("\n") if name]


def _speaker(clip: Path) -> str:
    return clip.stem.split("_")[0]


def _speakers(corpus: Path, part: str) -> list[str]:
    return sorted({_speaker(clip) for clip in listed(corpus, part)})


def _halves(
    given: argparse.Namespace, clips: Sequence[Path], keywords: Sequence[str]
) -> list[Path]:
    """Write the streams of every second speaker, and of the others."""
    speakers = sorted({_speaker(clip) for clip in clips})
    halves = []
    for number, own in enumerate((speakers[::2], speakers[1::2])):
        place = 2 * given.seed + number
        half: Path = given.folder / f"{given.corpus}_{given.minutes:g}_{place}"
        if not half.exists():
            generator = np.random.default_rng(place)
            mine = [clip for clip in clips if _speaker(clip) in own]
            write_streams(half, _said(mine, keywords, generator), given.minutes, generator)
        halves.append(half)
    return halves


def _said(
    clips: Sequence[Path], keywords: Sequence[str], generator: np.random.Generator
) -> Iterator[Spoken]:
    """Yield keywords by themselves and phrases of other words, as often, each of one speaker.

    Where speakers have said few words, a phrase is of any of them.
    """
    kinds = [
        [c for c in clips if (c.parent.name in keywords) == is_one] for is_one in (True, False)
    ]
    is_poor = len(kinds[1]) < _FEW * len({_speaker(clip) for clip in kinds[1]})
    while True:
        kind = kinds[int(generator.random() < 0.5)]
        first = kind[generator.integers(len(kind))]
        is_one = kind is kinds[0]
        own = [c for c in kind if (is_poor and not is_one) or _speaker(c) == _speaker(first)]
        count = 1 if is_one else int(generator.integers(3, 13))
        for place in range(count):
            clip = own[generator.integers(len(own))]
            yield Spoken(clip.parent.name, read_samples(clip) / 32768.0, place == count - 1)


def synthetic(given: argparse.Namespace, made_up: int) -> tuple[Path, list[Path]]:
    """Return the corpus with so many made-up words of each voice, and streams of the same seed."""
    folder, minutes, seed = given.folder, given.minutes, given.seed
    streams = synthesise_streams(folder / f"streams_{minutes:g}_{seed}", minutes=minutes, seed=seed)
    corpus = synthesise(folder / f"speech_{seed}_{made_up}", made_up=made_up, seed=seed)
    return corpus, [streams / part for part in ("validation", "testing")]


class Corpus(NamedTuple):
    """How a corpus is made, and its keywords; None for those of the default."""

    make: Callable[[argparse.Namespace, int], tuple[Path, list[Path]]]
    keywords: tuple[str, ...] | None = None


CORPORA = {
    "synthetic": Corpus(synthetic),
    "recorded": Corpus(recorded),
    "arabic": Corpus(arabic, ARABIC),
    "exchanged": Corpus(exchanged, ARABIC),
    "few": Corpus(few, ARABIC),
    "english": Corpus(english),
}
