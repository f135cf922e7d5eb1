"""Expert files, and memory whose bytes can be counted.

A file is read into anonymous memory instead of being used through a mapping of itself: pages of
a mapped file come and go as the system likes, so that no bound on them could be kept, and a file
that is cut short while it is mapped kills the process.
"""

import mmap
import re
import sys
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from micronas.errors import ConfigError, DataError, ModelError
from micronas.quantities import format_bytes


@dataclass(frozen=True)
class Tensor:
    """Where one tensor stands in the data of its file.

    Attributes
    ----------
    dtype
        In the words of safetensors: F32, BF16, I8, ...
    shape
        May be (), for one number.
    start, stop
        Bytes from the beginning of the data.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """Content of an expert's file, read from its header.

    Attributes
    ----------
    start
        First byte of the data in the file.
    tensors
        In the order of the file.
    """

    path: Path
    start: int
    tensors: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return self.tensors[-1].stop

    @property
    def size(self) -> int:
        """Bytes of memory it takes: whole pages."""
        return -(-self.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE


class Pages:
    """Memory that goes back to the system the moment it is closed.

    Arrays of the usual allocator would not do: blocks of some MB that were freed stay in the
    heap, and the process would hold more than the tiers count.

    Parameters
    ----------
    size
        Bytes, at least one.

    Raises
    ------
    ConfigError
        If the system does not give that much.
    """

    def __init__(self, size: int) -> None:
        try:
            self._map = _anonymous(size)
        except OSError as error:
            raise ConfigError(
                f"tiers must fit in memory, but {format_bytes(size)} more could not be had: "
                f"{error.strerror}; lower their bounds"
            ) from error

    def array(self) -> NDArray[np.uint8]:
        """Return all bytes as an array, shape (size,), without a copy."""
        return np.frombuffer(self._map, np.uint8)

    def view(self) -> memoryview:
        """Return all bytes, to be written to."""
        return memoryview(self._map)

    def close(self) -> bool:
        """Free the memory, unless an array of it is still around: then return False."""
        try:
            self._map.close()
        except BufferError:
            return False
        return True


def find_experts(folder: Path) -> dict[str, Path]:
    """Return the safetensors files of a folder by name, without their suffix.

    Raises
    ------
    DataError
        If there are none.
    """
    found = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    if not found:
        raise DataError(f"a folder of experts must hold *.safetensors files, but {folder} has none")
    return found


def read_layout(path: Path, *, dtypes: Container[str]) -> Layout:
    """Read and check the header of an expert's file.

    Parameters
    ----------
    path
        A safetensors file.
    dtypes
        Types of tensors that can be used.

    Raises
    ------
    ConfigError
        If safetensors is not installed.
    ModelError
        If the file is missing, cut short or damaged, is empty, or holds a type that is not
        among ``dtypes`` or not aligned.
    """
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ConfigError(
            "experts on disk need the package safetensors; pip install '.[router]'"
        ) from error
    try:
        # it checks that the header is sound and that the tensors fill the file without a gap
        with safe_open(path, "np") as file:
            slices = [(name, file.get_slice(name)) for name in file.offset_keys()]
            found = [(name, each.get_dtype(), tuple(each.get_shape())) for name, each in slices]
        length = path.stat().st_size
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"an expert must be a whole safetensors file, but {path} is not: {error}; "
            "copy or save it again"
        ) from error
    tensors: list[Tensor] = []
    start = 0
    for name, dtype, shape in found:
        if dtype not in dtypes:
            raise ModelError(
                f"tensors must be of a type the backend has, but {name!r} of {path} is {dtype}; "
                "convert it, or take a device of torch as backend"
            )
        itemsize = _itemsize(dtype)
        if start % itemsize:
            raise ModelError(
                f"tensors must stand at multiples of their item size, but {name!r} of {path} "
                f"stands at {start}; save it again with safetensors"
            )
        stop = start + itemsize * int(np.prod(shape, dtype=np.int64))
        tensors.append(Tensor(name, dtype, shape, start, stop))
        start = stop
    if start == 0:
        raise ModelError(f"an expert must hold weights, but {path} holds none")
    return Layout(path, length - start, tuple(tensors))


def read_pages(layout: Layout) -> Pages:
    """Read the data of an expert's file.

    Raises
    ------
    ModelError
        If the file cannot be read or is shorter than its header says.
    """
    pages = Pages(layout.size)
    try:
        with layout.path.open("rb", buffering=0) as file, pages.view() as target:
            file.seek(layout.start)
            done = 0
            while count := file.readinto(target[done : layout.nbytes]):
                done += count
    except OSError as error:
        pages.close()
        raise ModelError(f"{layout.path} cannot be read: {error}") from error
    if done < layout.nbytes:
        pages.close()
        raise ModelError(
            f"{layout.path} must hold {layout.nbytes} B of weights, but ends after {done} B; "
            "copy it again"
        )
    return pages


def _anonymous(size: int) -> mmap.mmap:
    if sys.platform != "linux":
        return mmap.mmap(-1, size)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    # fresh memory costs a fault a page, more than what is written into it; huge pages are few
    with suppress(OSError):
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def _itemsize(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1
