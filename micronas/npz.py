"""Read foreign .npy and .npz files, which may be damaged or need too much memory."""

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from micronas.files import largest_unpacked, regular

Array = npt.NDArray[Any]

# The header of an array is Python text, and a damaged one fails in every way that Python text
# can; an archive may be encrypted (RuntimeError) or packed by an unknown method.
_UNREADABLE = (
    *(OSError, ValueError, TypeError, EOFError, SyntaxError, TokenError, OverflowError),
    *(MemoryError, RecursionError, RuntimeError, LookupError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
)


def read_arrays(source: Path | IO[bytes]) -> Array | dict[str, Array]:
    """Read an array from a ``.npy`` file, or several by name from an ``.npz``, without pickle.

    Raises ValueError if anything is wrong with the file, or arrays take far more memory than it.
    """
    with _one_error():
        # mapped, so that a header cannot ask for more memory than the file has bytes
        mapped: Literal["r"] | None = "r" if isinstance(source, Path) else None
        if isinstance(source, Path):
            regular(source)
        values = np.load(source, mmap_mode=mapped, allow_pickle=False)
        if isinstance(values, np.ndarray):
            return np.array(values)
        with values as file:
            _check_size(file)
            arrays = {name: file[name] for name in file.files}
        for name, each in arrays.items():
            _check_array(name, isinstance(each, np.ndarray))
        return arrays


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an ``.npz`` from the headers of its arrays, without unpacking more.

    Raises ValueError as `read_arrays` does.
    """
    shapes = {}
    with _one_error(), zipfile.ZipFile(regular(path)) as archive:
        for member in archive.namelist():
            _check_array(member, member.endswith(".npy"))
            with archive.open(member) as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shapes[member.removesuffix(".npy")] = tuple(read(file)[0])
    return shapes


@contextmanager
def _one_error() -> Iterator[None]:
    try:
        with np.errstate(over="ignore"):  # a shape of 10^20
            yield
    except _UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _check_size(file: "np.lib.npyio.NpzFile") -> None:
    assert file.zip is not None, "it was opened a moment ago"
    assert file.zip.fp is not None, "it was opened a moment ago"
    # packed sizes in a directory may be false; no more than the unpacked size is read
    most = largest_unpacked(file.zip.fp.seek(0, os.SEEK_END))
    unpacked = sum(member.file_size for member in file.zip.infolist())
    if unpacked > most:
        raise ValueError(
            f"its arrays take {unpacked:,} bytes, and may take {most:,} in a file of that size; "
            "write it with numpy.savez"
        )


def _check_array(name: str, is_array: bool) -> None:
    if not is_array:
        raise ValueError(f"it holds {name!r:.60}, which is no array")
