"""Download archives of public data sets: resumed, verified, unpacked safely and atomically."""

import hashlib
import http.client
import os
import shutil
import ssl
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from micronas.errors import DataError
from micronas.progress import Progress, nobody
from micronas.quantities import format_bytes

_PIECE = 1 << 20
_TIMEOUT_S = 60
_ATTEMPTS = 6
_LONGEST_PAUSE_S = 30.0
_TRANSIENT = (
    *(urllib.error.URLError, http.client.HTTPException),
    *(ConnectionError, TimeoutError, ssl.SSLError),
)
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
_WORK_FOLDER = ".download"


@dataclass(frozen=True)
class Archive:
    """One file of a data set."""

    url: str
    """Address of a .zip, .tar.gz or .tgz."""
    size: int
    """Bytes."""
    checksum: str
    """``sha256:`` or ``md5:`` and the digest in hexadecimal."""
    folder: str
    """Name of the folder that it is unpacked to."""
    unpacked: int
    """Bytes of its files, rounded up; no more are unpacked."""

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rsplit("/", 1)[-1]


def fetch(
    archive: Archive,
    folder: Path,
    *,
    progress: Progress = nobody,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch one archive and unpack it, unless its folder exists already.

    Received bytes are kept in ``.download`` until complete, and continued by a Range request; a
    server without them sends everything again. A failed transfer is tried again after 1, 2, 4 ...
    30 s, for which `sleep` is called, until six attempts in a row have received nothing. The
    checksum is verified, then the file is unpacked under a temporary name and renamed.
    """
    target = folder / archive.folder
    if target.exists():
        return target
    work = folder / _WORK_FOLDER
    try:
        work.mkdir(parents=True, exist_ok=True)
        file = work / archive.name
        received = file.stat().st_size if file.exists() else 0
        _require_space(folder, max(archive.size - received, 0) + archive.unpacked)
        resumed = received > 0
        _receive(archive, file, progress, sleep)
        if _digest(file, archive) != archive.checksum:
            file.unlink()
            if resumed:  # the first part may be of another file: once more from the start
                return fetch(archive, folder, progress=progress, sleep=sleep)
            raise DataError(
                f"{archive.url} must have the checksum {archive.checksum}, but what was received "
                "has not; try again, or fetch it by hand from a place you trust"
            )
        _unpack(file, target, archive.unpacked)
        file.unlink()
    except OSError as error:
        raise DataError(
            f"a download must be able to write to {folder}: {error}; choose another folder"
        ) from error
    if not any(work.iterdir()):
        work.rmdir()
    return target


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"a download needs space for the archive and its content: {format_bytes(needed)}, but "
            f"{folder} has {format_bytes(free)}; choose another disk"
        )


class _RefusedError(Exception):
    """The server's answer is final."""


def _receive(
    archive: Archive, file: Path, progress: Progress, sleep: Callable[[float], None]
) -> None:
    """Fill `file` up to the archive's size."""
    failures = 0
    while True:
        before = file.stat().st_size if file.exists() else 0
        if before == archive.size:
            return
        try:
            if before > archive.size:
                file.unlink()
            _transfer(archive, file, progress)
            problem = "the connection was cut"
        except _RefusedError as error:
            raise DataError(
                f"a data set must be at its address, but {archive.url} {error}; "
                "fetch it by hand from another place"
            ) from error
        except _TRANSIENT as error:
            problem = str(error) or type(error).__name__
        after = file.stat().st_size if file.exists() else 0
        if after == archive.size:
            return
        failures = 0 if after > before else failures + 1
        if failures == _ATTEMPTS:
            raise DataError(
                f"a download must get through, but {archive.url} failed {failures} times in a row "
                f"({problem}); look at the connection and run the same command again"
            )
        sleep(min(2.0 ** max(failures - 1, 0), _LONGEST_PAUSE_S))


def _transfer(archive: Archive, file: Path, progress: Progress) -> None:
    """Make one request and append the answer to the file."""
    start = file.stat().st_size if file.exists() else 0
    headers = {"User-Agent": "micronas", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        # addresses are those of the registered tasks
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # nosec B310
    except urllib.error.HTTPError as error:
        error.close()
        if error.code >= 500 or error.code in (408, 429):
            raise
        raise _RefusedError(f"answers {error.code} {error.reason}") from error
    with answer:
        start = _start_of(answer, start)
        length = answer.headers.get("Content-Length", "")
        if length.isdigit() and start + int(length) != archive.size:
            raise _RefusedError(
                f"has {start + int(length)} bytes and not {archive.size}: it is another file"
            )
        with file.open("r+b" if start else "wb") as output:
            output.seek(start)
            while piece := answer.read(_PIECE):
                start += len(piece)
                if start > archive.size:
                    raise _RefusedError(f"sends more than {archive.size} bytes")
                output.write(piece)
                progress(archive.name, start, archive.size, {})


def _start_of(answer: http.client.HTTPResponse, asked: int) -> int:
    """Return the byte where the answer begins: a server without ranges sends everything (200)."""
    if answer.status != 206:
        return 0
    given = answer.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {asked}-"):
        raise _RefusedError(f"was asked for bytes from {asked} on and sends {given!r}")
    return asked


def _digest(file: Path, archive: Archive) -> str:
    algorithm = archive.checksum.split(":")[0]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file.open("rb") as data:
        while piece := data.read(_PIECE):
            digest.update(piece)
    return f"{algorithm}:{digest.hexdigest()}"


def _unpack(file: Path, target: Path, most: int) -> None:
    """Unpack at most `most` bytes under a temporary name and rename; a single folder is the
    target."""
    with tempfile.TemporaryDirectory(prefix=f"{file.name}.", dir=file.parent) as scratch:
        partial = Path(scratch) / "content"
        partial.mkdir()
        try:
            if file.suffix == ".zip":
                _unpack_zip(file, partial, most)
            else:
                with tarfile.open(file) as archive:
                    # the filter refuses paths and links out of the folder, and devices
                    archive.extractall(partial, _bounded(archive, most), filter="data")
        except _DAMAGE as error:
            raise DataError(
                f"an archive must hold only files of its own, but {file.name} cannot be unpacked "
                f"({error}); do not trust it, delete it and fetch another"
            ) from error
        content = list(partial.iterdir())
        single = len(content) == 1 and content[0].name == target.name and content[0].is_dir()
        os.sync()  # once for all of up to a hundred thousand files
        os.replace(content[0] if single else partial, target)


def _bounded(archive: tarfile.TarFile, most: int) -> Iterator[tarfile.TarInfo]:
    """Yield members as they are read: listing them first would read the whole archive."""
    total = 0
    for member in archive:
        total += member.size
        if total > most:
            raise tarfile.TarError(_too_large(most))
        yield member


def _too_large(most: int) -> str:
    return f"it holds more than the {format_bytes(most)} of the one that was published"


def _unpack_zip(file: Path, folder: Path, most: int) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            path = PurePosixPath(member.filename.replace("\\", "/"))
            kind = stat.S_IFMT(member.external_attr >> 16)
            if path.is_absolute() or ".." in path.parts or ":" in member.filename:
                raise zipfile.BadZipFile(f"{member.filename!r} would be written elsewhere")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise zipfile.BadZipFile(f"{member.filename!r} is a link or a device")
        total = sum(member.file_size for member in archive.infolist())
        if total > most:
            raise zipfile.BadZipFile(_too_large(most))
        _require_space(folder, total)
        archive.extractall(folder)  # nosec B202
