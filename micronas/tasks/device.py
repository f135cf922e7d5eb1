"""The front end of each task on a device, by the input's meaning in the model file."""

from collections.abc import Callable, Mapping
from typing import Any

from micronas.arrays import Shape
from micronas.errors import ModelError
from micronas.export.firmware.front_ends import Camera, FrontEnd, Image, Series
from micronas.hardware.front_ends import CAMERA


def front_end(
    meaning: Mapping[str, Any], shape: Shape, *, camera: Camera | None = None
) -> FrontEnd | None:
    """Return the front end that turns samples into a network's input on a device, as in training.

    It is found by the input's meaning in the model file (`micronas.tflite.metadata.read_metadata`);
    the camera for images is by default that of `CAMERA` for the channels. None if the file does not
    describe the input, or no front end in C computes it: pictures computed from larger ones
    (`micronas.views.Pixels`), and clips divided by their largest sample. Raises ModelError if the
    description is invalid.
    """
    make = _MAKERS.get(str(meaning.get("features")))
    if make is None:
        return None
    try:
        return make(meaning, shape, camera)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            f"a model's metadata must describe its input, but {dict(meaning)} does not "
            f"({type(error).__name__}: {error}); export it anew"
        ) from error


def _mfcc(meaning: Mapping[str, Any], shape: Shape, camera: Camera | None) -> FrontEnd | None:
    from micronas.tasks.keywords.front_end import in_c
    from micronas.tasks.keywords.settings import MfccSettings

    settings = MfccSettings.of(meaning)
    if settings.level == "peak":
        return None
    return in_c(settings, every=int(meaning.get("every", 1)), coefficients=shape[2] * shape[3])


def _log_mel(meaning: Mapping[str, Any], shape: Shape, camera: Camera | None) -> FrontEnd:
    from micronas.tasks.machines.front_end import in_c

    return in_c(float(meaning["mean"]), _positive(meaning["deviation"]))


def _pixels(meaning: Mapping[str, Any], shape: Shape, camera: Camera | None) -> FrontEnd | None:
    if "read" in meaning:
        return None
    if meaning["fit"] not in ("crop", "stretch"):
        raise ValueError(f"fit is {meaning['fit']!r:.40}")
    return Image(
        camera or Camera(*CAMERA[shape[3]]),
        size=shape[1],
        channels=shape[3],
        fit=str(meaning["fit"]),
        middle=_positive(meaning["mean"]),
    )


def _series(meaning: Mapping[str, Any], shape: Shape, camera: Camera | None) -> FrontEnd:
    mean, deviation = (
        tuple(map(float, meaning["mean"])),
        tuple(map(_positive, meaning["deviation"])),
    )
    if not len(mean) == len(deviation) == shape[3]:
        raise ValueError(f"{shape[3]} channels have {len(mean)} means, {len(deviation)} deviations")
    return Series(int(meaning["window"]), mean, deviation, limit=_positive(meaning["limit"]))


def _positive(value: Any) -> float:
    number = float(value)
    if not 2**-100 < number < 2**100:
        raise ValueError(f"{number:g} is no positive number that float32 holds")
    return number


_MAKERS: dict[str, Callable[[Mapping[str, Any], Shape, Camera | None], FrontEnd | None]] = {
    "mfcc": _mfcc,
    "log-mel": _log_mel,
    "pixels": _pixels,
    "series": _series,
}
"""Makers of front ends by ``features`` of the input's meaning."""
