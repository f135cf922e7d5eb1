"""What can be searched: a family of networks as a list of decisions, read from commented YAML.

A choice is one option index a decision; `SearchSpace.architecture` turns it into a network.
Where a layer may be skipped depends on its kind: a bottleneck with a residual is skipped on its
own (the residual carries the signal), whereas in a chain without residuals the blocks of a
stage are kept as a prefix. A block in the middle of a chain can therefore never vanish from
between two others: shared weights do not survive that.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from micronas import resources
from micronas.graph.builder import Bits
from micronas.settings import Extent, Settings, read_settings
from micronas.space.architecture import Architecture, Block, Bottleneck, Head, Separable, Size, Stem

GRID = 4
"""Widths are multiples of this: CMSIS-NN's kernels are slow on others (MicroNets section 4)."""

Choice = tuple[int, ...]


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
    if isinstance(value, int):
        options = [value]
    elif isinstance(value, dict) and "parts" in value:
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
    options = sorted(set(options))
    if any(width % GRID for width in options):
        raise ValueError(f"widths must be multiples of {GRID}, on which Cortex-M kernels are fast")
    return tuple(options)


def _kernel_options(value: Any) -> Any:
    options = list(value) if isinstance(value, list | tuple) else [value]
    if not options or any(not isinstance(kernel, int) or kernel % 2 == 0 for kernel in options):
        raise ValueError("depthwise kernels must be odd numbers such as 3 or [3, 5]")
    return tuple(sorted(set(options)))


def _bits_options(value: Any) -> Any:
    options = list(value) if isinstance(value, list | tuple) else [value]
    if not options or any(bits not in (4, 8) for bits in options):
        raise ValueError("bits of weights must be 8, 4 or the choice [4, 8]")
    return tuple(sorted(set(options)))


def _pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


Widths = Annotated[tuple[int, ...], BeforeValidator(_width_options)]
Kernels = Annotated[tuple[int, ...], BeforeValidator(_kernel_options)]
BitsOptions = Annotated[tuple[int, ...], BeforeValidator(_bits_options)]
Pair = Annotated[Size, BeforeValidator(_pair)]


class StemSpace(Settings):
    width: Widths
    kernel: Pair
    stride: Pair = (1, 1)
    bits: BitsOptions = (8,)


class SeparableSpace(Settings):
    """`repeat` separable blocks; with `skip` the stage keeps any number of its first ones.

    `bits` are those of the 1x1 convolution's weights: the depthwise ones are few, and slow at 4.
    """

    type: Literal["separable"]
    width: Widths
    kernel: Kernels = (3,)
    stride: Pair = (1, 1)
    repeat: Extent = 1
    skip: bool = False
    bits: BitsOptions = (8,)

    @model_validator(mode="after")
    def _skippable(self) -> "SeparableSpace":
        if self.skip and self.stride != (1, 1):
            raise ValueError("only blocks of stride 1 can be skipped")
        return self


class BottleneckSpace(Settings):
    """`repeat` inverted bottlenecks; with `skip` each may be dropped, its residual remains.

    `bits` are those of both 1x1 convolutions' weights.
    """

    type: Literal["bottleneck"]
    expansion: Widths
    width: Widths
    kernel: Kernels = (3,)
    stride: Pair = (1, 1)
    repeat: Extent = 1
    residual: bool = False
    skip: bool = False
    bits: BitsOptions = (8,)

    @model_validator(mode="after")
    def _sound(self) -> "BottleneckSpace":
        if self.residual and self.stride != (1, 1):
            raise ValueError("a residual needs stride 1")
        if self.skip and not self.residual:
            raise ValueError("only a bottleneck with a residual can be skipped")
        return self


Stage = Annotated[SeparableSpace | BottleneckSpace, Field(discriminator="type")]


class HeadSpace(Settings):
    """`bits` are those of the 1x1 convolution; the classifier's weights always have 8."""

    width: Widths | None = None
    classifier: Literal["dense", "conv"] = "dense"
    bits: BitsOptions = (8,)

    @model_validator(mode="after")
    def _has_what_bits_are_for(self) -> "HeadSpace":
        if self.bits != (8,) and self.width is None:
            raise ValueError("bits are for the head's 1x1 convolution, which needs a width")
        return self


@dataclass(frozen=True)
class Decision:
    """One thing to be chosen: a width, a kernel, bits, a depth, or if a block is kept (0 or 1)."""

    name: str
    options: tuple[int, ...]


class SearchSpace(Settings):
    """A family of networks.

    Source: MicroNets (arXiv 2010.11267, sections 5.1 and 5.2); depth as a prefix is our own.
    """

    name: str
    task: str | None = None
    """The task whose data the space was made for, and whose latency models apply."""
    input: tuple[Extent, Extent, Extent]
    classes: Extent
    activation: Literal["relu", "relu6"] = "relu"
    stem: StemSpace
    stages: tuple[Stage, ...] = Field(min_length=1)
    head: HeadSpace = HeadSpace()

    @classmethod
    def load(cls, name: str | Path) -> "SearchSpace":
        """Read a shipped space by name (``kws``) or a YAML file by path."""
        return read_settings(Path(str(resources.find("search_spaces", str(name)))), cls)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """All decisions, from input to output."""
        found = [Decision("stem.width", self.stem.width), *_bits("stem", self.stem.bits)]
        for number, stage in enumerate(self.stages, 1):
            prefix = isinstance(stage, SeparableSpace) and stage.skip
            if prefix:
                found.append(Decision(f"stage{number}.depth", tuple(range(stage.repeat + 1))))
            for name in stage_blocks(stage, number):
                if isinstance(stage, BottleneckSpace):
                    if stage.skip:
                        found.append(Decision(f"{name}.keep", (0, 1)))
                    found.append(Decision(f"{name}.expansion", stage.expansion))
                found.append(Decision(f"{name}.kernel", stage.kernel))
                found.append(Decision(f"{name}.width", stage.width))
                found += _bits(name, stage.bits)
        if self.head.width is not None:
            found.append(Decision("head.width", self.head.width))
            found += _bits("head", self.head.bits)
        return tuple(found)

    def values(self, choice: Choice) -> dict[str, int]:
        """The option each decision takes under a choice, by the decision's name."""
        return {
            decision.name: decision.options[index]
            for decision, index in zip(self.decisions, choice, strict=True)
        }

    def architecture(self, choice: Choice) -> Architecture:
        """Return the network of a choice (one option index for each decision)."""
        value = self.values(choice)
        blocks: list[Block] = []
        for number, stage in enumerate(self.stages, 1):
            names = stage_blocks(stage, number)
            if isinstance(stage, SeparableSpace):
                depth = value.get(f"stage{number}.depth", stage.repeat)
                blocks += [
                    Separable(
                        width=value[f"{name}.width"],
                        kernel=value[f"{name}.kernel"],
                        stride=stage.stride,
                        bits=_bits_of(value, name),
                    )
                    for name in names[:depth]
                ]
            else:
                blocks += [
                    Bottleneck(
                        expansion=value[f"{name}.expansion"],
                        width=value[f"{name}.width"],
                        kernel=value[f"{name}.kernel"],
                        stride=stage.stride,
                        residual=stage.residual,
                        bits=_bits_of(value, name),
                    )
                    for name in names
                    if value.get(f"{name}.keep", 1)
                ]
        return Architecture(
            name=self.name,
            input=self.input,
            classes=self.classes,
            activation=self.activation,
            stem=Stem(
                width=value["stem.width"],
                kernel=self.stem.kernel,
                stride=self.stem.stride,
                bits=_bits_of(value, "stem"),
            ),
            blocks=tuple(blocks),
            head=Head(
                width=value.get("head.width"),
                classifier=self.head.classifier,
                bits=_bits_of(value, "head"),
            ),
        )

    def largest(self) -> Choice:
        """The last option of every decision: the supernet's own weights."""
        return tuple(len(decision.options) - 1 for decision in self.decisions)

    def smallest(self) -> Choice:
        """The first option of every decision: least in every cost.

        Except for latency where 4 bits are an option, whose kernels are slower; see `quickest`.
        """
        return tuple(0 for _ in self.decisions)

    def quickest(self) -> Choice:
        """The smallest network with the most bits it may have: least in latency."""
        return tuple(
            len(decision.options) - 1 if decision.name.endswith(".bits") else 0
            for decision in self.decisions
        )

    def random(self, generator: random.Random) -> Choice:
        """A choice with every option of every decision equally likely."""
        return tuple(generator.randrange(len(decision.options)) for decision in self.decisions)

    def uniform(self, fraction: float, depth: float = 1.0, bits: Bits = 8) -> Choice:
        """Every width at the same fraction of its largest, kernels smallest; see `shaped`."""
        return self.shaped((fraction,), depth=depth, bits=bits)

    def shaped(
        self,
        profile: Sequence[float],
        *,
        growth: float = 1.0,
        depth: float = 1.0,
        kernel: float = 0.0,
        bits: Bits = 8,
    ) -> Choice:
        """Widths that follow a profile from the first layer to the last one that is kept.

        Parameters
        ----------
        profile
            Shares of the largest width, 0 to 1, at equal distances along the network; between
            them the logarithm is linear. The nearest option is taken.
        depth
            Share of the optional blocks that are kept, 0 to 1, first ones first.
        kernel
            Which of the kernels, from the smallest, 0, to the largest, 1.
        bits
            Of weights, wherever they are a choice.
        """
        keeps = [d.name for d in self.decisions if d.name.endswith(".keep")]
        kept = set(keeps[: round(depth * len(keeps))])
        left_out = {name.removesuffix(".keep") for name in keeps if name not in kept}
        for number, stage in enumerate(self.stages, 1):
            if isinstance(stage, SeparableSpace) and stage.skip:
                left_out |= set(stage_blocks(stage, number)[round(depth * stage.repeat) :])
        widths = [
            decision.name
            for decision in self.decisions
            if decision.name.endswith((".width", ".expansion"))
            and decision.name.rpartition(".")[0] not in left_out
        ]
        strides = self._strides()
        shares = {
            name: share * growth ** strides[name.rpartition(".")[0]]
            for name, share in zip(widths, _along(profile, len(widths)), strict=True)
        }

        def index(decision: Decision) -> int:
            options = decision.options
            match decision.name.rpartition(".")[2]:
                case "keep":
                    return int(decision.name in kept)
                case "depth":
                    return round(depth * (len(options) - 1))
                case "kernel":
                    return round(kernel * (len(options) - 1))
                case "bits":
                    target = float(bits)
                case _:
                    target = shares.get(decision.name, profile[-1]) * options[-1]
            return min(range(len(options)), key=lambda i: abs(options[i] - target))

        return tuple(index(decision) for decision in self.decisions)

    def _strides(self) -> dict[str, int]:
        """Number of strides in the blocks up to a layer's output, by the layer's name."""
        found, passed = {"stem": 0}, 0
        for number, stage in enumerate(self.stages, 1):
            for name in stage_blocks(stage, number):
                passed += stage.stride != (1, 1)
                found[name] = passed
        return {**found, "head": passed}

    def count(self) -> int:
        """Number of choices."""
        return math.prod(len(decision.options) for decision in self.decisions)


def stage_blocks(stage: SeparableSpace | BottleneckSpace, number: int) -> list[str]:
    """Names of a stage's blocks, as its decisions spell them: ``stage2.block1``."""
    return [f"stage{number}.block{position}" for position in range(1, stage.repeat + 1)]


def _bits(name: str, options: tuple[int, ...]) -> list[Decision]:
    """The decision on a layer's bits; 8 alone is none, as in spaces that do not speak of bits."""
    return [] if options == (8,) else [Decision(f"{name}.bits", options)]


def _bits_of(value: dict[str, int], name: str) -> Bits:
    return 4 if value.get(f"{name}.bits", 8) == 4 else 8


def _along(profile: Sequence[float], count: int) -> list[float]:
    """Values of a profile at `count` points from its start to its end."""
    shares = []
    for number in range(count):
        place = number * (len(profile) - 1) / max(count - 1, 1)
        before = min(int(place), max(len(profile) - 2, 0))
        after = min(before + 1, len(profile) - 1)
        part = place - before
        shares.append(profile[before] ** (1 - part) * profile[after] ** part)
    return shares
