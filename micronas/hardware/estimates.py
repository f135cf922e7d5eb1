"""Describe an unmeasured board by a measured one, its clock and its core.

A board's file may have ``like: nucleo_g0b1re`` in place of latency models. The models of that board
are then scaled by the ratio of clocks, and by that of the cycles which measured boards of either
core take per instruction of `hardware.instructions`. No estimate becomes validated.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from micronas import resources
from micronas.errors import ConfigError
from micronas.hardware.names import board_file
from micronas.hardware.targets import MICRONAS, WITHOUT_FPU, core_name
from micronas.quantities import parse
from micronas.settings import read_mapping

ESTIMATED = "estimate, not measured"
_SIZES = {"sram": "sram_bytes", "flash": "flash_bytes", "clock": "clock_hz"}
"""Keys whose values have a unit, and the keys they stand for."""
_DIMENSIONS = {"sram_bytes": "bytes", "flash_bytes": "bytes", "clock_hz": "hertz"}
_ACCELERATED = ("Silicon Labs MVP",)
"""Kernels that run on an accelerator: their times do not measure the core."""
_SMALL = "Cortex-M0+"
"""Measured core for those without the DSP extension: a Cortex-M4 would be far too fast."""
_FEWEST = 4
"""Least number of networks behind a model that measures a core."""
_Values = dict[str, Any]


def completed(values: Mapping[str, Any], described: Callable[[Path], _Values]) -> _Values:
    """Return the values of a board's file with units read, ``like`` followed and clocks applied.

    Raises ConfigError if the board it is like does not exist, or is an estimate itself.
    """
    if twice := sorted(key for key, other in _SIZES.items() if {key, other} <= values.keys()):
        raise ConfigError(
            f"a board must give each size once, but has {twice[0]} and {_SIZES[twice[0]]}; leave "
            "one out"
        )
    found = {_SIZES.get(key, key): value for key, value in values.items()}
    for key, dimension in _DIMENSIONS.items():
        if isinstance(found.get(key), str):
            found[key] = int(parse(found[key], dimension))
    if isinstance(found.get("core"), str):
        found["core"] = core_name(found["core"])
    if found.get("like") is not None and "latency" not in found:
        return _like(found, described)
    measured, clock = found.get("measured_hz"), found.get("clock_hz")
    if not _are_models(found.get("latency")):
        return found  # refused by the board's own rules
    if isinstance(measured, int) and isinstance(clock, int) and 0 < clock != measured > 0:
        note = f"measured at {measured / 1e6:g} MHz, scaled to {clock / 1e6:g} MHz"
        found["latency"] = _scaled(found["latency"], measured / clock, note, None)
        found["measured_hz"] = clock
    return found


def spread(core: str) -> tuple[float, float]:
    """Return the least and largest ratio of a measured board to its prediction from another.

    Boards of one core predict each other by clock: those of `core` where two or more were measured,
    else those of all cores. Most of the spread is due to the libraries that ran the networks.
    """
    cycles = _cycles()
    cores = [core] if len(cycles.get(core, [])) > 1 else list(cycles)
    ratios = [
        first / second
        for each in cores
        for first in cycles[each]
        for second in cycles[each]
        if len(cycles[each]) > 1
    ]
    return round(min(ratios), 2), round(max(ratios), 2)


def _like(found: _Values, described: Callable[[Path], _Values]) -> _Values:
    name = str(found["like"])
    path = board_file(name)
    unread, _ = read_mapping(path)
    if unread.get("like"):
        other = "another board" if unread["like"] == found["like"] else f"like: {unread['like']}"
        raise ConfigError(
            f"a board must be like one that was measured, but {name:.200} is an estimate like "
            f"{unread['like']!s:.200}; write {other}"
        )
    base = described(path)
    if found.get("kernels") == MICRONAS.name != base["kernels"]:
        raise ConfigError(
            f"kernels must be those that ran networks on {name:.200} ({base['kernels']}), but are "
            f"{MICRONAS.name}; write engine: {MICRONAS.name}"
        )
    core, clock = found.get("core", base["core"]), found.get("clock_hz", base["clock_hz"])
    factor, reason = _factor(str(core), base["core"])
    within = spread(str(core))
    note = (
        f"estimate: {base['title']} ({base['core']}, {base['clock_hz'] / 1e6:g} MHz) by clock"
        f"{reason}; boards of one core that were measured lie between {within[0]:g} and "
        f"{within[1]:g} times such an estimate; "
    )
    scale = factor * base["clock_hz"] / clock if isinstance(clock, int) and clock > 0 else 1.0
    inherited = {key: base[key] for key in ("form", "kernels", "reserved", *_DIMENSIONS)}
    return {
        **inherited,
        "core": core,
        "title": found.get("name", name),
        "source": f"sizes: given; latency like {name}",
        **found,
        "latency": _scaled(base["latency"], scale, note, within),
    }


def _are_models(models: Any) -> bool:
    return isinstance(models, list | tuple) and all(
        isinstance(model, Mapping)
        and isinstance(model.get("coefficients"), Mapping)
        and all(isinstance(value, int | float) for value in model["coefficients"].values())
        for model in models
    )


def _factor(core: str, base: str) -> tuple[float, str]:
    """Return cycles of a core over those of another, and a note on their source."""
    cycles = _cycles()
    measured = _SMALL if core in WITHOUT_FPU and core not in cycles else core
    if measured == base:
        return 1.0, ""
    if measured not in cycles:
        return (
            1.0,
            f", {core} taken for as fast as {base} at the same clock since none was measured",
        )
    ratio = median(cycles[measured]) / median(cycles.get(base, cycles[measured]))
    return ratio, f" and core ({ratio:.2f} times the cycles)"


def _scaled(
    models: Any, scale: float, note: str, within: tuple[float, float] | None
) -> list[_Values]:
    """Return latency models times a factor, each marked as an estimate."""
    return [
        {
            **{key: value for key, value in model.items() if key not in _FITS},
            "coefficients": {
                term: float(f"{scale * value:.5g}") for term, value in model["coefficients"].items()
            },
            "status": ESTIMATED,
            "within": within,
            "source": f"{note.rstrip('; ')}: {model.get('source', '')}",
        }
        for model in models
    ]


_FITS = ("in_sample_percent", "leave_one_out_percent", "r2")
"""Errors of the measured board's fit, which do not hold for another board."""


@cache
def _cycles() -> dict[str, list[float]]:
    """Return cycles per instruction of every measured board, by core."""
    found: dict[str, list[float]] = {}
    for values in _measured():
        for model in values["latency"]:
            priced = model["coefficients"].get("instructions")
            if priced and not model["spaces"] and model["networks"] >= _FEWEST:
                found.setdefault(values["core"], []).append(priced * values["clock_hz"] / 1e3)
    return found


def _measured() -> Iterator[_Values]:
    for name in resources.names("latency_models"):
        values, _ = read_mapping(resources.find("latency_models", name))
        if not values.get("like") and values["kernels"] not in _ACCELERATED:
            yield values
