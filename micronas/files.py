"""Write files atomically; hash a text."""

import glob
import hashlib
import os
from contextlib import suppress
from pathlib import Path

_TEMPORARY = ".tmp"


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a later run, sees the old bytes or the new, never half.

    Raises
    ------
    OSError
        If that is not possible; it names the file, also where the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
            if is_leftover(leftover):
                leftover.unlink(missing_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # a write that fails for want of space does not know what it writes to
        raise OSError(error.errno, error.strerror, error.filename or str(path)) from error
    finally:
        with suppress(NotADirectoryError):  # its folder is a file: nothing was written
            temporary.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether a file is what `write_atomically` left in a process that was killed."""
    parts = path.name.split(".")
    if len(parts) < 4 or parts[0] or f".{parts[-1]}" != _TEMPORARY or not parts[-2].isdecimal():
        return False
    number = parts[-2]
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another's process
        return False
    return int(number) == os.getpid()


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
