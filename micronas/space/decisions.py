"""Decisions on a graph, and their options in YAML."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

from micronas.settings import Extent, Settings

GRID = 4
"""Widths are multiples of this: CMSIS-NN's kernels are slow on others (MicroNets section 4)."""

DecisionKind = Literal["width", "kernel", "bits", "depth", "select"]
Size = tuple[int, int]
"""Height, width."""
Choice = tuple[int, ...]
"""One option index for each decision of a space."""


@dataclass(frozen=True)
class Decision:
    """One decision, by kind.

    ``width``: number of channels that come and go together. ``kernel``: size (height, width) of a
    filter. ``bits``: bits of a filter's weights. ``depth``: number of blocks that are kept, the
    first ones; 0 or 1 for a single block. ``select``: one of several branches, in no order.
    """

    name: str
    kind: DecisionKind
    options: tuple[Any, ...]
    named: tuple[str, ...] = ()
    """Names of options that are mere numbers, such as those of ``select``."""

    def nearest(self, number: float) -> int:
        """Return the index of the option of a width, or of bits, that is nearest to a number."""
        return min(range(len(self.options)), key=lambda i: abs(self.options[i] - number))

    @property
    def labels(self) -> list[str]:
        """Options as text: ``5``, or ``9x1`` for a kernel that is not square."""
        if self.named:
            return list(self.named)
        return [kernel_text(each) if self.kind == "kernel" else str(each) for each in self.options]


def kernel_text(size: Size) -> str:
    """Return ``5`` for 5 x 5, ``9x1`` for 9 x 1."""
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def bounding(sizes: Sequence[Size]) -> Size:
    """Return the smallest kernel that contains all of these."""
    return max(size[0] for size in sizes), max(size[1] for size in sizes)


class WidthRange(Settings):
    """`min` to `max` in steps."""

    min: Extent
    max: Extent
    step: Extent = GRID


class WidthParts(Settings):
    """Equal parts of `max`, each rounded to the grid: 10 parts are the paper's 10 % steps."""

    max: Extent
    parts: Extent


def _width_options(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a width must be a number, a list, or {min, max, step} or {max, parts}")
    if isinstance(value, dict) and "parts" in value:
        parts = WidthParts.model_validate(value)
        exact = [parts.max * part / parts.parts for part in range(1, parts.parts + 1)]
        options = [max(GRID, GRID * math.floor(width / GRID + 0.5)) for width in exact]
    elif isinstance(value, dict):
        span = WidthRange.model_validate(value)
        options = list(range(span.min, span.max + 1, span.step))
    else:
        options = list(value) if isinstance(value, list | tuple) else [value]
    if not options or any(not isinstance(width, int) or width < 1 for width in options):
        raise ValueError("widths must be positive whole numbers, at least one")
    if max(options) > 65_535:
        raise ValueError("widths must be 65535 at the most")
    options = sorted(set(options))
    if len(options) > 1 and any(width % GRID for width in options):
        raise ValueError(f"widths must be multiples of {GRID}, on which Cortex-M kernels are fast")
    return tuple(options)


def _kernel(value: Any) -> Size:
    if isinstance(value, str) and re.fullmatch(r"\d{1,5}x\d{1,5}", value):
        height, width = value.split("x")
        value = int(height), int(width)
    size = (value, value) if isinstance(value, int) else value
    pair = isinstance(size, list | tuple) and len(size) == 2
    if isinstance(value, bool) or not pair or not all(_is_extent(each) for each in size):
        raise ValueError(
            "a kernel must be 3, 9x1 or [height, width], the choice of several a list of such, as "
            "[3x3, 5x5]"
        )
    return size[0], size[1]


def _is_extent(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 65_535


def _kernels(value: Any) -> Any:
    is_one = not isinstance(value, list | tuple) or all(isinstance(each, int) for each in value)
    options = sorted({_kernel(each) for each in ([value] if is_one else value)})
    if len(options) > 1 and any(side % 2 == 0 for option in options for side in option):
        raise ValueError("kernels to choose from must be odd, such as [3x3, 5x5]")
    if len(options) > 1 and bounding(options) not in options:
        raise ValueError("one of the kernels to choose from must hold all others")
    return tuple(options)


def _depthwise(value: Any) -> Any:
    options = _kernels(value)
    if any(side % 2 == 0 for option in options for side in option):
        raise ValueError("depthwise kernels must be odd, such as 3 or [3x3, 5x5]")
    height, width = options[0]
    # nobody chooses a kernel of 1x1
    if isinstance(value, list | tuple) and tuple(value) == options[0] and 1 < height != width > 1:
        raise ValueError(
            f"two numbers must not leave open what they are, but [{height}, {width}] can be one "
            f"kernel, {height} high and {width} wide, or the choice of {height}x{height} and "
            f"{width}x{width}; write {height}x{width} for the one, [{height}x{height}, "
            f"{width}x{width}] for the other"
        )
    return options


def _bits_options(value: Any) -> Any:
    options = list(value) if isinstance(value, list | tuple) else [value]
    if not options or any(bits not in (4, 8) for bits in options):
        raise ValueError("bits of weights must be 8, 4 or the choice [4, 8]")
    return tuple(sorted(set(options)))


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _plain(options: tuple[Any, ...]) -> Any:
    """Write a single option without a list around it."""
    return options[0] if len(options) == 1 else list(options)


def _plain_kernels(options: tuple[Size, ...]) -> Any:
    if len(options) == 1 and options[0][0] == options[0][1]:
        return options[0][0]
    return _plain(tuple(f"{height}x{width}" for height, width in options))


Widths = Annotated[
    tuple[int, ...], BeforeValidator(_width_options), PlainSerializer(_plain, when_used="json")
]
"""A number, a list, {min, max, step} or {max, parts}."""
Filters = Annotated[
    tuple[Size, ...], BeforeValidator(_kernels), PlainSerializer(_plain_kernels, when_used="json")
]
"""Kernels of a full convolution: 3, 9x1 or [9, 1] (height, width), or a list of options: [3x3,
5x5], [[5, 1], [9, 1]]."""
Kernels = Annotated[
    tuple[Size, ...], BeforeValidator(_depthwise), PlainSerializer(_plain_kernels, when_used="json")
]
"""Kernels of a depthwise convolution, odd, written like `Filters`."""
BitsOptions = Annotated[
    tuple[int, ...], BeforeValidator(_bits_options), PlainSerializer(_plain, when_used="json")
]
"""8, 4 or [4, 8]."""
Pair = Annotated[tuple[Extent, Extent], BeforeValidator(_pair)]
"""A number for both directions, or [vertical, horizontal]."""
