"""Keyword spotting: Speech Commands, or a user's folder of words, as a data set."""

import hashlib
import itertools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from micronas.data import DataSet
from micronas.errors import DataError
from micronas.tasks.cache import Notes, cached
from micronas.tasks.keywords.background import EVALUATION_SEED, fixed_silence, read_background
from micronas.tasks.keywords.clips import Clips, read_clips
from micronas.tasks.keywords.folder import (
    NOISE_FOLDER,
    STANDARD_KEYWORDS,
    Clip,
    SpeechFolder,
    open_folder,
)
from micronas.tasks.keywords.front_end import COEFFICIENTS, FRAMES
from micronas.tasks.keywords.settings import FINAL, KeywordSettings
from micronas.tasks.keywords.split import KeywordSplit
from micronas.tasks.parts import PARTS, Part, in_two, left_out
from micronas.tasks.recording import converted
from micronas.tasks.rows import Rows
from micronas.tasks.spelling import same_but_for_case
from micronas.tasks.waveform import RATE, Samples
from micronas.views import Frames

_SILENCE, UNKNOWN = "silence", "unknown"
_UNKNOWN_POOL = 5
_FEATURES_VERSION = 1
"""Version of the features: raise it whenever the same clips give other features."""
_BATCH = 64
_CACHE_FOLDER = ".micronas"


def load(settings: KeywordSettings) -> DataSet:
    """Read a folder of words.

    Classes are the keywords, then ``silence``, then ``unknown`` (all other words). In every part
    the latter two have `silence_fraction` and `unknown_fraction` times as many examples as all
    keywords together; with 0.1 and ten keywords that is as many as a keyword has. The choice of
    other words for evaluation depends on their names only; training draws from up to five times as
    many clips as it has examples, and repeats clips where there are fewer.

    Clips should be 16 kHz mono; others are converted (`read_recording`) and counted. Short clips
    are padded with zeros at the end; long ones are cut to the middle second. Files that cannot be
    read or are shorter than 0.1 s are left out and named in the summary. Decoded clips of the whole
    folder, which other settings use again, and the features of validation and test are kept on disk
    and memory-mapped, unless `cache` is ``off``. The first 80 % of each background recording are
    for training, then 10 % for validation and 10 % for test; under 10 s validation and test use all
    of it. A folder called ``silence`` is not read.

    Inputs are 49 x 10 x 1; the test part is None where the folder's lists name none. Raises
    DataError if the folder is missing or has another layout, a keyword or other words are missing,
    a class has no clip in a part, or the cache's folder cannot be written. Source: P. Warden,
    "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018.
    """
    folder = open_folder(settings.path)
    keywords = _choose_keywords(folder, settings)
    extra = {_SILENCE: settings.silence_fraction, UNKNOWN: settings.unknown_fraction}
    classes = (*keywords, *(name for name, fraction in extra.items() if fraction > 0))
    if len(classes) < 2:
        raise DataError(
            f"there must be at least two classes, but there is only {', '.join(classes)}; name "
            "more in data.keywords, or set data.silence_fraction or data.unknown_fraction"
        )
    noises, notes = read_background(folder)
    parts = [part for part in PARTS if part != "testing" or folder.has_test]
    plans = {part: _plan(folder, part, keywords, settings) for part in parts}
    cache = _cache_folder(folder, settings)
    try:
        clips = _read_planned(folder, plans.values(), cache)
    except OSError as error:
        if settings.cache != "auto":
            raise DataError(
                f"the cache must be in a folder that can be written: {error}; choose another "
                "cache=FOLDER, or cache=off"
            ) from error
        # without the advice of a full disk: the run goes on
        notes.append(f"Nothing is cached: {error.__cause__ or error}.")
        cache = None
        clips = _read_planned(folder, plans.values(), None)
    splits = {
        part: _lay_out(folder, plan, classes, noises[part], clips, settings)
        for part, plan in plans.items()
    }
    for part in parts[1:]:
        splits[part].features = _fixed_features(splits[part], clips, part, settings, cache)
    if settings.versions:
        train, noise = splits["training"], noises["training"]
        train.versions = _versions(train, noise, clips, settings, cache)
    used = [clip for plan in plans.values() for clip in plan.clips]
    notes += _conversions(used, clips)
    known = clips.digests
    each = (
        {known[clip.name] for clip in plan.clips if clip.name in known} for plan in plans.values()
    )
    if copies := in_two(*each):
        notes.append(f"{copies} clips are in two parts: accuracy will look too good.")
    skipped = [clip.path for clip in used if clip.name not in known]
    return DataSet(
        train=splits["training"],
        validation=splits["validation"],
        test=splits.get("testing"),
        classes=classes,
        input=(FRAMES, COEFFICIENTS, 1),
        meaning=settings.mfcc.meaning,
        view=Frames(),
        summary=_summarise(folder, keywords, settings, skipped, notes),
        final=splits["training"].for_final() if settings.changes_features else None,
        ignored=(_SILENCE, UNKNOWN),
        seconds=1.0,
    )


def _choose_keywords(folder: SpeechFolder, settings: KeywordSettings) -> tuple[str, ...]:
    words = [word for word in folder.words if word not in (_SILENCE, UNKNOWN)]
    keywords: tuple[str, ...]
    if settings.keywords == "auto":
        standard = set(words) >= set(STANDARD_KEYWORDS)
        keywords = STANDARD_KEYWORDS if standard else tuple(sorted(words[: len(STANDARD_KEYWORDS)]))
    else:
        keywords = settings.keywords
        missing = [word for word in keywords if word not in words]
        if missing or not 0 < len(keywords) == len(set(keywords)):
            what = "would have one twice" if keywords else "is given none"
            what = f"lacks {', '.join(missing)}" if missing else what
            made = {*missing} & {_SILENCE, UNKNOWN}
            way = "; silence and unknown are made of noise and of other words" if made else ""
            raise DataError(
                f"keywords must be different words of the folder, but {folder.root} {what}; "
                f"it has {', '.join(sorted(words))}{way}"
            )
    if settings.unknown_fraction > 0 and not _other_words(folder, keywords):
        raise DataError(
            f"the class unknown must have words of its own, but all {len(keywords)} words of "
            f"{folder.root} are keywords; name fewer in data.keywords or set "
            "data.unknown_fraction=0"
        )
    return keywords


def _other_words(folder: SpeechFolder, keywords: Sequence[str]) -> list[str]:
    return [word for word in folder.words if word not in keywords and word != _SILENCE]


@dataclass(frozen=True)
class _Plan:
    """Clips that a part uses, before any is opened."""

    part: Part
    spoken: list[Clip]
    others: list[Clip]
    """Clips of other words, sorted by speaker, so that training can redraw among a speaker's."""
    unknown: Counter[str]
    """How often each of the others is an example, by name."""
    silences: int

    @property
    def clips(self) -> list[Clip]:
        return [*self.spoken, *self.others]


def _plan(
    folder: SpeechFolder, part: Part, keywords: Sequence[str], settings: KeywordSettings
) -> _Plan:
    training = part == "training"
    seed = settings.seed if training else EVALUATION_SEED
    clips = [clip for clip in folder.clips if clip.part == part and clip.word != _SILENCE]
    spoken = [clip for clip in clips if clip.word in keywords]
    unknowns = math.ceil(settings.unknown_fraction * len(spoken))
    others = sorted(
        (clip for clip in clips if clip.word not in keywords),
        key=lambda clip: hashlib.sha1(
            os.fsencode(f"{seed}/{clip.name}"), usedforsecurity=False
        ).digest(),
    )[: unknowns * (_UNKNOWN_POOL if training else 1)]
    names = [clip.name for clip in others[:unknowns]]
    chosen = Counter(itertools.islice(itertools.cycle(names), unknowns) if training else names)
    others.sort(key=lambda clip: (clip.speaker, clip.name))
    silences = math.ceil(settings.silence_fraction * len(spoken))
    return _Plan(part, spoken, others, chosen, silences)


def _cache_folder(folder: SpeechFolder, settings: KeywordSettings) -> Path | None:
    if settings.cache == "off":
        return None
    if settings.cache == "auto":
        return folder.root / _CACHE_FOLDER
    name = hashlib.sha256(os.fsencode(folder.root.resolve())).hexdigest()[:12]
    return Path(settings.cache) / f"{folder.root.resolve().name}-{name}"


def _read_planned(folder: SpeechFolder, plans: Iterable[_Plan], cache: Path | None) -> Clips:
    if cache is None:
        return read_clips([clip for plan in plans for clip in plan.clips], None)
    spoken = [clip for clip in folder.clips if clip.word != _SILENCE]
    return read_clips(spoken, cache / "clips.bin")


def _lay_out(
    folder: SpeechFolder,
    plan: _Plan,
    classes: tuple[str, ...],
    noise: Samples,
    clips: Clips,
    settings: KeywordSettings,
) -> KeywordSplit:
    """Lay out the examples of one part: keywords, unknown, silence."""
    label = {name: i for i, name in enumerate(classes)}
    training = plan.part == "training"
    kept = [clip for clip in plan.clips if clip.name in clips.row]
    spoken = {clip.name for clip in plan.spoken}
    pool: dict[str, list[int]] = {}
    for row, clip in enumerate(kept):
        if clip.name not in spoken:
            pool.setdefault(clip.speaker, []).append(row)

    speaker = {name: i for i, name in enumerate(sorted({clip.speaker for clip in folder.clips}))}
    examples: list[tuple[int, int, int, int, int]] = []
    for row, clip in enumerate(kept):
        if clip.name in spoken:
            examples.append((row, row, 1, label[clip.word], speaker[clip.speaker]))
        elif clip.name in plan.unknown:
            redraw = pool[clip.speaker] if training else [row]
            example = row, redraw[0], len(redraw), label[UNKNOWN], speaker[clip.speaker]
            examples.extend([example] * plan.unknown[clip.name])
    for i in range(plan.silences):
        examples.append((i, 0, 0, label[_SILENCE], len(speaker) + i))

    present = {example[3] for example in examples}
    empty = [name for name, i in label.items() if i not in present]
    if empty:
        raise DataError(
            f"every class must have {plan.part} clips, but {', '.join(empty)} has none in "
            f"{folder.root}; record more speakers, divide them with validation_list.txt and "
            "testing_list.txt, or name other keywords"
        )
    silence = fixed_silence(noise, plan.silences, settings.seed if training else EVALUATION_SEED)
    return KeywordSplit(
        Rows(clips.samples),
        order=torch.tensor([clips.row[clip.name] for clip in kept]),
        examples=torch.tensor(examples).T.contiguous(),
        silence=torch.from_numpy(silence),
        noise=torch.from_numpy(noise),
        settings=settings,
    )


def _fixed_features(
    split: KeywordSplit, clips: Clips, part: Part, settings: KeywordSettings, cache: Path | None
) -> Tensor:
    """Compute or map the features of a whole split, always in the same batches."""
    kind = " ".join(map(str, list(settings.mfcc.meaning.values())[1:]))
    path = None if cache is None else cache / f"{part}_{settings.window_ms}ms.bin"
    key = _key(kind, clips, split.sources())
    return torch.from_numpy(_features(path, key, lambda: _batches(split, None)))


def _versions(
    split: KeywordSplit, noise: Samples, clips: Clips, settings: KeywordSettings, cache: Path | None
) -> Rows:
    """Compute or map the augmented features of a whole split, version by version."""

    def batches() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(settings.seed)
        for _ in range(settings.versions):
            yield from _batches(split, generator)

    path = None if cache is None else cache / "versions.bin"
    kind = settings.model_dump_json(exclude={"path", "cache", *FINAL})
    key = _key(kind, clips, (*split.sources(), torch.from_numpy(noise)))
    return Rows(_features(path, key, batches))


def _batches(split: KeywordSplit, generator: torch.Generator | None) -> Iterator[Tensor]:
    for index in torch.split(torch.arange(len(split.labels)), _BATCH):
        yield split.batch(index, generator)


def _key(kind: str, clips: Clips, sources: Iterable[Tensor]) -> str:
    """Return a hash of everything that features depend on."""
    key = hashlib.sha256(f"{_FEATURES_VERSION} {kind} {clips.key}".encode())
    for tensor in sources:
        key.update(tensor.numpy().tobytes())
    return key.hexdigest()


def _features(
    path: Path | None, key: str, batches: Callable[[], Iterator[Tensor]]
) -> NDArray[np.float32]:
    """Compute or map features, float32 [examples, 49, 10]."""

    def build(notes: Notes) -> Iterator[NDArray[np.float32]]:
        for each in batches():
            yield each.squeeze(1).numpy()

    at = partial(cached, key=key, tail=(FRAMES, COEFFICIENTS), dtype="<f4", build=build)
    try:
        return at(path).array
    except OSError:  # clips may be cached already in a folder that cannot be written
        return at(None).array


def _conversions(used: Sequence[Clip], clips: Clips) -> list[str]:
    formats = Counter(clips.converted[c.name] for c in used if c.name in clips.converted)
    said = converted(formats)
    lower = sum(count for name, count in formats.items() if int(name.split()[0]) < RATE)
    if lower:
        said.append(f"{lower} clips hold nothing above half of their lower rate.")
    longer = sum(clip.name in clips.longer for clip in used)
    if longer:
        said.append(f"Of {longer} clips that are longer only the middle second is used.")
    return said


def _summarise(
    folder: SpeechFolder,
    keywords: tuple[str, ...],
    settings: KeywordSettings,
    skipped: Sequence[Path],
    notes: Sequence[str],
) -> str:
    """Return one paragraph on the clips read, their division, and those left out."""
    parts = {part: [clip for clip in folder.clips if clip.part == part] for part in PARTS}
    sizes = ", ".join(f"{len(clips)} for {part}" for part, clips in parts.items() if clips)
    speakers = [{clip.speaker for clip in clips} for clips in parts.values()]
    shared = in_two(*speakers)
    how = "given"
    if settings.keywords == "auto":
        standard = keywords == STANDARD_KEYWORDS
        how = "the ten of Speech Commands" if standard else "the words with the most clips"
    said = [
        f"{len(folder.clips)} clips of {len(folder.words)} words by {len(set().union(*speakers))} "
        f"speakers in {folder.root}: {sizes} (by "
        f"{' and '.join(folder.lists) or 'a hash of the speaker'}).",
        f"Keywords ({how}): {', '.join(keywords)}; {len(_other_words(folder, keywords))} other "
        "words.",
        *same_but_for_case(folder.words),
        *notes,
    ]
    if _SILENCE in folder.words:
        said.append(f"Not read: {_SILENCE}; put recordings of noise into {NOISE_FOLDER}.")
    if not folder.has_test:
        said.append("There is no test part.")
    if shared:
        said.append(f"{shared} speakers appear in two parts: accuracy will look too good.")
    said += left_out("unreadable or shorter than 0.1 s", skipped)
    said += left_out("in a list but missing", folder.missing)
    if folder.unlisted:
        said.append(f"Left out, in no list: {folder.unlisted} files.")
    return " ".join(said)
