"""Names of the parts of a data set."""

from typing import Literal

Part = Literal["training", "validation", "testing"]
PARTS: tuple[Part, ...] = ("training", "validation", "testing")
