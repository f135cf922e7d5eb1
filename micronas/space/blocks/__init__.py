"""Block types of a search space, one file each."""

from typing import Annotated

from pydantic import Field

from micronas.space.blocks.bottleneck import Bottleneck
from micronas.space.blocks.convolution import Convolution
from micronas.space.blocks.pool import Pool
from micronas.space.blocks.residual import Residual
from micronas.space.blocks.select import Select
from micronas.space.blocks.separable import Separable
from micronas.space.blocks.shuffle import Shuffle

Block = Annotated[
    Separable | Bottleneck | Convolution | Residual | Shuffle | Pool | Select,
    Field(discriminator="type"),
]

__all__ = [
    "Block",
    "Bottleneck",
    "Convolution",
    "Pool",
    "Residual",
    "Select",
    "Separable",
    "Shuffle",
]
