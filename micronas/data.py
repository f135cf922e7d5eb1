"""The data set as training and search see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.objectives.anomalies import Anomalies
from micronas.objectives.base import Objective
from micronas.objectives.classes import Classes
from micronas.splits import Augment, Detection, Sliding, Split, Subset, TensorSplit, divide
from micronas.views import Layout, Shape, View

__all__ = [
    "Augment",
    "DataSet",
    "Detection",
    "Sliding",
    "Split",
    "Subset",
    "TensorSplit",
    "divide",
]


@dataclass(frozen=True)
class DataSet:
    """The parts of a data set; `test` is None where the source has none."""

    train: Split
    validation: Split
    test: Split | None
    classes: tuple[str, ...]
    """Names of a network's outputs, in the order that tables and reports keep: of classes, of
    labels, of a value."""
    input: tuple[int, int, int]
    """Height, width, channels."""
    meaning: Mapping[str, object] = field(default_factory=dict)
    """Meaning of the inputs, for whoever computes them on the device; goes into the model file."""
    summary: str = ""
    """One paragraph for the user: what was read, what was left out and why."""
    final: Split | None = None
    """The training part as the final training hears it, augmented further; None if as `train`."""
    detection: Detection | None = None
    """What anomalies are to be found in, for the objective `Anomalies`."""
    sliding: Sliding | None = None
    """Places of the judging windows in their recordings; None where they do not overlap."""
    ignored: tuple[str, ...] = ()
    """Classes that stand for nothing, such as silence: a report shows how often they are accepted
    as one of the others."""
    seconds: float | None = None
    """Duration of an example, where it is of time."""
    statistics: Callable[[Tensor], Tensor] | None = None
    """Simple statistics [n, features] of inputs, of which a linear model is the rival of whatever
    is found; None where no such model is worth its name."""
    view: View = field(default_factory=Layout)
    """In which other shapes the inputs can be seen."""
    objective: Objective = field(default_factory=Classes)
    """What outputs stand for: loss, what ranks trials, metrics, the decision on the device."""

    def __post_init__(self) -> None:
        """Refuse targets that the objective cannot take, and fit it to those of training."""
        if self.detection is not None and not isinstance(self.objective, Anomalies):
            raise DataError(
                "a data set in which anomalies are to be found must have that objective, but has "
                f"{self.objective.name}; pass objective=Anomalies()"
            )
        found = None if self.detection is None else self.detection.split
        for part in (self.train, self.validation, self.test, self.final, found):
            if part is not None:
                self.objective.check(part.labels, len(self.classes))
        fitted = self.objective.fitted(self.train.labels, self.classes)
        object.__setattr__(self, "objective", fitted)

    def seen_as(self, shape: Shape) -> "DataSet":
        """Return the data set with inputs of another shape; ConfigError if it has no such view."""
        if shape == self.input:
            return self
        self.view.check(self.input, shape)

        def seen(split: Split) -> _Seen:
            return _Seen(split, self.view, shape)

        detection = self.detection
        if detection is not None:
            detection = replace(detection, split=seen(detection.split))
        return replace(
            self,
            train=seen(self.train),
            validation=seen(self.validation),
            test=None if self.test is None else seen(self.test),
            final=None if self.final is None else seen(self.final),
            detection=detection,
            input=shape,
            meaning={**self.meaning, **self.view.meaning(self.input, shape)},
        )


class _Seen(Split):
    """A split with inputs of another shape."""

    def __init__(self, split: Split, view: View, shape: Shape) -> None:
        self._split, self._view, self._shape = split, view, shape
        self.labels, self.groups = split.labels, split.groups
        self.mixup, self.cutmix = split.mixup, split.cutmix

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._view(self._split.batch(index, generator), self._shape)
