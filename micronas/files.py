"""Write files and folders whole or not at all; hold a file; hash a text."""

import errno
import fcntl
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from micronas.errors import ConfigError

_TEMPORARY = ".tmp"
_LOCK = ".lock"
_PASSING = re.compile(r"\..+(\.[0-9a-f]{16}\.tmp|\.lock)")
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems that have none."""
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES)
"""Errors of file systems that cannot, and of folders that may be written but not listed."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a later run, sees the old bytes or the new, never half.

    Raises
    ------
    OSError
        If that is not possible; it names the file, also where the disk is full.
    """
    with aside(path) as temporary, temporary.open("xb") as file:
        file.write(data)


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Give a name beside `path` to write a file or a folder under, then rename what is there.

    The name is one that no other process can choose. Where the block or the rename fails, what was
    written is removed and `path` is as it was. Where the process is killed it stays, and only who
    holds `path` may remove it.

    Raises
    ------
    OSError
        If that is not possible; it names `path` or a file in it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        if path.exists():
            regular(path)  # as root, a rename to /dev/null would succeed
        _make_folder(path.parent)
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            # a write that fails for want of space does not know what it writes to
            error.filename = str(path)
        raise
    finally:
        _remove(temporary)


def regular(path: Path) -> Path:
    """Return the path of a file that may be opened.

    A named pipe would wait for somebody to write to it, and some devices have no end.

    Raises
    ------
    OSError
        If it is neither a file nor a folder, or not there.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no file')}", str(path))
    return path


def largest_unpacked(packed: int) -> int:
    """Return the bytes that an archive of so many bytes may take in memory.

    Deflate makes 1,032 of one with nothing but zeros.
    """
    return max(2**28, 200 * packed)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a loss of power."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync(path: Path) -> None:
    """Put on disk what a file holds, or all files of a folder."""
    if path.is_dir():
        for each in path.iterdir():
            _sync(each)
        _sync_folder(path)
    else:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Put on disk which names a folder has; a loss of power could else undo a rename."""
    try:
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class _Hold:
    """A file that no other process may write while this object is there and its process lives."""

    def __init__(self, lock: Path, number: int | None) -> None:
        self.owner = os.getpid()
        if number is not None:
            finalize(self, _release, lock, number, self.owner)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # what another process gets holds nothing


_held: WeakValueDictionary[Path, _Hold] = WeakValueDictionary()


def hold(path: Path, *, again: bool = True) -> _Hold:
    """Keep other processes from holding a file, and remove what killed ones wrote aside for it.

    A process that holds a file may hold it `again`. The lock is a file beside it while it is held,
    and ends with its process; a file system without locks keeps nobody away.

    Raises
    ------
    ConfigError
        If another process holds the file, or this one does and may not `again`.
    OSError
        If the folder cannot be written.
    """
    path = path.resolve()
    found = _held.get(path)
    if found is None or found.owner != os.getpid() or not again:
        _make_folder(path.parent)
        lock = path.with_name(f".{path.name}{_LOCK}")
        try:
            if found is not None and found.owner == os.getpid():
                raise BlockingIOError
            found = _held[path] = _Hold(lock, _locked(lock))
        except BlockingIOError as error:
            raise ConfigError(
                f"one process at a time may write {path}, but another is at work with it; wait for "
                "it, or write to another place"
            ) from error
        remove_leftovers(path)
    return found


def _locked(lock: Path) -> int | None:
    """Return the descriptor of the file while it is locked, or None where files cannot be."""
    while True:
        number = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(number), os.stat(lock)):
                    return number
        except OSError as error:
            os.close(number)
            if error.errno in _NO_LOCKS:
                return None
            raise
        os.close(number)  # its last holder removed it between these steps


def _release(lock: Path, number: int, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that it forked
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(number)


def remove_leftovers(path: Path) -> None:
    """Remove what killed processes wrote aside for a file; for those that hold it."""
    for each in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        if is_passing(each):
            _remove(each)


def is_passing(path: Path) -> bool:
    """Whether a file is one that `aside` or `hold` makes for a while."""
    return _PASSING.fullmatch(path.name) is not None


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
