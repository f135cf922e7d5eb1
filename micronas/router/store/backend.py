"""Memory for the weights of the top tier: NumPy arrays, or torch tensors on a device."""

from collections.abc import Mapping
from typing import Any, Protocol

from micronas.errors import ConfigError
from micronas.router.store.memory import Layout, Pages

_NUMPY = {
    "BOOL": "?",
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
}
_TORCH = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "U64": "uint64",
    "I64": "int64",
    "F64": "float64",
    "C64": "complex64",
}


class Memory(Protocol):
    """Bytes of a tier."""

    def close(self) -> bool:
        """Free them; False where somebody still holds an array of them."""
        ...


class Backend(Protocol):
    """A kind of memory and of arrays in it."""

    dtypes: Mapping[str, str]
    """Types of safetensors it can hold, and its own names of them."""
    on_host: bool
    """Whether its arrays can be those of the host tier."""

    def load(self, pages: Pages) -> Memory:
        """Copy an expert's bytes from the host into memory of this kind."""
        ...

    def weights(self, memory: Any, layout: Layout) -> dict[str, Any]:
        """Return arrays by name, views of the memory."""
        ...


class NumpyBackend:
    """The process's own memory, read-only NumPy arrays; imports no torch."""

    dtypes: Mapping[str, str] = _NUMPY
    on_host = True

    def load(self, pages: Pages) -> Pages:
        return _copy(pages)

    def weights(self, memory: Any, layout: Layout) -> dict[str, Any]:
        flat = memory.array()
        flat.flags.writeable = False
        return {
            each.name: flat[each.start : each.stop].view(_NUMPY[each.dtype]).reshape(each.shape)
            for each in layout.tensors
        }


class TorchBackend:
    """A torch device. Tensors can be written to, but what is written is never copied back.

    Parameters
    ----------
    name
        Such as ``cpu`` or ``cuda:0``.

    Raises
    ------
    ConfigError
        If torch is not installed or has no such device.
    """

    dtypes: Mapping[str, str] = _TORCH

    def __init__(self, name: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise ConfigError(
                f"backend {name} needs torch: pip install torch, or choose numpy"
            ) from error
        try:
            self._device = torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"a backend must be numpy or a device of torch, but got {name!r}: {reason}"
            ) from error
        self._torch = torch
        self.on_host = self._device.type == "cpu"

    def load(self, pages: Pages) -> Memory:
        if self.on_host:
            return _copy(pages)
        source = self._torch.from_numpy(pages.array())
        return _DeviceMemory(source.to(self._device))

    def weights(self, memory: Any, layout: Layout) -> dict[str, Any]:
        flat = self._torch.from_numpy(memory.array()) if self.on_host else memory.flat
        return {
            each.name: flat[each.start : each.stop]
            .view(getattr(self._torch, _TORCH[each.dtype]))
            .reshape(each.shape)
            for each in layout.tensors
        }


class _DeviceMemory:
    """A flat tensor on another device; who else holds it cannot be known."""

    def __init__(self, flat: Any) -> None:
        self.flat = flat

    def close(self) -> bool:
        del self.flat
        return True


def open_backend(name: str) -> Backend:
    """Return the backend called ``numpy``, or that of a torch device such as ``cuda:0``."""
    return NumpyBackend() if name == "numpy" else TorchBackend(name)


def _copy(pages: Pages) -> Pages:
    source = pages.array()
    copied = Pages(len(source))
    copied.array()[:] = source
    return copied
