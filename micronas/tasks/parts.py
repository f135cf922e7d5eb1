"""Names of the parts of a data set, what two share, files left out, and sounds in a folder."""

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from pathlib import Path
from typing import Literal

from micronas.errors import DataError

Part = Literal["training", "validation", "testing"]
PARTS: tuple[Part, ...] = ("training", "validation", "testing")
PARTS_BY_NAME: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "training"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "testing"),
}
"""Parts by the names of folders, in small letters."""
_LISTED = 5


def in_two(*parts: AbstractSet[object]) -> int:
    """Return how many members two or more of the sets have in common."""
    return sum(count > 1 for count in Counter(chain.from_iterable(parts)).values())


def left_out(why: str, files: Sequence[object]) -> list[str]:
    """Return a list with one sentence on the files that a data set leaves out, or []."""
    named = ", ".join([*map(str, files[:_LISTED]), *["..."] * (len(files) > _LISTED)])
    return [f"Left out, {why}: {len(files)} files ({named})."] if files else []


def require_folder(path: Path, what: str, way: str) -> None:
    """Raise DataError if a path is no folder: `what` it must be, and the way out."""
    if not path.is_dir():
        found = "is a file" if path.exists() else "does not exist"
        raise DataError(f"{what}, but {path} {found}; unpack the archive and name {way}")


def wavs(folder: Path) -> list[Path]:
    """Return the WAV files of a folder by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    files = (file for file in folder.iterdir() if file.suffix.lower() == ".wav")
    # macOS adds names like ._x.wav to archives; names sort faster than paths
    return sorted((each for each in files if not each.name.startswith(".")), key=lambda x: x.name)
