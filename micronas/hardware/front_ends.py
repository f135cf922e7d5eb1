"""Costs of front ends on a Cortex-M4: memory, flash, instructions. Imports no torch.

Structures are exact; code and instructions were measured by ``benchmarks/device.py`` (GCC 14.2 at
-O2, QEMU's mps2-an386) and hold for any scale of the input.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from micronas.errors import ModelError
from micronas.quantities import aligned


@dataclass(frozen=True)
class FrontEndCosts:
    """Costs of a front end on a device, which turns samples into a network's input."""

    kind: str
    fixed_bytes: int
    """SRAM of its state and work memory without the input's codes."""
    flash_bytes: int
    """Flash of code and tables."""
    step_instructions: int
    """Instructions left after the last sample of an input: those of a frame, picture or
    reading."""
    input_instructions: int
    """Instructions of a whole input."""
    work_bytes: int = 0
    """Part of its SRAM that keeps nothing from one step to the next."""
    frame_ms: float | None = None
    """Time from one row of the input to the next, where rows are time."""
    rows: int = 0
    """Rows of the input that it keeps."""
    row_bytes: int = 0
    alignment: int = 4

    @property
    def buffer_bytes(self) -> int:
        """SRAM of its state and work memory."""
        return aligned(self.fixed_bytes + self.rows * self.row_bytes, self.alignment)

    @property
    def m0plus_cycles(self) -> float:
        """Modelled cycles of a Cortex-M0+ for each instruction of a Cortex-M4."""
        return _ON_M0PLUS.get(self.kind, _SPECTRA_ON_M0PLUS)


_ON_M0PLUS, _SPECTRA_ON_M0PLUS = {"image": 2.0, "series": 23.2}, 10.7
"""Pictures are scaled in integers anyway; numbers of sensors stay float32, spectra do not."""
CAMERA = {1: (160, 120, "gray"), 3: (160, 120, "rgb565")}
"""Assumed camera, by channels of the network's input: width, height, pixels."""
_MFCC = {40: (640, 1024, 257, 91_160), 30: (480, 512, 129, 46_800)}
"""Samples, points of the transform, bins and instructions of a frame, by window in ms."""
_MFCC_MS, _MFCC_FRAMES = 20.0, 49
"""Time from frame to frame, and frames of a window, of which networks may see every nth."""
_CONVERT = {("gray", 1): 4.1, ("rgb", 1): 12.3, ("rgb", 3): 10.6}
_CONVERT |= {("rgb565", 1): 18.3, ("rgb565", 3): 18.3}
"""Instructions per pixel of a camera, by its format and the network's channels."""
_ACROSS = {1: (18.2, 4.97), 3: (35.5, 9.84)}
"""Instructions per scaled pixel, and per pixel it covers, by channels."""
_DOWN, _OF_TWO = (12.5, 7.25), 18.3
"""Instructions per code, and per row it covers; per code in all for at most two rows, a loop that
the compiler unrolls."""


def front_end_costs(
    meaning: Mapping[str, Any], shape: tuple[int, int, int]
) -> FrontEndCosts | None:
    """Return the costs of the front end of an input of a stored meaning, or None if none is known.

    Raises ModelError if the meaning lacks a key, or has a wrong value.
    """
    try:
        return _counted(meaning, shape)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"a model's metadata must describe its input, but {dict(meaning)} does not "
            f"({type(error).__name__}: {error}); export it anew"
        ) from error


def has_times(meaning: Mapping[str, Any]) -> bool:
    """Return whether the meaning of an input gives the time of one of its rows."""
    return meaning.get("features") in ("mfcc", "log-mel") or "rate_hz" in meaning


def _counted(meaning: Mapping[str, Any], shape: tuple[int, int, int]) -> FrontEndCosts | None:
    features = meaning.get("features")
    if features == "mfcc":
        return mfcc(int(meaning["window_ms"]), rows=shape[0], columns=shape[1] * shape[2])
    if features == "log-mel":
        return _log_mel()
    if features == "pixels":
        if "read" in meaning:  # smaller than the images read: no front end is generated
            return None
        width, height, pixels = CAMERA[shape[2]]
        fit = str(meaning["fit"])
        return _image(width, height, pixels, size=shape[0], channels=shape[2], fit=fit)
    if features != "series":
        return None
    rate = meaning.get("rate_hz")
    return replace(_series(shape[0], shape[2]), frame_ms=1e3 / float(rate) if rate else None)


def mfcc(window_ms: int, *, rows: int = 49, columns: int = 10) -> FrontEndCosts:
    """Return the costs of `micronas.tasks.keywords.front_end.mfcc`.

    A frame of fewer than ten coefficients is charged as one of ten, and one of magnitudes as one of
    powers, which takes up to 0.5 % fewer instructions.
    """
    window, fft, bins, frame = _MFCC[window_ms]
    bands = 40
    tables = 4 * window + 4 * fft + 9 * bins + 4 * bands * columns + 4 * columns
    return FrontEndCosts(
        kind="mfcc",
        fixed_bytes=_audio_state(window, fft, bands, 1),
        flash_bytes=tables + 3_500,
        step_instructions=frame,
        input_instructions=rows * frame,
        work_bytes=_audio_work(fft, bands),
        frame_ms=_MFCC_MS * -(-_MFCC_FRAMES // rows),
        rows=rows,
        row_bytes=columns,
    )


def _log_mel() -> FrontEndCosts:
    """Return the costs of `micronas.tasks.machines.front_end`: 64 frames, halved to 32 x 32."""
    window, fft, bins, bands, frame = 1024, 1024, 513, 64, 110_000
    return FrontEndCosts(
        kind="log_mel",
        fixed_bytes=_audio_state(window, fft, bands, 32),
        flash_bytes=4 * window + 4 * fft + 9 * bins + 3_500,
        step_instructions=frame,
        input_instructions=64 * frame,
        work_bytes=_audio_work(fft, bands),
        frame_ms=64.0,
        rows=32,
        row_bytes=32,
    )


def _image(
    width: int, height: int, pixels: str, *, size: int, channels: int, fit: str = "stretch"
) -> FrontEndCosts:
    """Return the costs of a camera's picture, scaled to ``size x size`` row by row.

    Instructions are a least-squares fit to 84 cameras and inputs: off by 1 % in the mean, at worst
    by 4 % with the assumed camera and by 6 % with others.
    """
    seen = (min(width, height),) * 2 if fit == "crop" else (width, height)
    across, down = (math.ceil(2 * max(side / size, 1.0)) for side in seen)
    covered = [2 * max(side, size) for side in seen]
    scaled, tap = _ACROSS[channels]
    row = width * _CONVERT[pixels, channels] + size * scaled + covered[0] * tap
    column = _DOWN[0] * size + _DOWN[1] * covered[1] if down > 2 else _OF_TWO * size
    work = round(seen[1] * row + size * channels * column)
    return FrontEndCosts(
        kind="image",
        fixed_bytes=aligned(width * channels + down * size * channels, 2) + 4,
        alignment=2,
        flash_bytes=size * (8 + 4 * (across + down)) + 256 + 1_500,
        step_instructions=work,
        input_instructions=work,
    )


def _series(window: int, channels: int) -> FrontEndCosts:
    """Return the costs of windows of sensor readings, standardised one by one."""
    reading = 30 + 66 * channels
    return FrontEndCosts(
        kind="series",
        fixed_bytes=4,
        rows=window,
        row_bytes=channels,
        alignment=2,
        flash_bytes=1_810 + 8 * channels,
        step_instructions=reading,
        input_instructions=window * reading,
    )


def _audio_state(window: int, fft: int, bands: int, stacked: int) -> int:
    return _audio_work(fft, bands) + 4 * stacked + 2 * window + 10


def _audio_work(fft: int, bands: int) -> int:
    return 4 * fft + 4 * bands
