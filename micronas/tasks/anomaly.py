"""Anomaly detection: machines in the layout of DCASE 2020 Task 2 or MIMII, as a data set."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from micronas.data import DataSet, Detection, Subset, TensorSplit
from micronas.errors import DataError
from micronas.tasks.logmel import SHORTEST, SIZE, images, log_mel
from micronas.tasks.recording import read_recording
from micronas.tasks.settings import MachineSettings
from micronas.tasks.speech_folder import Finding
from micronas.tasks.waveform import RATE

__all__ = ["Finding", "MachineClip", "MachineFolder", "MachineSettings"]
__all__ += ["check", "load", "open_folder"]

LIMIT = 4.0
"""Inputs lie in [-LIMIT, LIMIT] standard deviations of the normal training sounds."""
_DCASE_NAME = re.compile(r"(normal|anomaly)_(id_\d+)_.+", re.IGNORECASE)
_MIMII_FOLDER = re.compile(r"id_\d+", re.IGNORECASE)
_LONGEST_S = 600
_LISTED = 5


@dataclass(frozen=True)
class MachineClip:
    """One recording of one machine."""

    path: Path
    name: str
    """The path from the root, with slashes."""
    machine: str
    """``id_00``; ``fan/id_00`` where the folder holds several types."""
    training: bool
    anomalous: bool


@dataclass(frozen=True)
class MachineFolder:
    """A corpus on disk; every list is sorted by name."""

    root: Path
    layout: str
    """``DCASE`` or ``MIMII``."""
    clips: tuple[MachineClip, ...]
    unnamed: tuple[str, ...]
    """Sound files whose names or folders do not say which machine they are of."""

    @property
    def machines(self) -> tuple[str, ...]:
        return tuple(sorted({clip.machine for clip in self.clips}))


def open_folder(path: Path) -> MachineFolder:
    """Read the layout of machine sounds; opens no sound file.

    DCASE 2020 Task 2: ``train/normal_id_00_*.wav`` and ``test/{normal,anomaly}_id_00_*.wav``.

    MIMII: ``id_00/normal/*.wav`` and ``id_00/abnormal/*.wav``. Abnormal clips are for testing, and
    of each machine as many normal ones, at most half of them: those whose names have the smallest
    SHA-1, so that few clips change their part when others are added.

    Parameters
    ----------
    path
        The folder of one machine type, or a folder of such folders.

    Raises
    ------
    DataError
        If there is no such folder or no clip in it.
    """
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise DataError(
            f"sounds of machines must be in a folder, but {path} {what}; unpack the archive and "
            "name its folder, or write synthetic machines: micronas data synth ad"
        )
    kinds = [path, *sorted(each for each in path.iterdir() if each.is_dir())]
    read = [(kind, *_read_type(path, kind)) for kind in kinds]
    unnamed = sorted(name for *_, names in read for name in names)
    found = [(kind, clips) for kind, clips, _ in read if clips]
    if not found:
        raise DataError(
            f"sounds of machines must be laid out as train/normal_id_00_*.wav or "
            f"id_00/normal/*.wav, but {path} has no such file; name the folder of a machine type"
        )
    clips: list[MachineClip] = []
    for kind, own in found:
        prefix = f"{kind.name}/" if len(found) > 1 else ""
        clips += [
            MachineClip(each.path, each.name, prefix + each.machine, each.training, each.anomalous)
            for each in own
        ]
    layout = "DCASE" if any((kind / "train").is_dir() for kind, _ in found) else "MIMII"
    return MachineFolder(
        path, layout, tuple(sorted(clips, key=lambda clip: clip.name)), tuple(unnamed)
    )


def load(settings: MachineSettings) -> DataSet:
    """Read sounds of machines; a network learns to tell normal machines apart.

    Classes are the machines. Training and validation know normal clips only: of each machine,
    `validation_fraction` of the clips (at least one) are held out by the SHA-1 of their names.
    `detection` is the test part, `test` its normal windows.

    Inputs are images of 64 frames and 64 bands, halved; see `micronas.tasks.logmel`. Mean and
    standard deviation of the training part's values, two numbers, standardise them; what lies
    more than four deviations away is limited.

    Clips: 16 kHz mono is expected; others are converted as `read_recording` says, and counted.
    Left out and named in the summary: files that cannot be read, are shorter than one image
    (2.08 s) or longer than ten minutes, are named otherwise, or are anomalous and in the training
    folder. A machine without a readable normal and anomalous test clip has no part
    in the detection.

    Parameters
    ----------
    settings
        Where the data is, and how to read it.

    Returns
    -------
    DataSet
        Inputs 32 x 32 x 1 (time, bands); groups are clips. `test` and `detection` are None where no
        machine can be tested.

    Raises
    ------
    DataError
        If the folder is missing or laid out in another way, there are fewer than two machines, or
        one has fewer than two normal training clips.

    References
    ----------
    C. Banbury et al., "MicroNets", 2021, section 5.2.3. H. Purohit et al., "MIMII Dataset", 2019.
    """
    folder = open_folder(settings.path)
    classes = folder.machines
    if len(classes) < 2:
        raise DataError(
            f"there must be at least two machines to tell apart, but {folder.root} has only "
            f"{', '.join(classes)}; add machines of the same or another type"
        )
    read = _read_clips(folder, settings.overlap)
    good = [clip for clip in read.images if clip.training]
    for name in classes:
        own = sum(clip.machine == name for clip in good)
        if own < 2:
            raise DataError(
                "every machine must have two readable normal training clips, one of them to "
                f"validate on, but {name} of {folder.root} has {own}; add recordings or delete it"
            )
    held = _held_out(good, settings.validation_fraction)
    tested = _testable(clip for clip in read.images if not clip.training)

    training = [clip for clip in good if clip not in held]
    values = torch.cat([read.images[clip] for clip in training])
    mean, deviation = float(values.mean()), max(float(values.std()), 1e-3)

    def split(clips: Sequence[MachineClip], mixup: float = 0.0) -> TensorSplit:
        parts = [read.images[clip] for clip in clips]
        counts = torch.tensor([len(part) for part in parts])
        labels = torch.tensor([classes.index(clip.machine) for clip in clips])
        inputs = ((torch.cat(parts) - mean) / deviation).clamp_(-LIMIT, LIMIT)
        return TensorSplit(
            inputs.unsqueeze(1),
            labels.repeat_interleave(counts),
            groups=torch.arange(len(clips)).repeat_interleave(counts),
            mixup=mixup,
        )

    detection, test = None, None
    if tested:
        windows = split(tested)
        anomalous = torch.tensor([clip.anomalous for clip in tested])
        machines = torch.tensor([classes.index(clip.machine) for clip in tested])
        detection = Detection(windows, windows.groups, machines, anomalous, classes)
        test = Subset(windows, (~anomalous[windows.groups]).nonzero()[:, 0])
    return DataSet(
        train=split(training, settings.mixup),
        validation=split([clip for clip in good if clip in held]),
        test=test,
        classes=classes,
        input=(SIZE, SIZE, 1),
        meaning={"features": "log-mel", "mean": round(mean, 6), "deviation": round(deviation, 6)},
        summary=_summarise(folder, read, training, held, tested),
        detection=detection,
    )


def check(path: Path) -> list[Finding]:
    """Look for what makes a corpus lie or fail; reads every file.

    Finds machines without normal training, normal test or anomalous test clips; clips that cannot
    be decoded or are too short; anomalies in the training folder; names that do not say the
    machine; and the same sound in both parts or of two machines.

    Raises
    ------
    DataError
        As `open_folder`.
    """
    folder = open_folder(path)
    findings = [
        Finding("name", name, "does not say which machine it is of") for name in folder.unnamed
    ]
    first: dict[bytes, MachineClip] = {}
    for clip in folder.clips:
        if clip.training and clip.anomalous:
            findings.append(Finding("anomaly", clip.name, "is in the training folder"))
        try:
            samples = read_recording(clip.path, longest_s=_LONGEST_S).samples
        except DataError as error:
            findings.append(Finding("unreadable", clip.name, str(error)))
            continue
        if len(samples) < SHORTEST:
            findings.append(Finding("short", clip.name, f"{1000 * len(samples) // RATE} ms long"))
        other = first.setdefault(hashlib.sha1(samples.tobytes()).digest(), clip)
        if (other.training, other.machine) != (clip.training, clip.machine):
            findings.append(Finding("duplicate", clip.name, f"same sound as {other.name}"))
    present = {(clip.machine, clip.training, clip.anomalous) for clip in folder.clips}
    wanted = {
        "normal training": (True, False),
        "normal test": (False, False),
        "anomalous test": (False, True),
    }
    for machine in folder.machines:
        lacking = [what for what, kind in wanted.items() if (machine, *kind) not in present]
        findings += [Finding("missing", machine, f"has no {what} clips") for what in lacking]
    return findings


@dataclass
class _Read:
    """Images [n, 32, 32] of the clips that can be used, and what happened to the others."""

    images: dict[MachineClip, Tensor] = field(default_factory=dict)
    anomalies: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)


def _read_clips(folder: MachineFolder, overlap: int) -> _Read:
    read = _Read()
    for clip in tqdm(folder.clips, desc="clips", unit="clip", leave=False, disable=None):
        if clip.training and clip.anomalous:
            read.anomalies.append(str(clip.path))
            continue
        try:
            recording = read_recording(clip.path, longest_s=_LONGEST_S)
        except DataError:
            read.unreadable.append(str(clip.path))
            continue
        if len(recording.samples) < SHORTEST:
            read.short.append(str(clip.path))
            continue
        read.converted[recording.converted_from] += 1
        waveform = torch.from_numpy(recording.samples).float() / 32768.0
        read.images[clip] = images(log_mel(waveform.unsqueeze(0))[0], overlap=overlap)
    return read


def _read_type(root: Path, kind: Path) -> tuple[list[MachineClip], list[str]]:
    """Return the clips of one machine type and the names that say no machine."""
    clips: list[MachineClip] = []
    unnamed: list[str] = []
    for part in ("train", "test"):
        for path in _wavs(kind / part):
            name = path.relative_to(root).as_posix()
            match = _DCASE_NAME.fullmatch(path.stem)
            if match is None:
                unnamed.append(name)
                continue
            anomalous = match[1].lower() == "anomaly"
            clips.append(MachineClip(path, name, match[2].lower(), part == "train", anomalous))
    if clips:
        return clips, unnamed
    for folder in sorted(each for each in kind.iterdir() if _MIMII_FOLDER.fullmatch(each.name)):
        others = [each for each in folder.iterdir() if each.name not in ("normal", "abnormal")]
        stray = [path for place in (folder, *others) for path in _wavs(place)]
        unnamed += [path.relative_to(root).as_posix() for path in stray]
        normal, abnormal = _wavs(folder / "normal"), _wavs(folder / "abnormal")
        testing = set(sorted(normal, key=_digest)[: min(len(abnormal), len(normal) // 2)])
        for path in (*normal, *abnormal):
            name, anomalous = path.relative_to(root).as_posix(), path.parent.name == "abnormal"
            training = not anomalous and path not in testing
            clips.append(MachineClip(path, name, folder.name.lower(), training, anomalous))
    return clips, unnamed


def _held_out(clips: Sequence[MachineClip], fraction: float) -> set[MachineClip]:
    held: set[MachineClip] = set()
    for machine in {clip.machine for clip in clips}:
        own = [clip for clip in clips if clip.machine == machine]
        held |= set(
            sorted(own, key=lambda clip: _digest(clip.path))[: math.ceil(fraction * len(own))]
        )
    return held


def _testable(clips: Iterable[MachineClip]) -> list[MachineClip]:
    """Return the clips of machines that have normal and anomalous ones."""
    clips = list(clips)
    kinds = {(clip.machine, clip.anomalous) for clip in clips}
    return [clip for clip in clips if {(clip.machine, True), (clip.machine, False)} <= kinds]


def _digest(path: Path) -> bytes:
    return hashlib.sha1(path.name.encode()).digest()


def _wavs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".wav")
    # Names like ._x.wav are what macOS adds to archives.
    return sorted(file for file in files if not file.name.startswith("."))


def _summarise(
    folder: MachineFolder,
    read: _Read,
    training: Sequence[MachineClip],
    held: set[MachineClip],
    tested: Sequence[MachineClip],
) -> str:
    """Say in one paragraph what was read, how it was divided, and what was left out."""
    anomalous = sum(clip.anomalous for clip in tested)
    said = [
        f"{len(read.images)} clips of {len(folder.machines)} machines in {folder.root} "
        f"({folder.layout} layout): {len(training)} for training, {len(held)} for validation, "
        f"{len(tested) - anomalous} normal and {anomalous} anomalous for test.",
        f"Machines: {', '.join(folder.machines)}.",
    ]
    sizes = Counter(clip.machine for clip in training)
    if max(sizes.values()) > 2 * min(sizes.values()):
        (most, many), *_, (least, few) = sizes.most_common()
        said.append(f"Machines differ in training clips: {most} has {many}, {least} has {few}.")
    formats = {name: count for name, count in sorted(read.converted.items()) if name}
    if formats:
        listed = "; ".join(f"{count} from {name}" for name, count in formats.items())
        said.append(f"Converted to {RATE} Hz mono: {listed}.")
    untested = sorted(set(folder.machines) - {clip.machine for clip in tested})
    if untested:
        said.append(f"Not tested, for want of normal or anomalous clips: {', '.join(untested)}.")
    for what, names in (
        ("anomalies in the training folder", read.anomalies),
        ("unreadable", read.unreadable),
        (f"shorter than {SHORTEST / RATE:.2f} s", read.short),
        (
            "the name does not say the machine",
            [str(folder.root / name) for name in folder.unnamed],
        ),
    ):
        if names:
            listed = ", ".join([*names[:_LISTED], *(["..."] if len(names) > _LISTED else [])])
            said.append(f"Left out, {what}: {len(names)} files ({listed}).")
    return " ".join(said)
