"""List the clips of a folder in the Speech Commands layout with their speakers and parts."""

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from micronas.errors import DataError
from micronas.files import regular
from micronas.tasks.parts import PARTS, Part, require_folder, wavs
from micronas.tasks.waveform import RATE

STANDARD_KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
NOISE_FOLDER = "_background_noise_"
SHORTEST_CLIP = RATE // 10
"""Least number of samples of a clip: a tenth of a second holds no word."""
LONGEST_CLIP_S, LONGEST_NOISE_S = 60, 3600
_HASH_LIMIT = 2**27 - 1


@dataclass(frozen=True)
class Clip:
    """One recording of one word."""

    path: Path
    name: str
    """``word/file.wav``, as in the lists."""
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
    """List files that decide the parts; empty where the hash of the speaker does."""
    missing: tuple[str, ...]
    """Names in the lists without a file."""
    unlisted: int
    """Number of files left out because a training list exists and no list names them."""
    contradicted: tuple[str, ...]
    """Names in two lists; the later of training, validation and testing counts."""
    empty: tuple[str, ...]
    """Folders of words without a sound file."""

    @property
    def words(self) -> dict[str, int]:
        """Number of clips of each word, most first, then by name."""
        count = Counter(clip.word for clip in self.clips)
        return dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))

    @property
    def has_test(self) -> bool:
        """Return whether the folder has a test part."""
        return not self.lists or "testing_list.txt" in self.lists


def open_folder(path: Path) -> SpeechFolder:
    """Read the layout ``<word>/*.wav`` with its lists; opens no sound file.

    With ``validation_list.txt`` the lists decide the parts: ``testing_list.txt`` names the test
    part, and the rest, or only the names in ``training_list.txt`` where it exists, is for training.
    Without lists the rule of the Speech Commands data set decides: the SHA-1 of the speaker puts
    about 10 % of the speakers into validation and 10 % into test. The folder of the words is `path`
    or its only subfolder. Raises DataError if there is no such folder, no word in it, a test list
    without a validation list, or a list that is not text.
    """
    root = _find_root(path)
    listed: dict[str, Part] = {}
    contradicted: set[str] = set()
    lists = tuple(f"{part}_list.txt" for part in PARTS if (root / f"{part}_list.txt").is_file())
    if lists and "validation_list.txt" not in lists:
        raise DataError(
            f"lists of parts must include validation_list.txt, but {root} has only "
            f"{', '.join(lists)}; add it, or delete them to divide by a hash of the speaker"
        )
    for part in PARTS:
        if f"{part}_list.txt" in lists:
            names = _read_list(root / f"{part}_list.txt")
            contradicted.update(name for name in names if name in listed)
            listed |= dict.fromkeys(names, part)

    clips, unlisted = [], 0
    sounds = {word.name: wavs(word) for word in _word_folders(root)}
    for word, file in [(word, file) for word, files in sounds.items() for file in files]:
        name = f"{word}/{file.name}"
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
        clips.append(Clip(file, name, word, speaker, part))
    present = {clip.name for clip in clips}
    return SpeechFolder(
        root=root,
        clips=tuple(clips),
        noises=tuple(wavs(root / NOISE_FOLDER)),
        lists=lists,
        missing=tuple(sorted(set(listed) - present)),
        unlisted=unlisted,
        contradicted=tuple(sorted(contradicted)),
        empty=tuple(word for word, paths in sounds.items() if not paths),
    )


def speaker_of(name: str) -> str:
    """Return the speaker from a clip's name ``word/file.wav``.

    It is the text before ``_nohash_``, else before the first ``_``; a file without either, or with
    the word as its prefix (``yes/yes_01.wav``), counts as a separate speaker.
    """
    word, _, file = name.rpartition("/")
    stem = file.rsplit(".", 1)[0]
    if "_nohash_" in stem:
        return stem.split("_nohash_")[0]
    prefix = stem.split("_")[0]
    return stem if not prefix or prefix.casefold() == word.casefold() else prefix


def hashed_part(speaker: str) -> Part:
    """Return the part by the Speech Commands rule: 10 % validation, 10 % testing.

    The rule hashes the file name up to ``_nohash_``, which is the speaker, and so never changes.
    """
    digest = int(hashlib.sha1(os.fsencode(speaker), usedforsecurity=False).hexdigest(), 16)
    percent = digest % (_HASH_LIMIT + 1) * (100.0 / _HASH_LIMIT)
    return "validation" if percent < 10 else "testing" if percent < 20 else "training"


def _read_list(path: Path) -> list[str]:
    try:
        text = regular(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"a list must be a text file, but {path} is not ({error}); replace or delete it"
        ) from error
    # find writes ./yes/a.wav
    return [line.strip().removeprefix("./") for line in text.splitlines() if line.strip()]


def _find_root(path: Path) -> Path:
    way = "the folder of the words, or write a synthetic corpus: micronas data synth kws"
    require_folder(path, "speech data must be a folder", way)
    subfolders = [folder for folder in path.iterdir() if _may_hold_clips(folder)]
    candidates = [path, *subfolders] if len(subfolders) == 1 else [path]
    for root in candidates:
        if any(wavs(word) for word in _word_folders(root)):
            return root
    raise DataError(
        f"speech data must be laid out as <word>/*.wav, but {path} has no such file; "
        "name the folder that holds the folders of the words"
    )


def _word_folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if _may_hold_clips(folder))


def _may_hold_clips(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(("_", "."))
