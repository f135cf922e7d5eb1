"""Regression: predict a value in its unit."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.errors import DataError
from micronas.objectives.base import Decides, Judged, Measure, Objective
from micronas.quantities import rounded
from micronas.splits import evenly

_SHOWN = 2000
"""Number of examples that a report draws."""


@dataclass(frozen=True)
class Regression(Objective):
    """Huber's loss on standardised targets; MAE, RMSE and R2 in the data's unit.

    A network has one output, in standard deviations from the mean, so that training and its eight
    bits do not depend on the unit; the model file stores mean and deviation, and firmware undoes
    them.

    Parameters
    ----------
    unit
        Unit of the targets.
    mean, deviation
        Mean and standard deviation of the targets in training; `DataSet` fills them in.
    """

    name: ClassVar[str] = "regression"
    decides: ClassVar[Decides] = "value"
    rank_by: str = "mae"
    unit: str = ""
    mean: float | None = None
    deviation: float | None = None

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {
            "mae": Measure("MAE", self._absolute, self.unit, larger=False),
            "rmse": Measure("RMSE", self._root, self.unit, larger=False),
            "r2": Measure("R2", self._explained, ""),
        }

    def check(self, targets: Tensor, outputs: int | None = None) -> Tensor:
        if targets.ndim != 1 or not bool(torch.isfinite(targets.float()).all()):
            raise DataError(
                "targets of a regression must be finite numbers [N], but are "
                f"{targets.dtype} {list(targets.shape)}"
                f"{'' if targets.ndim != 1 else ' with some that are not'}; leave out what has no "
                "value, and train a network for each value"
            )
        if outputs is not None and outputs != 1:
            raise DataError(
                f"a regression must have one output, but there are {outputs}; name one value in "
                "`classes`, and set `classes: 1` of the space"
            )
        return targets.float()

    def fitted(self, targets: Tensor, names: Sequence[str]) -> "Regression":
        if self.mean is not None and self.deviation is not None:
            return self
        found = targets.double()
        deviation = float(found.std(correction=0)) if len(found) else 0.0
        if deviation == 0:
            raise DataError(
                f"values in training must differ, but all of {len(found)} are "
                f"{'the same' if len(found) else 'missing'}; name another column, or add recordings"
            )
        mean = rounded(float(found.mean()), deviation)
        return replace(self, mean=mean, deviation=rounded(deviation, deviation))

    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        mean, deviation = self._scale
        return F.huber_loss(outputs[:, 0], (targets.float() - mean) / deviation)

    def chance(self, outputs: int) -> float:
        return 0.42  # Huber's loss of a constant mean for normal targets

    def ideal(self, targets: Tensor, outputs: int) -> Tensor:
        mean, deviation = self._scale
        return (targets[:, None] - mean) / deviation

    def decision(
        self, codes: npt.NDArray[np.int8], targets: Tensor, *, features: object
    ) -> dict[str, Any]:
        return {"kind": self.decides}

    def described(self) -> dict[str, Any]:
        mean, deviation = self._scale
        unit = {"unit": self.unit} if self.unit else {}
        return {"is": self.decides, "mean": mean, "deviation": deviation, **unit}

    def figures(self, judged: Judged) -> dict[str, Any]:
        """Return ``values``: ``name``, ``unit``, and lists ``true`` and ``told`` (predicted), at
        examples spread over the part."""
        digits = 3 - math.floor(math.log10(self._scale[1]))
        every = evenly(judged.split, _SHOWN)
        told = self._predicted(judged.answers.int8)[every]
        return {
            "values": {
                "name": judged.names[0],
                "unit": self.unit,
                "true": [round(each, digits) for each in judged.split.labels[every].tolist()],
                "told": [round(each, digits) for each in told.tolist()],
            }
        }

    @property
    def _scale(self) -> tuple[float, float]:
        if self.mean is None or self.deviation is None:
            raise DataError(
                "a regression must know mean and deviation of its targets; take the objective of a "
                "DataSet, which fits it, or pass both"
            )
        return self.mean, self.deviation

    def _predicted(self, outputs: Tensor) -> Tensor:
        mean, deviation = self._scale
        return mean + deviation * outputs[:, 0].double()

    def _off(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._predicted(outputs) - targets.double()

    def _absolute(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._off(outputs, targets).abs()

    def _root(self, outputs: Tensor, targets: Tensor) -> Tensor:
        squares = self._off(outputs, targets) ** 2
        root = squares.mean().sqrt()
        return root + (squares - root**2) / (2 * root) if root > 0 else squares

    def _explained(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the influences of 1 - (residual squares / squares about the mean); of equal values
        0, as in scikit-learn, or 1 where all are met: no number would end in metrics.json as NaN.
        """
        squares = self._off(outputs, targets) ** 2
        about = (targets.double() - targets.double().mean()) ** 2
        if not about.any():
            return torch.full_like(squares, float(not squares.any()))
        left = squares.mean() / about.mean()
        return (1 - left) - (squares - left * about) / about.mean()
