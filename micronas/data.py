"""The data set of training and search."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import SupportsIndex

import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.objectives.anomalies import Anomalies
from micronas.objectives.base import Objective
from micronas.objectives.classes import Classes
from micronas.splits import (
    Augment,
    Detection,
    Sliding,
    Split,
    Subset,
    TensorSplit,
    check_split,
    divide,
    evenly,
)
from micronas.views import Layout, Shape, View

_LOOKED_AT, _SMALLEST = 100, 0.01
"""Most examples, and least deviation, of inputs that networks learn from."""

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
    """Names of a network's outputs, in the order of tables and reports: classes, labels or a
    value."""
    input: tuple[int, int, int]
    """Height, width, channels."""
    meaning: Mapping[str, object] = field(default_factory=dict)
    """Meaning of the inputs for the front end on the device, stored in the model file."""
    summary: str = ""
    """One paragraph for the user on the data read, and on the data left out with reasons."""
    final: Split | None = None
    """Training part of the final training, augmented further; None for `train`."""
    detection: Detection | None = None
    """Clips for detecting anomalies, for the objective `Anomalies`."""
    sliding: Sliding | None = None
    """Evaluation windows that slide over recordings; None where they do not overlap."""
    ignored: tuple[str, ...] = ()
    """Classes without a meaning, such as silence: a report shows how often they are accepted as one
    of the others."""
    seconds: float | None = None
    """Duration of an example, if any."""
    statistics: Callable[[Tensor], Tensor] | None = None
    """Function that returns simple statistics [n, features] of inputs, for a linear model as a
    rival; None where such a model makes no sense."""
    view: View = field(default_factory=Layout)
    """Conversion of inputs to other shapes."""
    objective: Objective = field(default_factory=Classes)
    """Meaning of outputs: loss, ranking of trials, metrics, decision on the device."""

    def __post_init__(self) -> None:
        """Refuse targets that do not suit the objective, and fit it to those of training."""
        if self.detection is not None and not isinstance(self.objective, Anomalies):
            raise DataError(
                "a data set in which anomalies are to be found must have that objective, but has "
                f"{self.objective.name}; pass objective=Anomalies()"
            )
        size = self.input if isinstance(self.input, Sequence) else ()
        if len(size) != 3 or not all(
            isinstance(each, SupportsIndex) and each >= 1 for each in size
        ):
            raise DataError(
                "input must be height, width and channels, three whole numbers, but is "
                f"{self.input!r}; give that of one example"
            )
        if isinstance(self.classes, str) or not isinstance(self.classes, Iterable):
            raise DataError(
                f"classes must be names, but are {self.classes!r}; pass one for each output, as "
                "('no', 'yes')"
            )
        # names of an array are of numpy's type, as which errors would show them
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        odd = [
            name
            for name in self.classes
            if not name.strip() or min(name) < " " or name != name.encode(errors="ignore").decode()
        ]
        if odd:
            raise DataError(
                "classes must have names without line breaks, control characters and half "
                f"characters, but one is {odd[0]!r:.60}; rename it"
            )
        if len({*self.classes}) < len(self.classes):
            raise DataError(
                f"classes must have different names, but are {', '.join(self.classes):.200}; their "
                "figures are kept by name"
            )
        for part in (self.train, *self.parts()):
            check_split(part)
            self.objective.check(part.labels, len(self.classes))
        fitted = self.objective.fitted(self.train.labels, self.classes)
        object.__setattr__(self, "objective", fitted)

    @property
    def final_train(self) -> Split:
        """Training part of the final training: `final`, or `train` where there is none."""
        return self.final or self.train

    def parts(self, *, judging: bool = True) -> list[Split]:
        """Return the parts that there are; without `judging` not those that only judge."""
        found = [self.train, self.validation, self.final]
        if judging:
            found += [self.test, None if self.detection is None else self.detection.split]
        return [part for part in found if part is not None]

    def check_inputs(self) -> None:
        """Raise DataError for a part of no or other inputs: test is read last, after training."""
        for name in ("validation", "test"):
            given = getattr(self, name)
            if given is not None and not len(given.labels):
                raise DataError(
                    f"a part must hold examples, but `{name}` has none; give it some of those of "
                    "training (test may be None)"
                )
        height, width, channels = self.input
        for part in self.parts():
            if not len(part.labels):
                continue
            shape = [*part.batch(torch.tensor([0]), None).shape[1:]]
            if shape != [channels, height, width]:
                raise DataError(
                    "inputs of all parts must be [channels, height, width] = "
                    f"{[channels, height, width]}, as the data's `input` is height, width, "
                    f"channels = {[*self.input]}, but one part has {shape}; resize it, or correct "
                    "`input`"
                )

    def doubt(self) -> str | None:
        """Return why inputs of this size may teach nothing; None where they are as they should be.

        A device holds all channels in steps of one size.
        """
        inputs = self.train.batch(evenly(self.train, _LOOKED_AT), None)
        low, high = min(float(inputs.min()), 0.0), max(float(inputs.max()), 0.0)
        step, deviations = (high - low) / 255, inputs.std((0, 2, 3), correction=0)
        lost = torch.nonzero((deviations > 0) & (deviations < step)).flatten().tolist()
        if lost:
            what = (
                f"channel {lost[0]} deviates by {float(deviations[lost[0]]):.2g}, less than the "
                f"{step:.2g} by which 8 bits tell inputs of {low:.3g} to {high:.3g} apart"
            )
        elif 0 < (most := float(deviations.max())) < _SMALLEST:
            what = f"they deviate by {most:.2g}, which batch norm takes for nothing"
        else:
            return None
        return f"inputs should be standardised by channel, on the device too, but {what}"

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

    source: Split

    def __init__(self, split: Split, view: View, shape: Shape) -> None:
        self.source, self._view, self._shape = split, view, shape
        self.labels, self.groups = split.labels, split.groups
        self.mixup, self.cutmix = split.mixup, split.cutmix

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._view(self.source.batch(index, generator), self._shape)
