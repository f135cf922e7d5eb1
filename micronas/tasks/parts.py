"""Names of the parts a data set is divided into."""

from typing import Literal

Part = Literal["training", "validation", "testing"]
PARTS: tuple[Part, ...] = ("training", "validation", "testing")
