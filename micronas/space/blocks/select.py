"""The kind of a block as a decision."""

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from micronas.space.blocks.base import BlockBase
from micronas.space.blocks.bottleneck import Bottleneck
from micronas.space.blocks.convolution import Convolution
from micronas.space.blocks.pool import Pool
from micronas.space.blocks.residual import Residual
from micronas.space.blocks.separable import Separable
from micronas.space.lowering import Lowering

Plain = Annotated[
    Separable | Bottleneck | Convolution | Residual | Pool, Field(discriminator="type")
]


class Select(BlockBase):
    """One of several blocks, each with its own weights and sizes, whose outputs have one size.

    The chosen block has this block's name with a letter appended: ``block3b``.
    """

    type: Literal["select"] = "select"
    options: tuple[Plain, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _alike(self) -> "Select":
        strides = sorted({each.stride for each in self.options})
        if len(strides) > 1:
            raise ValueError(f"blocks to select from must have one stride, not {strides}")
        if any(each.repeat > 1 or each.skip or each.name for each in self.options):
            raise ValueError("repeat, skip and name stand at the select itself, not in its options")
        return self

    @property
    def has_residual(self) -> bool:
        return all(each.has_residual for each in self.options)

    def lower(self, at: Lowering, source: str) -> str:
        name = at.scope
        kind = at.decide("kind", "select", range(len(self.options)), self._names())
        branches = [
            partial(option.lower_named, at, source, branch_name(name, number))
            for number, option in enumerate(self.options)
        ]
        return at.select(kind, branches, f"{name}/selected")

    def _names(self) -> list[str]:
        """Return the types of the options, with a letter where several have one type."""
        types = [option.type for option in self.options]
        return [
            each if types.count(each) == 1 else branch_name(f"{each} ", number)
            for number, each in enumerate(types)
        ]

    def chosen(self, name: str, options: Any) -> tuple[BlockBase, str]:
        number = options.get(f"{name}.kind", 0)
        return self.options[number], branch_name(name, number)

    def summary(self) -> str:
        return " | ".join(each.summary() for each in self.options)


def branch_name(name: str, number: int) -> str:
    """Return ``block3b`` for the second block to select from."""
    return f"{name}{chr(ord('a') + number)}"
