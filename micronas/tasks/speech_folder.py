"""The Speech Commands folder layout: which clips there are, who speaks, and in which part."""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from micronas.errors import DataError
from micronas.tasks.recording import Recording, read_recording
from micronas.tasks.waveform import RATE

Part = Literal["training", "validation", "testing"]
PARTS: tuple[Part, ...] = ("training", "validation", "testing")
STANDARD_KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
NOISE_FOLDER = "_background_noise_"
SHORTEST_CLIP = RATE // 10
"""Samples below which a clip is left out: a tenth of a second holds no word."""
LONGEST_CLIP_S, LONGEST_NOISE_S = 60, 3600
_IMBALANCE = 10
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
    contradicted: tuple[str, ...]
    """Names in two lists; the later of training, validation and testing counts."""
    empty: tuple[str, ...]
    """Folders of words without a sound file."""

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
        If there is no such folder, no word in it, a test list without a validation list, or a list
        that is not text.
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
    sounds = {word.name: _wavs(word) for word in _word_folders(root)}
    for name in [f"{word}/{path.name}" for word, paths in sounds.items() for path in paths]:
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
        contradicted=tuple(sorted(contradicted)),
        empty=tuple(word for word, paths in sounds.items() if not paths),
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
    """Something wrong with a data set, in one line."""

    kind: str
    """One word: ``missing``, ``unreadable``, ``duplicate``..."""
    name: str
    """The file, class or speaker it is about."""
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.text}"


def check(path: Path) -> list[Finding]:
    """Look for what makes a corpus lie or fail; reads every file.

    Kinds: ``missing`` (listed, but no such file), ``list`` (an entry that cannot name a clip, or is
    in two lists), ``unreadable``, ``short`` (under 0.1 s), ``mislabelled`` (the same sound under
    two words), ``duplicate`` (the same sound in two parts), ``format`` (clips that are converted to
    16 kHz mono), ``cut`` (the end of the file is missing; what there is counts as the clip),
    ``empty`` (a word without usable clips, or without any in a part), ``imbalance``
    (a word with under a tenth of the usual number of clips) and ``speaker`` (in two parts).

    Raises
    ------
    DataError
        As `open_folder`.
    """
    folder = open_folder(path)
    findings = _check_lists(folder)
    first: dict[bytes, Clip] = {}
    usable: Counter[tuple[str, Part]] = Counter()
    formats: dict[str, list[str]] = defaultdict(list)
    for clip in folder.clips:
        recording = _try_read(clip.path, clip.name, LONGEST_CLIP_S, findings)
        if recording is None:
            continue
        samples = recording.samples
        if len(samples) < SHORTEST_CLIP:
            findings.append(Finding("short", clip.name, f"{1000 * len(samples) // RATE} ms long"))
        else:
            usable[clip.word, clip.part] += 1
        if recording.converted_from:
            formats[recording.converted_from].append(clip.name)
        if (lost := _bytes_lost(clip.path)) > 0:
            findings.append(Finding("cut", clip.name, f"the last {lost} bytes are missing"))
        other = first.setdefault(hashlib.sha1(samples.tobytes()).digest(), clip)
        where = f"in {clip.part}, same as {other.name} ({other.part})"
        if other.word != clip.word:
            findings.append(Finding("mislabelled", clip.name, where))
        elif other.part != clip.part:
            findings.append(Finding("duplicate", clip.name, where))
    for noise in folder.noises:
        _try_read(noise, f"{NOISE_FOLDER}/{noise.name}", LONGEST_NOISE_S, findings)
    for name, names in sorted(formats.items()):
        text = f"{len(names)} clips are converted to {RATE} Hz mono, the first is {names[0]}"
        findings.append(Finding("format", name, text))
    return [*findings, *_check_classes(folder, usable), *_check_speakers(folder)]


def _check_lists(folder: SpeechFolder) -> list[Finding]:
    findings = []
    for name in folder.missing:
        parts = name.split("/")
        if len(parts) == 2 and all(parts) and name.lower().endswith(".wav"):
            text = "named in a list, but there is no such file"
            findings.append(Finding("missing", name, text))
        else:
            findings.append(Finding("list", name, "an entry must be <word>/<file>.wav"))
    twice = (Finding("list", name, "is in two lists") for name in folder.contradicted)
    return [*findings, *twice]


def _check_classes(folder: SpeechFolder, usable: Counter[tuple[str, Part]]) -> list[Finding]:
    findings = [Finding("empty", word, "the folder has no sound file") for word in folder.empty]
    parts = [part for part in PARTS if any(clip.part == part for clip in folder.clips)]
    totals = {word: sum(usable[word, part] for part in parts) for word in sorted(folder.words)}
    usual = median(totals.values())
    for word, total in totals.items():
        lacking = [part for part in parts if not usable[word, part]]
        if lacking:
            text = f"no usable clip in {' and '.join(lacking)}"
            findings.append(Finding("empty", word, text))
        elif total * _IMBALANCE < usual:
            text = f"{total} clips, where the usual number is {usual:g}"
            findings.append(Finding("imbalance", word, text))
    return findings


def _check_speakers(folder: SpeechFolder) -> list[Finding]:
    findings = []
    parts = defaultdict(set)
    for clip in folder.clips:
        parts[clip.speaker].add(clip.part)
    for speaker, found in sorted(parts.items()):
        if len(found) > 1:
            both = " and ".join(part for part in PARTS if part in found)
            findings.append(Finding("speaker", speaker, f"speaks in {both}"))
    return findings


def _try_read(path: Path, name: str, longest_s: int, findings: list[Finding]) -> Recording | None:
    try:
        return read_recording(path, longest_s=longest_s)
    except DataError as error:
        findings.append(Finding("unreadable", name, str(error)))
        return None


def _bytes_lost(path: Path) -> int:
    """Return how many bytes a RIFF file lacks of what its header promises."""
    with path.open("rb") as file:
        header = file.read(8)
    promised = int.from_bytes(header[4:], "little")
    # Recorders that write to a pipe leave the largest number.
    if header[:4] != b"RIFF" or promised == 2**32 - 1:
        return 0
    return promised + len(header) - path.stat().st_size


def _read_list(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"a list must be a text file, but {path} is not ({error}); replace or delete it"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


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
        if any(_wavs(word) for word in _word_folders(root)):
            return root
    raise DataError(
        f"speech data must be laid out as <word>/*.wav, but {path} has no such file; "
        "name the folder that holds the folders of the words"
    )


def _word_folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if _may_hold_clips(folder))


def _may_hold_clips(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(("_", "."))


def _wavs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".wav")
    # Names like ._x.wav are what macOS adds to archives.
    return sorted((file for file in files if not file.name.startswith(".")), key=_name)


def _name(path: Path) -> str:
    return path.name
