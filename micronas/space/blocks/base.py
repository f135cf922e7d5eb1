"""The part common to all block types: repetition, skipping, and names."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from micronas.settings import Extent, Settings
from micronas.space.decisions import BitsOptions, Pair, Size, Widths, kernel_text
from micronas.space.lowering import Lowering


class Weighted(Settings):
    """A part of a network whose full convolutions have weights of `bits` bits."""

    bits: BitsOptions = (8,)
    """Bits of weights: 8, 4 or the choice [4, 8]."""

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields that are seldom set, so that files stay short."""
        values: dict[str, Any] = dump(self)
        for field in _SELDOM & values.keys():
            if getattr(self, field) == type(self).model_fields[field].default:
                del values[field]
        return values


_SELDOM = {"bits", "fused", "hidden", "name", "repeat", "skip", "squeeze"}


class BlockBase(Weighted):
    """`repeat` blocks in a row; with `skip` the search may leave some of them out.

    Blocks with a residual are kept or dropped one by one. Of a chain without residuals a decision
    keeps the first blocks: shared weights do not survive the loss of a block between two others.
    """

    stride: Pair = (1, 1)
    repeat: Extent = 1
    """Number of blocks in a row, each with its own decisions."""
    skip: bool = False
    """Let the search leave out some of them; needs stride 1."""
    name: str | None = None
    """Name of the (first) block; by default its number among all blocks."""

    @model_validator(mode="after")
    def _sound(self) -> "BlockBase":
        if self.has_residual and self.stride != (1, 1):
            raise ValueError(
                f"a block that adds its input must have stride 1, but got {list(self.stride)}; "
                "give it a width of its own, without residual: true"
            )
        if self.skip and self.stride != (1, 1):
            raise ValueError(
                f"a block to skip must have stride 1, but got {list(self.stride)}; leave skip out"
            )
        if self.name is not None and self.repeat > 1:
            raise ValueError(
                f"a name must be of one block, but {self.name!r} has repeat: {self.repeat}; leave "
                "one of the two out"
            )
        return self

    @property
    def has_residual(self) -> bool:
        """Return whether the input is added to the output, at every choice.

        It is in a block without a `width`, which keeps the width of its input.
        """
        return getattr(self, "width", ()) is None

    @abstractmethod
    def lower(self, at: Lowering, source: str) -> str:
        """Append one block at `at.scope`, decisions included, and return its output."""

    @abstractmethod
    def summary(self) -> str:
        """Return the sizes of a block with nothing to choose, such as ``140k5@2``."""

    def named(self, number: int) -> list[str]:
        """Return the names of the blocks; `number` is the first one's among all blocks."""
        return [self.name or f"block{number + each}" for each in range(self.repeat)]

    def lower_all(self, at: Lowering, source: str, names: list[str]) -> str:
        """Append all blocks of this entry."""
        if not self.skip:
            for name in names:
                source = self.lower_named(at, source, name)
            return source
        if self.has_residual:
            for name in names:
                at.scope = name
                keep = at.decide("keep", "depth", (0, 1), ("left out", "kept"))
                kept = partial(self.lower_named, at, source, name)
                source = at.select(keep, [partial(str, source), kept], f"{name}/kept")
            return source
        at.scope = stage_of(names)
        depth = at.decide("depth", "depth", range(self.repeat + 1))
        outs = [source]

        def grown(name: str) -> str:
            outs.append(self.lower_named(at, outs[-1], name))
            return outs[-1]

        branches = [partial(str, source), *(partial(grown, name) for name in names)]
        return at.select(depth, branches, f"{stage_of(names)}/out")

    def lower_named(self, at: Lowering, source: str, name: str) -> str:
        """Append one block under a name."""
        at.scope = name
        return self.lower(at, source)

    def filled(
        self, names: list[str], number: int, options: Mapping[str, Any]
    ) -> Iterator["BlockBase"]:
        """Yield the blocks that are kept, one entry each, with their decisions made.

        `names` are those of the blocks of this entry, before which `number` blocks are kept;
        options are by the name of the decision.
        """
        depth = options.get(f"{stage_of(names)}.depth", len(names))
        for name in names[:depth]:
            if not options.get(f"{name}.keep", 1):
                continue
            number += 1
            block, own = self.chosen(name, options)
            update = chosen_fields(block, own, options) | {"repeat": 1, "skip": False}
            update["name"] = None if own == f"block{number}" else own
            yield block.model_copy(update=update)

    def chosen(self, name: str, options: Mapping[str, Any]) -> "tuple[BlockBase, str]":
        """Return the block of a name, and its own name: another one where its kind was a choice."""
        return self, name


def chosen_fields(part: Settings, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the decided fields of a part, each with its one option."""
    return {
        field: (options[f"{name}.{field}"],)
        for field in type(part).model_fields
        if f"{name}.{field}" in options
    }


def stage_of(names: list[str]) -> str:
    """Return the name of a row of blocks: ``block2-9``."""
    return names[0] if len(names) == 1 else f"{names[0]}-{names[-1].removeprefix('block')}"


def _kernel_mark(kernel: Size) -> str:
    """Return ``k5`` for a kernel of 5 x 5, and nothing for the usual 3 x 3."""
    return "" if kernel == (3, 3) else f"k{kernel_text(kernel)}"


def stride_mark(stride: Pair) -> str:
    """Return ``@2`` for a stride of 2."""
    return f"@{max(stride)}" if max(stride) > 1 else ""


def width_text(width: Sequence[int] | None) -> str:
    """Return the one width of a block, or ``=`` where it is that of its input."""
    return "=" if width is None else str(width[0])


def gated(at: Lowering, source: str, squeeze: Widths | None) -> str:
    """Append a squeeze-and-excite gate if a block has one."""
    if squeeze is None:
        return source
    return at.excite(source, at.decide("squeeze", "width", squeeze))


def squeeze_mark(squeeze: Sequence[int] | None) -> str:
    """Return ``s8`` for a squeeze-and-excite gate with 8 channels inside."""
    return "" if squeeze is None else f"s{squeeze[0]}"


def marks_of(block: Any) -> str:
    """Return the marks of unusual bits, kernel and stride."""
    return bits_mark(block.bits) + _kernel_mark(block.kernel[0]) + stride_mark(block.stride)


def bits_mark(bits: BitsOptions) -> str:
    """Return ``b4`` for weights of 4 bits."""
    return "" if bits[0] == 8 else f"b{bits[0]}"
