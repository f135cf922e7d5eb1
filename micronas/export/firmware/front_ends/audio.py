"""Spectra of sound: a ring of rows, each of one frame's coefficients or of two frames' bands."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from micronas.export.firmware.front_ends.front_end import Array, FrontEnd, Pace, literal
from micronas.graph.ir import Quantization
from micronas.resources import filled

_LOG_BITS = 25
"""Fractional bits of logarithms."""
_ENERGY_BITS = 45
"""Fractional bits of energies: those of powers, 30, and of weights, 15."""
_CODE_BITS = 48
"""Fractional bits of a step of the code."""
_LOG_STEPS = 64
_STRIDE = 10
"""Rows from one input to the next: a fifth of a second of speech."""


@dataclass(frozen=True, eq=False)
class _Audio(FrontEnd):
    """Steps that all spectra share: frames, window, Fourier transform, bands, logarithm."""

    rate: int
    """Samples per second."""
    window: Array
    """Weights of a frame's samples, float32 [window]."""
    hop: int
    """Samples from one frame to the next."""
    fft: int
    filters: Array
    """Triangles, float32 [bins, bands]; a bin lies in at most two neighbouring ones."""
    magnitude: bool
    """Whether bands add up roots of powers."""
    floor: float
    """Number added to an energy before its logarithm."""
    rows: int
    """Rows of the network's input."""
    columns: int
    limit: float

    title: ClassVar[str]
    samples: ClassVar[str] = "int16"
    templates: ClassVar[Mapping[str, str]] = {
        "front_end.h": "front_end_audio.h.in",
        "front_end.c": "front_end_audio.c.in",
        "front_end_float.h": "front_end_float.h.in",
        "front_end_fixed.h": "front_end_fixed.h.in",
    }
    stacked: ClassVar[int]
    """Frames per row."""

    @property
    def work_bytes(self) -> int:
        return 4 * (self.fft + int(self.filters.shape[1]))

    def of_rows(self, rows: int) -> "_Audio":
        return replace(self, rows=rows)

    @property
    def pace(self) -> Pace:
        frames = self.rows * self.stacked
        return Pace(
            whole=len(self.window) + (frames - 1) * self.hop,
            row=self.stacked * self.hop,
            read=self.hop,
            stride=_STRIDE,
            rate=self.rate,
        )

    @property
    def codes(self) -> int:
        return self.rows * self.columns

    @abstractmethod
    def rows_in_float(self) -> dict[str, Array]:
        """Return the tables by which rows are computed in float32."""

    @abstractmethod
    def rows_in_integers(self, scale: float) -> dict[str, Array]:
        """Return the tables by which rows are computed in integers."""

    def tables(self, quantization: Quantization) -> Mapping[str, Mapping[str, Array]]:
        fixed = self._fixed(quantization)
        return {"front_end_float.h": self._float(), "front_end_fixed.h": fixed}

    def values(self, quantization: Quantization) -> Mapping[str, str]:
        halvings = int(math.log2(self.fft // 2))
        quiet = round(self.floor * 2**_ENERGY_BITS)
        octaves = 1 if self.magnitude else 2  # growth of an energy when samples are doubled
        return {
            "TITLE": self.title,
            "RATE": str(self.rate),
            "WINDOW": str(len(self.window)),
            "HOP": str(self.hop),
            "FFT": str(self.fft),
            "BINS": str(len(self.filters)),
            "BANDS": str(self.filters.shape[1]),
            "ROWS": str(self.rows),
            "COLUMNS": str(self.columns),
            "STACKED": str(self.stacked),
            "FLOOR": literal(np.float32(self.floor)),
            "POWER": str(58 - 2 * halvings - 30),
            "QUIET": str(quiet),
            "ROOT": str(int(self.magnitude)),
            "OCTAVES": str(octaves),
            "MOST": str(min(15, (62 - quiet.bit_length()) // octaves)),
            "OCTAVE": str(round(math.log(2) * 2**_LOG_BITS)),
            "ROW": filled(f"front_end_{self.kind}.c.in", {}),
        }

    def _float(self) -> dict[str, Array]:
        band, weights = _pairs(self.filters)
        return {
            "kWindow": self.window / np.float32(2**15),  # exact: samples are 16 bits
            "kTurns": _turns(self.fft).astype(np.float32),
            "kBand": band,
            # exact: computed powers are four times as large
            "kWeights": weights / np.float32(2 if self.magnitude else 4),
            **self.rows_in_float(),
        }

    def _fixed(self, quantization: Quantization) -> dict[str, Array]:
        band, weights = _pairs(self.filters)
        middles = 1 + (np.arange(_LOG_STEPS) + 0.5) / _LOG_STEPS
        inverses = np.rint(2**31 / middles)
        return {
            "kWindow": np.rint(self.window * 2.0**15).astype(np.uint16),
            "kTurns": np.clip(np.rint(_turns(self.fft) * 2.0**31), 1 - 2**31, 2**31 - 1).astype(
                np.int32
            ),
            "kBand": band,
            "kWeights": np.rint(weights * 2.0**15).astype(np.uint16),
            "kInverses": inverses.astype(np.uint32),
            "kLogarithms": np.rint(-np.log(inverses / 2**31) * 2**_LOG_BITS).astype(np.int32),
            **self.rows_in_integers(float(quantization.scale[0])),
        }


@dataclass(frozen=True, eq=False)
class Mfcc(_Audio):
    """Mel-frequency cepstral coefficients: a row is a frame."""

    cosines: Array
    """Cosine transform divided by the spread of each coefficient, float32 [bands, columns]."""
    bias: Array
    """Shift of each coefficient, float32 [columns]."""

    kind: ClassVar[str] = "mfcc"
    title: ClassVar[str] = "mel-frequency cepstral coefficients"
    stacked: ClassVar[int] = 1

    def rows_in_float(self) -> dict[str, Array]:
        return {
            "kCosines": np.ascontiguousarray(self.cosines.T),
            "kBias": self.bias,
            "kLimit": np.array(self.limit, np.float32),
        }

    def rows_in_integers(self, scale: float) -> dict[str, Array]:
        steps = self.cosines.T.astype(np.float64) / scale * 2 ** (_CODE_BITS - _LOG_BITS)
        return {
            "kCosines": np.rint(steps).astype(np.int32),
            "kBias": _long(self.bias.astype(np.float64) / scale),
            "kLimit": _long(np.array(self.limit / scale)),
        }


@dataclass(frozen=True, eq=False)
class LogMel(_Audio):
    """Log-mel images: a row is the mean of two frames and two bands, standardised."""

    mean: float
    deviation: float

    kind: ClassVar[str] = "log_mel"
    title: ClassVar[str] = "log-mel spectrogram, halved"
    stacked: ClassVar[int] = 2

    def rows_in_float(self) -> dict[str, Array]:
        return {
            "kMean": np.array(self.mean, np.float32),
            "kDeviation": np.array(self.deviation, np.float32),
            "kLimit": np.array(self.limit, np.float32),
        }

    def rows_in_integers(self, scale: float) -> dict[str, Array]:
        steps = 2 ** (_CODE_BITS - _LOG_BITS) / (self.deviation * scale)
        return {
            "kMean": np.array(round(self.mean * 2**_LOG_BITS), np.int32),
            "kSteps": np.array(round(steps), np.int32),
            "kLimit": _long(np.array(self.limit / scale)),
        }


def _turns(fft: int) -> Array:
    """Return cosine and sine of each angle in half a turn, float64 [fft]."""
    angles = 2 * np.pi * np.arange(fft // 2) / fft
    return np.stack((np.cos(angles), np.sin(angles)), axis=1).reshape(-1)


def _pairs(filters: Array) -> tuple[Array, Array]:
    """Return the first band of each bin, and its weights in that band and in the next.

    The band after the last has no weight.
    """
    bins, bands = filters.shape
    padded = np.pad(filters, ((0, 0), (0, 1)))
    first = (padded > 0).argmax(axis=1)
    rows = np.arange(bins)
    weights = np.stack((padded[rows, first], padded[rows, first + 1]), axis=1)
    assert np.isclose(weights.sum(), filters.sum()), "a bin lies in two bands at most"
    assert bands < 256
    return first.astype(np.uint8), weights.reshape(-1)


def _long(steps: Array) -> Array:
    return np.rint(steps * 2.0**_CODE_BITS).astype(np.int64)
