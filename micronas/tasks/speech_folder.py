"""The Speech Commands folder layout: which clips there are, who speaks, and in which part."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from micronas.errors import DataError
from micronas.tasks.waveform import RATE, Samples, read_samples

Part = Literal["training", "validation", "testing"]
PARTS: tuple[Part, ...] = ("training", "validation", "testing")
STANDARD_KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
NOISE_FOLDER = "_background_noise_"
SHORTEST_CLIP = RATE // 10
"""Samples below which a clip is left out: a tenth of a second holds no word."""
_HASH_LIMIT = 2**27 - 1


@dataclass(frozen=True)
class Clip:
    """One recording of one word."""

    path: Path
    name: str
    """``word/file.wav``, as the lists spell it."""
    word: str
    speaker: str
    part: Part


@dataclass(frozen=True)
class SpeechFolder:
    """A corpus on disk: `clips` sorted by name, `noises` the background recordings."""

    root: Path
    clips: tuple[Clip, ...]
    noises: tuple[Path, ...]
    lists: tuple[str, ...]
    """The list files that decided the parts; empty where the hash of the speaker did."""
    missing: tuple[str, ...]
    """Names in the lists without a file."""
    unlisted: int
    """Files left out because a training list exists and no list names them."""

    @property
    def words(self) -> dict[str, int]:
        """Clips of each word, most first, then by name."""
        count = Counter(clip.word for clip in self.clips)
        return dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))

    @property
    def has_test(self) -> bool:
        """Whether the folder has a test part at all."""
        return not self.lists or "testing_list.txt" in self.lists


def open_folder(path: Path) -> SpeechFolder:
    """Read the layout ``<word>/*.wav`` with its lists; opens no sound file.

    With ``validation_list.txt`` the lists decide: names of ``testing_list.txt`` are the test part,
    and the rest, or only what ``training_list.txt`` names where it exists, is for training. Without
    lists the rule of the Speech Commands data set does: the SHA-1 of the speaker puts about 10 %
    of the speakers into validation and 10 % into test.

    Parameters
    ----------
    path
        The folder of the words, or a folder whose only subfolder is that.

    Raises
    ------
    DataError
        If there is no such folder, no word in it, or a test list without a validation list.
    """
    root = _find_root(path)
    listed: dict[str, Part] = {}
    lists = tuple(f"{part}_list.txt" for part in PARTS if (root / f"{part}_list.txt").is_file())
    if lists and "validation_list.txt" not in lists:
        raise DataError(
            f"lists of parts must include validation_list.txt, but {root} has only "
            f"{', '.join(lists)}; add it, or delete them to divide by a hash of the speaker"
        )
    for part in PARTS:
        if f"{part}_list.txt" in lists:
            text = (root / f"{part}_list.txt").read_text(encoding="utf-8")
            listed |= {line.strip(): part for line in text.splitlines() if line.strip()}

    clips, unlisted = [], 0
    for name in _wav_names(root):
        word, _, file = name.partition("/")
        speaker = speaker_of(name)
        if not lists:
            part = hashed_part(speaker)
        elif name in listed:
            part = listed[name]
        elif "training_list.txt" not in lists:
            part = "training"
        else:
            unlisted += 1
            continue
        clips.append(Clip(root / word / file, name, word, speaker, part))
    present = {clip.name for clip in clips}
    return SpeechFolder(
        root=root,
        clips=tuple(clips),
        noises=tuple(_wavs(root / NOISE_FOLDER)),
        lists=lists,
        missing=tuple(sorted(set(listed) - present)),
        unlisted=unlisted,
    )


def speaker_of(name: str) -> str:
    """Tell the speaker from a clip's name ``word/file.wav``.

    What stands before ``_nohash_``, else before the first ``_``; a file without either, or whose
    prefix is only the word again (``yes/yes_01.wav``), counts as a speaker of its own.
    """
    word, _, file = name.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    if "_nohash_" in stem:
        return stem.split("_nohash_")[0]
    prefix = stem.split("_")[0]
    return stem if not prefix or prefix.casefold() == word.casefold() else prefix


def hashed_part(speaker: str) -> Part:
    """Return the part by the Speech Commands rule: 10 % validation, 10 % testing, for ever.

    The rule hashes the file name up to ``_nohash_``, which is the speaker.
    """
    digest = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = digest % (_HASH_LIMIT + 1) * (100.0 / _HASH_LIMIT)
    return "validation" if percent < 10 else "testing" if percent < 20 else "training"


@dataclass(frozen=True)
class Finding:
    """Something wrong with a corpus, in one line."""

    kind: Literal["missing", "unreadable", "short", "duplicate", "speaker"]
    name: str
    """The file or speaker it is about."""
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.text}"


def check(path: Path) -> list[Finding]:
    """Look for what makes a corpus lie or fail; reads every file.

    Finds clips that are listed but missing, cannot be decoded, or are too short to hold a word; the
    same sound in two parts or under two words; and speakers who appear in two parts.

    Raises
    ------
    DataError
        As `open_folder`.
    """
    folder = open_folder(path)
    findings = [
        Finding("missing", name, "named in a list, but there is no such file")
        for name in folder.missing
    ]
    first: dict[bytes, Clip] = {}
    for clip in folder.clips:
        samples = _try_read(clip.path, clip.name, findings)
        if samples is None:
            continue
        if len(samples) < SHORTEST_CLIP:
            findings.append(Finding("short", clip.name, f"{1000 * len(samples) // RATE} ms long"))
        other = first.setdefault(hashlib.sha1(samples.tobytes()).digest(), clip)
        if (other.part, other.word) != (clip.part, clip.word):
            where = f"{other.name} ({other.part})"
            findings.append(Finding("duplicate", clip.name, f"in {clip.part}, same as {where}"))
    for noise in folder.noises:
        _try_read(noise, f"{NOISE_FOLDER}/{noise.name}", findings)

    parts = defaultdict(set)
    for clip in folder.clips:
        parts[clip.speaker].add(clip.part)
    for speaker, found in sorted(parts.items()):
        if len(found) > 1:
            both = " and ".join(part for part in PARTS if part in found)
            findings.append(Finding("speaker", speaker, f"speaks in {both}"))
    return findings


def _try_read(path: Path, name: str, findings: list[Finding]) -> Samples | None:
    try:
        return read_samples(path)
    except DataError as error:
        findings.append(Finding("unreadable", name, str(error)))
        return None


def _find_root(path: Path) -> Path:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(
            f"speech data must be a folder, but {path} {what}; unpack the archive and name the "
            "folder of the words, or write a synthetic corpus: micronas data synth kws"
        )
    subfolders = [folder for folder in path.iterdir() if _may_hold_clips(folder)]
    candidates = [path, *subfolders] if len(subfolders) == 1 else [path]
    for root in candidates:
        if _wav_names(root):
            return root
    raise DataError(
        f"speech data must be laid out as <word>/*.wav, but {path} has no such file; "
        "name the folder that holds the folders of the words"
    )


def _wav_names(root: Path) -> list[str]:
    words = sorted(folder for folder in root.iterdir() if _may_hold_clips(folder))
    return [f"{word.name}/{file.name}" for word in words for file in _wavs(word)]


def _may_hold_clips(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(("_", "."))


def _wavs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".wav")
    # Names like ._x.wav are what macOS adds to archives.
    return sorted(file for file in files if not file.name.startswith("."))
