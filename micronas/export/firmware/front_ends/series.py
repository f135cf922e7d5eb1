"""Front end of sensor readings in windows, standardised channel by channel."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from micronas.export.firmware.front_ends.front_end import Array, FrontEnd, Pace
from micronas.graph.ir import Quantization


@dataclass(frozen=True)
class Series(FrontEnd):
    """Front end of windows of readings: ``(reading - mean) / deviation`` by channel, limited."""

    window: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    limit: float

    kind: ClassVar[str] = "series"
    samples: ClassVar[str] = "float32"
    templates: ClassVar[Mapping[str, str]] = {
        "front_end.h": "front_end_series.h.in",
        "front_end.c": "front_end_series.c.in",
    }

    def of_rows(self, rows: int) -> "Series":
        return replace(self, window=rows)

    @property
    def pace(self) -> Pace:
        return Pace(whole=self.window, row=1, read=1, stride=max(1, self.window // 2))

    @property
    def codes(self) -> int:
        return self.window * len(self.mean)

    def values(self, quantization: Quantization) -> Mapping[str, str]:
        return {"ROWS": str(self.window), "COLUMNS": str(len(self.mean))}

    def tables(self, quantization: Quantization) -> Mapping[str, Mapping[str, Array]]:
        of = {"kMean": self.mean, "kDeviation": self.deviation, "kLimit": self.limit}
        return {"front_end.c": {name: np.array(each, np.float32) for name, each in of.items()}}
