"""The data set as training and search see it, and a plain one for arrays."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from micronas.errors import DataError
from micronas.views import Layout, Shape, View

Augment = Callable[[Tensor, torch.Generator], Tensor]


def class_numbers(labels: Tensor, *, classes: int | None = None) -> Tensor:
    """Return labels as int64 [N], or refuse what does not number classes.

    Parameters
    ----------
    classes
        Number of classes, or of a network's outputs; labels are 0 to ``classes - 1``.

    Raises
    ------
    DataError
        If labels are no vector of whole numbers from 0, or `classes` is under 2 or too few.
    """
    is_whole = isinstance(labels, Tensor) and not (
        labels.is_floating_point() or labels.is_complex()
    )
    if not is_whole or labels.ndim != 1:
        found = (
            f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels)
        )
        raise DataError(
            f"labels must number classes, as a tensor of whole numbers [N], but are {found}; "
            "pass labels.long() where they are numbers of classes, and ranges of measured values: "
            "torch.bucketize(values, edges). There is no regression: a network with a loss of "
            "your own goes through micronas.to_tflite"
        )
    if classes is not None and classes < 2:
        raise DataError(
            f"there must be at least two classes to tell apart, but there is {classes}: every "
            "network would be right; add a class, or make ranges of measured values: "
            "torch.bucketize(values, edges)"
        )
    if len(labels) and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        wanted = "0 or more" if classes is None else f"0 to {classes - 1}"
        raise DataError(
            f"labels must be {wanted}, but are {int(labels.min())} to {int(labels.max())}; number "
            "classes from 0, and name each in `classes`"
        )
    return labels.long()


class Split(Protocol):
    """One part of a data set (training, validation or test)."""

    labels: Tensor
    """Class of each example, int64 [N]."""
    groups: Tensor
    """Who or what each example comes from (speaker, machine), int64 [N]; parts are cut along it."""
    mixup: float = 0.0
    """Parameter of the Beta distribution by which training mixes pairs of examples and their
    labels; 0 mixes none. Classes that derive from `Split` need not set it."""

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return inputs as float32 [n, channels, height, width].

        With a generator the examples are augmented, the same way for the same generator state;
        without one they are as they will be on the device.
        """


@dataclass(frozen=True)
class Detection:
    """Clips of known and anomalous machines, cut into windows; scored a clip at a time."""

    split: Split
    """The windows; a label is the machine that made the sound."""
    clips: Tensor
    """Clip of each window, int64 [windows]."""
    machines: Tensor
    """Machine of each clip, int64 [clips], an index into `names`."""
    anomalous: Tensor
    """Whether something is wrong with the machine, bool [clips]."""
    names: tuple[str, ...]
    """The machines, as the classes of the data set."""


@dataclass(frozen=True)
class Sliding:
    """Windows that a device would see one after another, of recordings in which labels change."""

    within: Tensor
    """Whether one label holds throughout a window, bool [windows]."""
    apart: int
    """Windows of which no two share a sample: on so many examples an interval rests."""
    every: int
    """Samples between the starts of windows."""


@dataclass(frozen=True)
class DataSet:
    """The parts of a data set; `test` is None where the source has none."""

    train: Split
    validation: Split
    test: Split | None
    classes: tuple[str, ...]
    """By number, in the order that tables and reports keep."""
    input: tuple[int, int, int]
    """Height, width, channels."""
    meaning: Mapping[str, object] = field(default_factory=dict)
    """Meaning of the inputs, for whoever computes them on the device; goes into the model file."""
    summary: str = ""
    """One paragraph for the user: what was read, what was left out and why."""
    final: Split | None = None
    """The training part as the final training hears it, augmented further; None if as `train`."""
    detection: Detection | None = None
    """Recordings to find anomalies in; None where classification itself is the task."""
    pretext: bool = False
    """Whether classes only serve to find anomalies, also where there are none to find yet."""
    sliding: Sliding | None = None
    """Places of the judging windows in their recordings; None where they do not overlap."""
    ignored: tuple[str, ...] = ()
    """Classes that stand for nothing, such as silence: a report shows how often they are accepted
    as one of the others."""
    seconds: float | None = None
    """Duration of an example, where it is of time."""
    view: View = field(default_factory=Layout)
    """In which other shapes the inputs can be seen."""

    def __post_init__(self) -> None:
        """Refuse labels that are none of `classes`, and training examples of one class alone."""
        found = None if self.detection is None else self.detection.split
        for part in (self.train, self.validation, self.test, self.final, found):
            if part is not None:
                class_numbers(part.labels, classes=len(self.classes))
        if len(self.train.labels) and (self.train.labels == self.train.labels[0]).all():
            only = self.classes[int(self.train.labels[0])]
            raise DataError(
                "training examples must be of at least two classes, but all of "
                f"{len(self.train.labels)} are of {only!r}; add examples of others"
            )

    @property
    def accuracy_name(self) -> str:
        """Name of the share of classes that are right: it is no score of anomalies."""
        return "pretext accuracy" if self.pretext or self.detection is not None else "accuracy"

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
        self.labels, self.groups, self.mixup = split.labels, split.groups, split.mixup

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._view(self._split.batch(index, generator), self._shape)


class TensorSplit(Split):
    """A split held in memory.

    Parameters
    ----------
    inputs
        float32 [N, channels, height, width].
    labels
        Whole numbers [N], the class of each example from 0.
    groups
        int64 [N]; every example is its own group when left out.
    augment
        ``augment(inputs, generator)`` returns augmented inputs of the same shape, float32. It is
        tried on two examples at once.
    mixup
        See `Split.mixup`.

    Raises
    ------
    DataError
        If inputs, groups or what `augment` returns have another shape, or labels do not number
        classes (`class_numbers`).
    """

    def __init__(
        self,
        inputs: Tensor,
        labels: Tensor,
        *,
        groups: Tensor | None = None,
        augment: Augment | None = None,
        mixup: float = 0.0,
    ) -> None:
        self.labels = class_numbers(labels)
        if inputs.ndim != 4 or len(inputs) != len(labels):
            raise DataError(
                "inputs must be [N, channels, height, width] with one label each, but got "
                f"inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}"
            )
        self.inputs = inputs.float()
        self.groups = torch.arange(len(labels)) if groups is None else groups.long()
        if self.groups.shape != self.labels.shape:
            raise DataError(
                "groups must be [N], one for each example, but got groups "
                f"{tuple(self.groups.shape)} and labels {tuple(labels.shape)}"
            )
        self.augment = augment
        self.mixup = mixup
        if augment is not None:
            _check_augmented(augment, self.inputs[:2].clone())

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        inputs = self.inputs[index]
        return self.augment(inputs, generator) if self.augment and generator else inputs


def _check_augmented(augment: Augment, inputs: Tensor) -> None:
    shape = inputs.shape
    found = augment(inputs, torch.Generator().manual_seed(0))
    if not isinstance(found, Tensor) or (found.shape, found.dtype) != (shape, torch.float32):
        what = type(found).__name__
        if isinstance(found, Tensor):
            what = f"{str(found.dtype).removeprefix('torch.')} {tuple(found.shape)}"
        raise DataError(
            f"augment must return inputs of the shape it is given, float32 {tuple(shape)}, but it "
            f"returned {what}"
        )


class Subset(Split):
    """Some examples of a split."""

    def __init__(self, split: Split, index: Tensor) -> None:
        self._split = split
        self.index = index
        self.labels = split.labels[index]
        self.groups = split.groups[index]
        self.mixup = split.mixup

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._split.batch(self.index[index], generator)


def divide(split: Split, shares: tuple[float, ...], generator: torch.Generator) -> list[Subset]:
    """Cut a split into disjoint parts that share no group (no speaker, no machine).

    Parameters
    ----------
    shares
        Fractions of the examples, adding up to 1; parts come as close as groups allow.
    """
    groups, members = torch.unique(split.groups, return_inverse=True)
    sizes = torch.bincount(members)
    if len(groups) < len(shares):
        raise DataError(
            f"a training set must have a group (speaker, machine) for each of {len(shares)} "
            f"disjoint parts: groups={len(groups)}; add data or leave `groups` out"
        )
    part_of = torch.zeros(len(groups), dtype=torch.long)
    wanted = torch.tensor(shares) * len(members)
    # largest groups first, each to the part that lacks most: every part is filled in proportion
    order = torch.randperm(len(groups), generator=generator)
    for group in order[sizes[order].argsort(descending=True, stable=True)]:
        part = int(wanted.argmax())
        part_of[group] = part
        wanted[part] -= sizes[group]
    parts = part_of[members]
    return [Subset(split, (parts == part).nonzero()[:, 0]) for part in range(len(shares))]
