"""Interface of front ends to the exporter, and their tables in C."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from micronas.errors import ModelError
from micronas.export.firmware.shared import lines
from micronas.graph.ir import Quantization
from micronas.resources import filled

Array = npt.NDArray[Any]

_C_TYPES = {
    "float32": "float",
    "int64": "int64_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "uint8": "uint8_t",
    "int8": "int8_t",
}


@dataclass(frozen=True)
class Pace:
    """Numbers of samples by which ``input.h`` turns a stream into inputs."""

    whole: int
    """Samples of an input."""
    row: int
    """Samples from one row of it to the next."""
    read: int
    """Samples that a device reads at once."""
    stride: int
    """Rows from one input to the next, unless a detector has its own."""
    rate: int | None = None
    """Samples per second, where the front end fixes it."""

    def ends(self, samples: int, stride: int = 0) -> list[int]:
        """Return the number of samples read at the end of each input, `stride` rows apart."""
        step = self.row * (stride or self.stride)
        needed = range(self.whole, samples + 1, step)
        return [min(-(-each // self.read) * self.read, samples) for each in needed]


class FrontEnd(ABC):
    """Front end that turns samples, pixels or readings into an input's codes, as in training."""

    kind: ClassVar[str]
    """Name of one word, such as ``mfcc``."""
    samples: ClassVar[str]
    """NumPy's name of a sample's type."""
    templates: ClassVar[Mapping[str, str]]
    """Shipped template of each generated file."""

    @property
    @abstractmethod
    def pace(self) -> Pace | None:
        """Pace of a stream's inputs; None for whole pictures."""

    @property
    def work_bytes(self) -> int:
        """Bytes of ``FrontEndWork``, the caller's work memory; 0 without one."""
        return 0

    @property
    @abstractmethod
    def codes(self) -> int:
        """Number of codes of an input."""

    def of_rows(self, rows: int) -> "FrontEnd":
        """Return the front end with inputs of `rows` rows; only for one with a `pace`."""
        raise NotImplementedError(f"{self.kind} has no rows of time")

    @abstractmethod
    def values(self, quantization: Quantization) -> Mapping[str, str]:
        """Return the values of the templates for an input of this scale and zero point."""

    def files(self, quantization: Quantization) -> dict[str, str]:
        """Return the C99 sources by name: ``front_end.h``, ``front_end.c`` and their includes.

        Raises ModelError if numbers of the model file leave the device's range.
        """
        try:
            with np.errstate(over="raise", divide="raise", invalid="raise"):
                values = {
                    "SCALE": literal(np.float32(quantization.scale[0])),
                    "ZERO": str(int(quantization.zero_point)),
                    **self.values(quantization),
                }
                arrays = self.tables(quantization)
                tables = {name: _written(each) for name, each in arrays.items()}
        except (ArithmeticError, ValueError) as error:
            raise ModelError(
                "a front end must have numbers that a device can compute with, but the meaning of "
                f"the input in the model file gives others ({error}); export it anew"
            ) from error

        return {
            name: filled(template, {**values, "TABLES": tables.get(name, "")})
            for name, template in self.templates.items()
        }

    @abstractmethod
    def tables(self, quantization: Quantization) -> Mapping[str, Mapping[str, Array]]:
        """Return the constant arrays of each file that has some, by name."""


def _written(tables: Mapping[str, Array]) -> str:
    """Return C definitions of arrays by name, or of numbers where they have no dimension."""
    found = []
    for name, values in tables.items():
        numbers = [literal(each) for each in values.reshape(-1)]
        size = f"[{values.size}]" if values.ndim else ""
        value = f"{{\n{lines(numbers)}\n}}" if values.ndim else numbers[0]
        found.append(f"static const {_C_TYPES[values.dtype.name]} {name}{size} = {value};")
    return "\n".join(found)


def literal(value: Any) -> str:
    """Return a C literal of exactly a number, with the suffix of float32 and int64."""
    if not np.isfinite(value):
        raise ValueError(f"{value} is no number")
    if isinstance(value, np.float32):
        text = f"{value:.9g}"
        return f"{text}f" if {".", "e"} & set(text) else f"{text}.0f"
    return f"INT64_C({value})" if isinstance(value, np.int64) else str(value)
