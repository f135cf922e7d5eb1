"""Write files atomically; hash a text."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a later run, sees the old bytes or the new, never half.

    Raises
    ------
    OSError
        If that is not possible; it names the file, also where the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
