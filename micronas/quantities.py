"""Quantities with units, as people write them: "128 KB", "50 ms", "180 MHz".

A KB is 1,000 bytes and a KiB 1,024: data sheets and the MicroNets paper's tables count in
thousands, and the smaller reading of a limit is the safe one.
"""

import itertools
import math
import re

from micronas.errors import ConfigError

_UNITS: dict[str, dict[str, float]] = {
    "bytes": {
        **{"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
        **{"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40},
    },
    "milliseconds": {"US": 1e-3, "MS": 1, "S": 1e3},
    "hertz": {"HZ": 1, "KHZ": 1e3, "MHZ": 1e6, "GHZ": 1e9},
    "operations": {"MACS": 1, "KMACS": 1e3, "MMACS": 1e6},
    "share": {"%": 1e-2},
    "joules": {"MJ": 1e-3, "J": 1, "KJ": 1e3},
}
_SPELLING = {
    "bytes": "128 KB, 64 KiB or 1 MB",
    "milliseconds": "50 ms, 1.5 s or 800 us",
    "hertz": "180 MHz",
    "operations": "2.5 MMACs",
    "share": "5%",
    "joules": "20 J or 500 mJ",
}
SLOWEST_HZ = 1_000_000
"""Slower clocks of a board are numbers without their unit."""
_COSTS = {
    **dict.fromkeys(("sram", "flash"), "bytes"),
    **{"latency": "milliseconds", "macs": "operations", "load": "share", "energy": "joules"},
}
"""Dimensions of limited costs."""
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]*|%)\s*")


def aligned(size: int, to: int = 4) -> int:
    """Return a size in bytes rounded up to a multiple, by default to whole words."""
    return -(-size // to) * to


def parse(text: object, dimension: str) -> float:
    """Read a positive quantity of one dimension.

    A text is such as ``"128 KB"``; a bare number is in the base unit, which is that of the result:
    the dimension, one of ``bytes``, ``milliseconds``, ``hertz``, ``operations``, ``share`` and
    ``joules``. Raises ConfigError if it is not a positive number with a unit of this dimension.
    """
    units = _UNITS[dimension]
    match = _NUMBER.fullmatch(str(text)) if not isinstance(text, bool) else None
    value = float(match[1]) if match else 0.0
    unit = match[2].upper() if match else ""
    if value <= 0 or value == float("inf") or (unit and unit not in units):
        raise ConfigError(
            f"a quantity of {dimension} must be a positive number with a unit, but got {text!r}; "
            f"write {_SPELLING[dimension]}"
        )
    return value * (units[unit] if unit else 1)


def parse_bytes(text: object) -> int:
    """Read a number of bytes; fractions of a byte are dropped."""
    return int(parse(text, "bytes"))


def format_bytes(count: float) -> str:
    """Write a number of bytes for a person, in thousands: ``103.3 KB``."""
    if abs(count) < 1e3:
        return f"{count:.0f} B"
    if abs(count) < 1e6:
        return f"{count / 1e3:.1f} KB"
    return f"{count / 1e6:.2f} MB" if abs(count) < 1e9 else f"{count / 1e9:.2f} GB"


def format_duration(seconds: float) -> str:
    """Write seconds for a person: ``40 s``, ``8 min``, ``2 h 10 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def format_cost(name: str, value: float) -> str:
    """Write a limited cost (a key of `Budget`) for a person."""
    if name == "load":
        return f"{100 * value:.3g} %"
    if name == "energy":
        return f"{value:.3g} J/h"
    if name == "latency":
        return f"{value:.1f} ms" if value >= 1 else f"{value:.2g} ms"
    return format_macs(value) if name == "macs" else format_bytes(value)


def format_reached(name: str, value: float) -> str:
    """Write a limited cost for a person, rounded up: given as the budget it is enough."""
    texts = (format_cost(name, value * (1 + step / 1000)) for step in itertools.count())
    return next(each for each in texts if parse(each.removesuffix("/h"), _COSTS[name]) >= value)


def format_macs(count: float) -> str:
    """Write a number of multiply-accumulates for a person: ``15.56 MMACs``."""
    return f"{count / 1e6:.2f} MMACs" if abs(count) >= 1e5 else f"{count / 1e3:.1f} kMACs"


def format_number(value: float) -> str:
    """Write a number for a person: ``1,024``, ``0.7812``, ``30 billion``, ``2 x 10^24``."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e15:
        digits, _, power = f"{value:.0e}".partition("e")
        return f"{digits} x 10^{int(power)}"
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if size >= unit and (isinstance(value, float) or value % (unit / 1e3) == 0):
            return f"{value / unit:.4g} {name}"
    if isinstance(value, int) or size >= 1e3:
        return f"{value:,.0f}"
    return "below 0.0001" if 0 < size < 1e-4 else f"{value:.4g}"


def rounded(value: float, deviation: float) -> float:
    """Return a finite value of a distribution with four digits, or with as many more as leave less
    than a hundredth of the distribution's deviation: of 101,325 Pa +- 2 Pa four leave 25."""
    texts = (f"{value:.{digits}g}" for digits in range(4, 18))
    return next(each for each in map(float, texts) if abs(each - value) <= deviation / 100)


def format_dollars(value: float) -> str:
    """Write a price for a person: ``0.78 dollars``, ``0.0012 dollars``."""
    return f"{value:,.2f} dollars" if value == 0 or abs(value) >= 0.1 else f"{value:.2g} dollars"
