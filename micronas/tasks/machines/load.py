"""Anomaly detection: machines in the layout of DCASE 2020 Task 2 or MIMII, as a data set."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from tqdm import tqdm

from micronas.data import DataSet, Detection, Subset, TensorSplit
from micronas.errors import DataError
from micronas.objectives.anomalies import Anomalies
from micronas.tasks.machines.folder import (
    LONGEST_S,
    MachineClip,
    MachineFolder,
    name_digest,
    open_folder,
)
from micronas.tasks.machines.front_end import SHORTEST, SIZE, images, log_mel, standardise
from micronas.tasks.machines.settings import MachineSettings
from micronas.tasks.parts import left_out
from micronas.tasks.recording import converted, read_recording
from micronas.tasks.waveform import RATE


def load(settings: MachineSettings) -> DataSet:
    """Read sounds of machines; a network learns to distinguish normal machines.

    Classes are the machines. Training and validation have normal clips only: `validation_fraction`
    of each machine's clips (at least one) are held out by the SHA-1 of their names. `detection` is
    the test part, `test` its normal windows; both are None where no machine can be tested.

    Inputs, 32 x 32 x 1 (time, bands), are images of 64 frames and 64 bands, halved; see
    `micronas.tasks.machines.front_end`. They are standardised by one mean and one standard
    deviation, those of the training part's values, and limited to four deviations. Groups are
    clips.

    Clips should be 16 kHz mono; others are converted (`read_recording`) and counted. Files that
    cannot be read, are shorter than one image (2.08 s) or longer than ten minutes, have other
    names, or are anomalous and in the training folder, are left out and named in the summary. A
    machine without a readable normal and anomalous test clip is left out of `detection`. Raises
    DataError if the folder is missing or has another layout, there are fewer than two machines, or
    one has fewer than two normal training clips. Source: C. Banbury et al., "MicroNets", 2021,
    section 5.2.3; H. Purohit et al., "MIMII Dataset", 2019.
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
    # rounded as in the model file, so that a device standardises like training
    mean, deviation = round(float(values.mean()), 6), round(max(float(values.std()), 1e-3), 6)

    def split(clips: Sequence[MachineClip], mixup: float = 0.0) -> TensorSplit:
        parts = [read.images[clip] for clip in clips]
        counts = torch.tensor([len(part) for part in parts])
        labels = torch.tensor([classes.index(clip.machine) for clip in clips])
        inputs = standardise(torch.cat(parts), mean, deviation)
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
        meaning={"features": "log-mel", "mean": mean, "deviation": deviation},
        summary=_summarise(folder, read, training, held, tested),
        detection=detection,
        objective=Anomalies(),
    )


@dataclass
class _Read:
    """Images [n, 32, 32] of usable clips, and names of the others by reason."""

    images: dict[MachineClip, Tensor] = field(default_factory=dict)
    anomalies: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    converted: Counter[str] = field(default_factory=Counter)
    parts: defaultdict[int, set[bool]] = field(default_factory=lambda: defaultdict(set))
    """Whether each sound, by its hash, is for training, for test, or for both."""


def _read_clips(folder: MachineFolder, overlap: int) -> _Read:
    read = _Read()
    for clip in tqdm(folder.clips, desc="clips", unit="clip", leave=False, disable=None):
        if clip.training and clip.anomalous:
            read.anomalies.append(str(clip.path))
            continue
        try:
            recording = read_recording(clip.path, longest_s=LONGEST_S)
        except DataError:
            read.unreadable.append(str(clip.path))
            continue
        if len(recording.samples) < SHORTEST:
            read.short.append(str(clip.path))
            continue
        if recording.converted_from:
            read.converted[recording.converted_from] += 1
        read.parts[hash(recording.samples.tobytes())].add(clip.training)
        waveform = torch.from_numpy(recording.samples).float() / 32768.0
        read.images[clip] = images(log_mel(waveform.unsqueeze(0))[0], overlap=overlap)
    return read


def _held_out(clips: Sequence[MachineClip], fraction: float) -> set[MachineClip]:
    held: set[MachineClip] = set()
    for machine in {clip.machine for clip in clips}:
        own = [clip for clip in clips if clip.machine == machine]
        held |= set(
            sorted(own, key=lambda clip: name_digest(clip.path))[: math.ceil(fraction * len(own))]
        )
    return held


def _testable(clips: Iterable[MachineClip]) -> list[MachineClip]:
    """Return the clips of machines that have normal and anomalous ones."""
    clips = list(clips)
    kinds = {(clip.machine, clip.anomalous) for clip in clips}
    return [clip for clip in clips if {(clip.machine, True), (clip.machine, False)} <= kinds]


def _summarise(
    folder: MachineFolder,
    read: _Read,
    training: Sequence[MachineClip],
    held: set[MachineClip],
    tested: Sequence[MachineClip],
) -> str:
    """Return one paragraph on the clips read, their division, and those left out."""
    anomalous = sum(clip.anomalous for clip in tested)
    said = [
        f"{len(read.images)} clips of {len(folder.machines)} machines in {folder.root} "
        f"({folder.layout} layout): {len(training)} for training, {len(held)} for validation, "
        f"{len(tested) - anomalous} normal and {anomalous} anomalous for test.",
        f"Machines: {', '.join(folder.machines)}.",
    ]
    if shared := sum(len(each) > 1 for each in read.parts.values()):
        said.append(f"Sounds for training and for test: {shared}; AUC will look too good.")
    sizes = Counter(clip.machine for clip in training)
    if max(sizes.values()) > 2 * min(sizes.values()):
        (most, many), *_, (least, few) = sizes.most_common()
        said.append(f"Machines differ in training clips: {most} has {many}, {least} has {few}.")
    said += converted(read.converted)
    untested = sorted(set(folder.machines) - {clip.machine for clip in tested})
    if untested:
        said.append(f"Not tested, for want of normal or anomalous clips: {', '.join(untested)}.")
    said += left_out("anomalies in the training folder", read.anomalies)
    said += left_out("unreadable", read.unreadable)
    said += left_out(f"shorter than {SHORTEST / RATE:.2f} s", read.short)
    unnamed = [folder.root / name for name in folder.unnamed]
    said += left_out("the name does not say the machine", unnamed)
    return " ".join(said)
