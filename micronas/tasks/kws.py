"""Keyword spotting: Speech Commands, or one's own folder of words, as a data set."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from micronas.data import DataSet
from micronas.errors import DataError
from micronas.tasks.background import EVALUATION_SEED, fixed_silence, read_background
from micronas.tasks.mfcc import COEFFICIENTS, FRAMES, MfccSettings, mfcc
from micronas.tasks.settings import KeywordSettings
from micronas.tasks.speech_folder import (
    PARTS,
    SHORTEST_CLIP,
    STANDARD_KEYWORDS,
    Clip,
    Finding,
    Part,
    SpeechFolder,
    check,
    open_folder,
)
from micronas.tasks.waveform import RATE, Samples, one_second, read_samples

__all__ = ["STANDARD_KEYWORDS", "Finding", "KeywordSettings", "KeywordSplit", "check", "load"]

SILENCE, UNKNOWN = "silence", "unknown"
_UNKNOWN_POOL = 5


class KeywordSplit:
    """One part: clips of one second in memory as int16, turned into features a batch at a time.

    With a generator, `batch` redraws ``unknown`` examples among the same speaker's clips of other
    words and ``silence`` from the background at a volume in [0, 1), shifts the other clips in time,
    changes their level and adds background noise to them. Without one it returns the same features
    every time.

    Parameters
    ----------
    clips
        int16 [C, 16000].
    rows, first, count
        int64 [N]: an example is row `rows` of the clips without a generator, and one of the
        `count` rows from `first` on with one. A count of 0 marks silence.
    labels, groups
        int64 [N]: class and speaker; every silence example is a group of its own.
    noise
        int16 [M]: background recordings end to end, at least a second.
    settings
        Window and strength of the augmentation.
    """

    def __init__(
        self,
        clips: Tensor,
        *,
        rows: Tensor,
        first: Tensor,
        count: Tensor,
        labels: Tensor,
        groups: Tensor,
        noise: Tensor,
        settings: KeywordSettings,
    ) -> None:
        self.labels = labels
        self.groups = groups
        self._clips = clips
        self._rows = rows
        self._first = first
        self._count = count
        self._noise = noise.unfold(0, RATE, 1)
        self._settings = settings
        self._mfcc = MfccSettings(window_ms=settings.window_ms)

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return features as float32 [n, 1, 49, 10]; see `micronas.tasks.mfcc.mfcc`."""
        waveforms = self.waveforms(index, generator)
        return mfcc(waveforms, self._mfcc).unsqueeze(1)

    def waveforms(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return what `batch` hears: float32 [n, 16000] in [-1, 1]."""
        if generator is None:
            return self._clips[self._rows[index]].float() / 32768.0
        settings, n = self._settings, len(index)
        # Everything is drawn for every example, so that a draw never depends on another's class.
        pick, gain, applied, volume = torch.rand(4, n, generator=generator)
        start = torch.randint(len(self._noise), (n,), generator=generator)
        reach = int(settings.shift_ms * RATE / 1000)
        shift = torch.randint(2 * reach + 1, (n,), generator=generator)

        silent = self._count[index] == 0
        rows = self._first[index] + (pick * self._count[index]).long()
        padded = torch.nn.functional.pad(self._clips[rows], (reach, reach))
        speech = padded.unfold(1, RATE, 1)[torch.arange(n), shift].float()
        amplitude = 10.0 ** (settings.gain_db / 20.0 * (2.0 * gain - 1.0))
        speech *= torch.where(silent, 0.0, amplitude).unsqueeze(1)
        quiet = volume * settings.noise_volume * (applied < settings.noise_probability)
        loudness = torch.where(silent, volume, quiet)
        noisy = speech.addcmul_(self._noise[start].float(), loudness.unsqueeze(1))
        return noisy.div_(32768.0).clamp_(-1.0, 1.0)


def load(settings: KeywordSettings) -> DataSet:
    """Read a folder of words.

    Classes are the keywords, then ``silence``, then ``unknown`` (all other words). In every part
    the latter two have `silence_fraction` and `unknown_fraction` times as many examples as all
    keywords together; with 0.1 and ten keywords that is as many as a keyword has. Which other
    words are evaluated depends on their names only; training draws from up to five times as many
    clips as it has examples.

    Clips: 16 kHz mono is expected; other rates are resampled and channels averaged; shorter clips
    are padded with zeros at the end, of longer ones the middle second is taken. Files that cannot
    be read or are shorter than 0.1 s are left out and named in the summary. Of each background
    recording the first 80 % serve training, then 10 % validation and 10 % test; under 10 s all of
    it serves all parts. A folder called ``silence`` is not read.

    Parameters
    ----------
    settings
        Where the data is, and how to read it.

    Returns
    -------
    DataSet
        Inputs 49 x 10 x 1; the test part is None where the folder's lists name none.

    Raises
    ------
    DataError
        If the folder is missing or laid out in another way, a keyword or other words are missing,
        or a class has no clip in a part.

    References
    ----------
    P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018.
    """
    folder = open_folder(settings.path)
    keywords = _choose_keywords(folder, settings)
    extra = {SILENCE: settings.silence_fraction, UNKNOWN: settings.unknown_fraction}
    classes = (*keywords, *(name for name, fraction in extra.items() if fraction > 0))
    if len(classes) < 2:
        raise DataError(
            f"there must be at least two classes, but there is only {', '.join(classes)}; name "
            "more keywords, or set silence_fraction or unknown_fraction"
        )
    background = read_background(folder)
    skipped: list[Path] = []

    def read(part: Part) -> KeywordSplit:
        return _read_part(folder, part, classes, background.parts[part], skipped, settings)

    train, validation = read("training"), read("validation")
    test = read("testing") if folder.has_test else None
    return DataSet(
        train=train,
        validation=validation,
        test=test,
        classes=classes,
        input=(FRAMES, COEFFICIENTS, 1),
        meaning={"features": "mfcc", "window_ms": settings.window_ms},
        summary=_summarise(folder, keywords, settings, skipped, background.notes),
    )


def _choose_keywords(folder: SpeechFolder, settings: KeywordSettings) -> tuple[str, ...]:
    words = [word for word in folder.words if word not in (SILENCE, UNKNOWN)]
    keywords: tuple[str, ...]
    if settings.keywords == "auto":
        standard = set(words) >= set(STANDARD_KEYWORDS)
        keywords = STANDARD_KEYWORDS if standard else tuple(sorted(words[: len(STANDARD_KEYWORDS)]))
    else:
        keywords = settings.keywords
        missing = [word for word in keywords if word not in words]
        if missing or len(set(keywords)) != len(keywords):
            what = f"lacks {', '.join(missing)}" if missing else "would have one twice"
            raise DataError(
                f"keywords must be different words of the folder, but {folder.root} {what}; "
                f"it has {', '.join(sorted(words))}"
            )
    if settings.unknown_fraction > 0 and not _other_words(folder, keywords):
        raise DataError(
            f"the class unknown must have words of its own, but all {len(keywords)} words of "
            f"{folder.root} are keywords; name fewer keywords or set unknown_fraction to 0"
        )
    return keywords


def _other_words(folder: SpeechFolder, keywords: Sequence[str]) -> list[str]:
    return [word for word in folder.words if word not in keywords and word != SILENCE]


def _read_part(
    folder: SpeechFolder,
    part: Part,
    classes: tuple[str, ...],
    noise: Samples,
    skipped: list[Path],
    settings: KeywordSettings,
) -> KeywordSplit:
    """Read the clips of one part and lay out its examples: keywords, unknown, silence."""
    label = {name: i for i, name in enumerate(classes)}
    keywords = label.keys() - {SILENCE, UNKNOWN}
    training = part == "training"
    seed = settings.seed if training else EVALUATION_SEED

    clips = [clip for clip in folder.clips if clip.part == part and clip.word != SILENCE]
    spoken = [clip for clip in clips if clip.word in keywords]
    silences = math.ceil(settings.silence_fraction * len(spoken))
    unknowns = math.ceil(settings.unknown_fraction * len(spoken))
    others = sorted(
        (clip for clip in clips if clip.word not in keywords),
        key=lambda clip: hashlib.sha1(f"{seed}/{clip.name}".encode()).digest(),
    )[: unknowns * (_UNKNOWN_POOL if training else 1)]
    chosen = {clip.name for clip in others[:unknowns]}
    # A speaker's clips lie side by side, so that training can redraw among them.
    others.sort(key=lambda clip: (clip.speaker, clip.name))

    sounds, kept = _read_clips([*spoken, *others], part, skipped, spare=silences)
    sounds[len(kept) :] = fixed_silence(noise, silences, seed)
    pool: dict[str, list[int]] = {}
    for row, clip in enumerate(kept):
        if clip.word not in keywords:
            pool.setdefault(clip.speaker, []).append(row)

    speaker = {name: i for i, name in enumerate(sorted({clip.speaker for clip in folder.clips}))}
    examples: list[tuple[int, int, int, int, int]] = []
    for row, clip in enumerate(kept):
        if clip.word in keywords:
            examples.append((row, row, 1, label[clip.word], speaker[clip.speaker]))
        elif clip.name in chosen:
            redraw = pool[clip.speaker] if training else [row]
            examples.append((row, redraw[0], len(redraw), label[UNKNOWN], speaker[clip.speaker]))
    for i in range(silences):
        examples.append((len(kept) + i, 0, 0, label[SILENCE], len(speaker) + i))

    present = {example[3] for example in examples}
    empty = [name for name, i in label.items() if i not in present]
    if empty:
        raise DataError(
            f"every class must have {part} clips, but {', '.join(empty)} has none in {folder.root};"
            " record more speakers, divide them with validation_list.txt and testing_list.txt, or "
            "name other keywords"
        )
    rows, first, count, labels, groups = torch.tensor(examples).T.contiguous()
    return KeywordSplit(
        torch.from_numpy(sounds),
        rows=rows,
        first=first,
        count=count,
        labels=labels,
        groups=groups,
        noise=torch.from_numpy(noise),
        settings=settings,
    )


def _read_clips(
    clips: Sequence[Clip], part: Part, skipped: list[Path], *, spare: int
) -> tuple[Samples, list[Clip]]:
    """Return int16 [C + spare, 16000] and the C clips that could be read; names the others."""
    sounds = np.zeros((len(clips) + spare, RATE), np.int16)
    kept: list[Clip] = []
    for clip in tqdm(clips, desc=f"{part} clips", unit="clip", leave=False, disable=None):
        try:
            samples = read_samples(clip.path)
        except DataError:
            skipped.append(clip.path)
            continue
        if len(samples) < SHORTEST_CLIP:
            skipped.append(clip.path)
            continue
        sounds[len(kept)] = one_second(samples)
        kept.append(clip)
    return sounds[: len(kept) + spare], kept


def _summarise(
    folder: SpeechFolder,
    keywords: tuple[str, ...],
    settings: KeywordSettings,
    skipped: Sequence[Path],
    notes: Sequence[str],
) -> str:
    """Say in one paragraph what was read, how it was divided, and what was left out."""
    parts = {part: [clip for clip in folder.clips if clip.part == part] for part in PARTS}
    sizes = ", ".join(f"{len(clips)} for {part}" for part, clips in parts.items() if clips)
    speakers = [{clip.speaker for clip in clips} for clips in parts.values()]
    shared = len(speakers[0] & speakers[1] | (speakers[0] | speakers[1]) & speakers[2])
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
        *notes,
    ]
    if not folder.has_test:
        said.append("There is no test part.")
    if shared:
        said.append(f"{shared} speakers appear in two parts: accuracy will look too good.")
    for count, what, names in (
        (len(skipped), "unreadable or shorter than 0.1 s", [str(path) for path in skipped]),
        (len(folder.missing), "in a list but missing", folder.missing),
        (folder.unlisted, "in no list", ()),
    ):
        if count:
            listed = ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])
            said.append(f"Left out, {what}: {count} files{f' ({listed})' if listed else ''}.")
    return " ".join(said)
