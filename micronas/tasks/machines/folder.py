"""Folders of machine sounds in the layout of DCASE 2020 Task 2 or MIMII."""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from micronas.errors import DataError
from micronas.tasks.parts import require_folder, wavs

LONGEST_S = 600
"""Longest sound file in seconds; longer ones are refused."""
_DCASE_NAME = re.compile(r"(normal|anomaly)_(id_\d+)_.+", re.IGNORECASE)
_MIMII_FOLDER = re.compile(r"id_\d+", re.IGNORECASE)


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
    """Sound files whose names or folders name no machine."""

    @property
    def machines(self) -> tuple[str, ...]:
        return tuple(sorted({clip.machine for clip in self.clips}))


def open_folder(path: Path) -> MachineFolder:
    """Read the layout of machine sounds; opens no sound file.

    `path` is a folder of one machine type, or of several such folders. DCASE 2020 Task 2 has
    ``train/normal_id_00_*.wav`` and ``test/{normal,anomaly}_id_00_*.wav``, MIMII
    ``id_00/normal/*.wav`` and ``id_00/abnormal/*.wav``. Test clips of MIMII are the abnormal ones
    and as many normal ones of the same machine, at most half of them: those whose names have the
    smallest SHA-1, so that few clips change their part when others are added. Raises DataError if
    there is no such folder or no clip in it.
    """
    way = "its folder, or write synthetic machines: micronas data synth ad"
    require_folder(path, "sounds of machines must be in a folder", way)
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
        clips += [replace(each, machine=prefix + each.machine) for each in own]
    layout = "DCASE" if any((kind / "train").is_dir() for kind, _ in found) else "MIMII"
    return MachineFolder(
        path, layout, tuple(sorted(clips, key=lambda clip: clip.name)), tuple(unnamed)
    )


def name_digest(path: Path) -> bytes:
    """Return the SHA-1 of a file's name, which divides clips into parts."""
    return hashlib.sha1(os.fsencode(path.name), usedforsecurity=False).digest()


def _read_type(root: Path, kind: Path) -> tuple[list[MachineClip], list[str]]:
    """Return the clips of one machine type, and the names without a machine."""
    clips: list[MachineClip] = []
    unnamed: list[str] = []
    for part in ("train", "test"):
        for path in wavs(kind / part):
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
        stray = [path for place in (folder, *others) for path in wavs(place)]
        unnamed += [path.relative_to(root).as_posix() for path in stray]
        normal, abnormal = wavs(folder / "normal"), wavs(folder / "abnormal")
        testing = set(sorted(normal, key=name_digest)[: min(len(abnormal), len(normal) // 2)])
        for path in (*normal, *abnormal):
            name, anomalous = path.relative_to(root).as_posix(), path.parent.name == "abnormal"
            training = not anomalous and path not in testing
            clips.append(MachineClip(path, name, folder.name.lower(), training, anomalous))
    return clips, unnamed
