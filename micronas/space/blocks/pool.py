"""Pooling between blocks: a smaller map without weights."""

from typing import Literal

from micronas.space.blocks.base import BlockBase, stride_mark
from micronas.space.decisions import Pair
from micronas.space.lowering import Lowering


class Pool(BlockBase):
    """MAX_POOL_2D or AVERAGE_POOL_2D with SAME padding."""

    type: Literal["pool"] = "pool"
    mode: Literal["max", "average"] = "max"
    window: Pair = (2, 2)
    stride: Pair = (2, 2)

    def lower(self, at: Lowering, source: str) -> str:
        kind = "MAX_POOL_2D" if self.mode == "max" else "AVERAGE_POOL_2D"
        return at.pool(source, kind, self.window, stride=self.stride)  # type: ignore[arg-type]

    def summary(self) -> str:
        mark = "" if self.window == (2, 2) else "x".join(map(str, self.window))
        return f"{self.mode}{mark}{stride_mark(self.stride)}"
