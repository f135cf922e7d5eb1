"""Write a generated corpus into a folder atomically; keep a finished one."""

from collections.abc import Callable
from pathlib import Path

from micronas.errors import DataError
from micronas.files import aside


def write_corpus(folder: Path, marker: tuple[str, str], write: Callable[[Path], None]) -> Path:
    """Write a corpus under a temporary name and rename it, unless the folder holds it already.

    `write` makes a folder and writes everything but the marker into it, the name and contents of a
    file that identifies the corpus. Raises DataError if the folder holds something else or cannot
    be written.
    """
    if _holds(folder, marker):
        return folder
    try:
        with aside(folder.absolute()) as partial:
            write(partial)
            (partial / marker[0]).write_text(marker[1], encoding="utf-8")
    except OSError as error:
        # Another process may have finished the same corpus meanwhile.
        if not _holds(folder, marker):
            raise DataError(
                f"a corpus must be written to a free folder, but {folder} cannot be used "
                f"({error}); name another one"
            ) from error
    return folder


def _holds(folder: Path, marker: tuple[str, str]) -> bool:
    """Return whether the folder holds this corpus, or False if it is free; else raise."""
    found = folder / marker[0]
    if found.is_file() and found.read_text(encoding="utf-8", errors="replace") == marker[1]:
        return True
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "a corpus of other settings" if found.is_file() else "something else"
        raise DataError(
            f"a corpus must be written to a free folder, but {folder} holds {what}; "
            "name another one or delete it"
        )
    return False
