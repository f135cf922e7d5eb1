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

from micronas.errors import ConfigError, DiskError

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
"""Errors of file systems without locks."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk without room."""
_NO_FOLDER_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.EACCES)
"""Errors of file systems without it, and of folders that may be written but not listed."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write a file atomically: readers and later runs see the old bytes or the new.

    Raises OSError if writing fails, which names the file, also where the disk is full.
    """
    with aside(path) as temporary, temporary.open("xb") as file:
        file.write(data)


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` for a file or a folder, then rename it to `path`.

    The name is random, so that no other process takes it. Where the block or the rename fails, the
    temporary file is removed and `path` unchanged. Where the process is killed the file stays, and
    only the holder of `path` may remove it. Raises OSError if writing fails, which names `path` or
    a file in it; DiskError where the disk is full.
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
            # the error of a full disk names no file
            error.filename = str(path)
        if error.errno in FULL:
            raise DiskError(full_disk(f"{error.strerror}: {error.filename}")) from error
        raise
    finally:
        _remove(temporary)


def full_disk(said: str) -> str:
    """Return what to do where the disk is full, with what its error said."""
    return (
        f"the disk must have room for what is written, but {said}; free some and run the same "
        "command again, which goes on from the last saved step"
    )


def regular(path: Path) -> Path:
    """Return the path of a file that may be opened.

    A named pipe would wait for a writer, and some devices have no end. Raises OSError if it is
    neither a file nor a folder.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'no file')}", str(path))
    return path


def largest_unpacked(packed: int) -> int:
    """Return the bytes that an archive of `packed` bytes may take in memory.

    Deflate packs zeros 1,032 to 1.
    """
    return max(2**28, 200 * packed)


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they survive a loss of power."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync(path: Path) -> None:
    """Sync a file, or all files of a folder, to disk."""
    if path.is_dir():
        for each in path.iterdir():
            _sync(each)
        _sync_folder(path)
    else:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk; otherwise a loss of power could undo a rename."""
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
    """Lock of a file against other processes, while this object and its process exist."""

    def __init__(self, lock: Path, number: int | None) -> None:
        self.owner = os.getpid()
        if number is not None:
            finalize(self, _release, lock, number, self.owner)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        return type(None), ()  # a copy in another process holds nothing


_held: WeakValueDictionary[Path, _Hold] = WeakValueDictionary()


def hold(path: Path, *, again: bool = True) -> _Hold:
    """Lock a file against other processes, and remove temporary files of killed ones.

    A process that holds a file may hold it `again`. The lock is a file beside it, which ends with
    the process; a file system without locks excludes no process. Raises ConfigError if another
    process holds the file, or this one does and `again` is False, OSError if the folder cannot be
    written.
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
    """Return the descriptor of the locked file, or None on file systems without locks."""
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
        os.close(number)  # the last holder removed it between these steps


def _release(lock: Path, number: int, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked process
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        os.close(number)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files of killed processes; call only while holding the file."""
    for each in path.parent.glob(f".{glob.escape(path.name)}.*{_TEMPORARY}"):
        if is_passing(each):
            _remove(each)


def is_passing(path: Path) -> bool:
    """Return whether a file is a temporary one of `aside` or `hold`."""
    return _PASSING.fullmatch(path.name) is not None


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
