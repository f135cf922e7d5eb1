"""Check a folder of words for faults."""

from collections import Counter, defaultdict
from pathlib import Path
from statistics import median

from micronas.tasks.keywords.clips import LONG
from micronas.tasks.keywords.folder import (
    LONGEST_CLIP_S,
    LONGEST_NOISE_S,
    NOISE_FOLDER,
    SHORTEST_CLIP,
    Clip,
    SpeechFolder,
    open_folder,
)
from micronas.tasks.parts import PARTS, Part
from micronas.tasks.recording import checked
from micronas.tasks.spelling import same_but_for_case
from micronas.tasks.task import Finding
from micronas.tasks.waveform import RATE

_IMBALANCE = 10


def check(path: Path) -> list[Finding]:
    """Find faults of a corpus; reads every file.

    Kinds: ``missing`` (listed, but no such file), ``list`` (an entry that cannot name a clip, or is
    in two lists), ``unreadable``, ``short`` (under 0.1 s), ``mislabelled`` (the same sound under
    two words), ``duplicate`` (the same sound in two parts), ``cut`` (the end of the file is
    missing; the rest is the clip), ``long`` (clips of which the middle second is taken),
    ``spelling`` (words that differ in case), ``empty`` (a word without usable clips, or without any
    in a part), ``imbalance`` (a word with under a tenth of the usual number of clips) and
    ``speaker`` (in two parts). That clips are converted to 16 kHz mono is no fault. Raises
    DataError as for `open_folder`.
    """
    folder = open_folder(path)
    findings = _check_lists(folder)
    first: dict[int, Clip] = {}
    usable: Counter[tuple[str, Part]] = Counter()
    longer: list[str] = []
    for clip in folder.clips:
        samples = checked(
            clip.path, clip.name, findings, longest_s=LONGEST_CLIP_S, shortest=SHORTEST_CLIP
        )
        if samples is None:
            continue
        usable[clip.word, clip.part] += len(samples) >= SHORTEST_CLIP
        if len(samples) > LONG * RATE:
            longer.append(clip.name)
        other = first.setdefault(hash(samples.tobytes()), clip)
        where = f"in {clip.part}, same as {other.name} ({other.part})"
        if other.word != clip.word:
            findings.append(Finding("mislabelled", clip.name, where))
        elif other.part != clip.part:
            findings.append(Finding("duplicate", clip.name, where))
    for noise in folder.noises:
        checked(noise, f"{NOISE_FOLDER}/{noise.name}", findings, longest_s=LONGEST_NOISE_S)
    if longer:
        text = f"of {len(longer)} clips only the middle second is used, the first is {longer[0]}"
        findings.append(Finding("long", path.name, text))
    for line in same_but_for_case(folder.words):
        findings.append(Finding("spelling", path.name, line))
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
    findings = [Finding("empty", word, "the folder has no WAV file") for word in folder.empty]
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
