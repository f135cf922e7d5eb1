"""Check a folder of machine sounds for faults."""

from dataclasses import replace
from pathlib import Path

from micronas.tasks.machines.folder import LONGEST_S, MachineClip, open_folder
from micronas.tasks.machines.front_end import SHORTEST
from micronas.tasks.recording import checked
from micronas.tasks.task import Finding


def check(path: Path) -> list[Finding]:
    """Find faults of a corpus; reads every file.

    Faults are machines without normal training, normal test or anomalous test clips; clips that
    cannot be decoded, are too short or lack their end; anomalies in the training folder; names
    without a machine; and the same sound in both parts, of two machines, or normal and anomalous.
    Raises DataError as for `open_folder`.
    """
    folder = open_folder(path)
    findings = [
        Finding("name", name, "does not say which machine it is of") for name in folder.unnamed
    ]
    first: dict[int, MachineClip] = {}
    for clip in folder.clips:
        if clip.training and clip.anomalous:
            findings.append(Finding("anomaly", clip.name, "is in the training folder"))
        samples = checked(clip.path, clip.name, findings, longest_s=LONGEST_S, shortest=SHORTEST)
        if samples is None:
            continue
        other = first.setdefault(hash(samples.tobytes()), clip)
        if replace(other, path=clip.path, name=clip.name) != clip:
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
