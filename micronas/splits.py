"""Parts of a data set: examples, their labels, and the groups they come from."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from micronas.errors import DataError

Augment = Callable[[Tensor, torch.Generator], Tensor]


class Split(Protocol):
    """One part of a data set (training, validation or test)."""

    labels: Tensor
    """Target of each example, by the data set's objective: its class, int64 [N]; a value, float32
    [N]; whether each label holds, float32 [N, labels]."""
    groups: Tensor
    """Source of each example (speaker, machine), int64 [N]; parts share no group."""
    mixup: float = 0.0
    """Parameter of the Beta distribution of weights by which training mixes pairs of examples and
    their labels; 0 mixes none. Classes that derive from `Split` need not set it."""
    cutmix: bool = False
    """Let training insert a box of another example into each example, in half of the batches."""
    source: "Split | None" = None
    """Split whose examples this one gives in another shape, in the same order, if any."""

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return inputs as float32 [n, channels, height, width].

        With a generator the examples are augmented, equally for equal states of it; without one
        they are as on the device.
        """


def check_split(given: object) -> None:
    """Raise DataError if it is no split, such as one of torch's data sets."""
    needed = ("labels", "groups", "batch", "mixup", "cutmix", "source")
    if not all(hasattr(given, each) for each in needed):
        raise DataError(
            "a part of the data must have labels, groups and batch, and the defaults of "
            f"micronas.data.Split, but {type(given).__name__} has not; derive it from that class, "
            "or make one by micronas.TensorSplit(inputs, labels)"
        )


@dataclass(frozen=True)
class Detection:
    """Clips of normal and anomalous machines, cut into windows and scored clip by clip."""

    split: Split
    """Windows, labelled by machine."""
    clips: Tensor
    """Clip of each window, int64 [windows]."""
    machines: Tensor
    """Machine of each clip, int64 [clips], an index into `names`."""
    anomalous: Tensor
    """Clips of a machine with a fault, bool [clips]."""
    names: tuple[str, ...]
    """Names of the machines, the classes of the data set."""


@dataclass(frozen=True)
class Sliding:
    """Successive windows, as on a device, of recordings in which labels change."""

    within: Tensor
    """Windows with one label throughout, bool [windows]."""
    apart: int
    """Number of windows of which no two share a sample, which is the count for intervals."""


class TensorSplit(Split):
    """A split held in memory.

    Parameters
    ----------
    inputs
        float32 [N, channels, height, width]; a tensor or an array, as all of these.
    labels
        See `Split.labels`: whole numbers or floats [N], or [N, labels] of 0 and 1, as the objective
        requires.
    groups
        int64 [N]; by default every example is its own group.
    augment
        ``augment(inputs, generator)`` returns augmented inputs of the same shape, float32. The
        constructor checks it on two examples.
    mixup
        See `Split.mixup`.

    Raises
    ------
    DataError
        If inputs, labels, groups or results of `augment` have another shape, or if an input is not
        finite, or if `augment` or `mixup` are of another kind.
    """

    def __init__(
        self,
        inputs: Tensor | NDArray[Any],
        labels: Tensor | NDArray[Any],
        *,
        groups: Tensor | NDArray[Any] | None = None,
        augment: Augment | None = None,
        mixup: float = 0.0,
    ) -> None:
        inputs, labels = _tensor("inputs", inputs), _tensor("labels", labels)
        if inputs.ndim != 4 or labels.ndim not in (1, 2) or len(inputs) != len(labels):
            raise DataError(
                "inputs must be [N, channels, height, width] with one label or row of labels each, "
                f"but got inputs {tuple(inputs.shape)} and labels {tuple(labels.shape)}; add what "
                "is missing, as by inputs.unsqueeze(1)"
            )
        if inputs.is_complex():
            raise DataError(
                f"inputs must be real numbers, but are {inputs.dtype}; make two channels of them, "
                "as by torch.cat([inputs.real, inputs.imag], 1)"
            )
        is_class = labels.ndim == 1 and not labels.is_floating_point()
        self.labels = labels.long() if is_class else labels.float()
        self.inputs = inputs.float()
        _check_finite(self.inputs)
        given = torch.arange(len(labels)) if groups is None else _tensor("groups", groups)
        if given.is_floating_point() and (wrong := given.frac() != 0).any():
            raise DataError(
                f"groups must be whole numbers, but one is {given[wrong][0]:g}; number them from 0"
            )
        self.groups = given.long()
        if self.groups.shape != (len(self.labels),):
            raise DataError(
                "groups must be [N], one for each example, but got groups "
                f"{tuple(self.groups.shape)} and labels {tuple(labels.shape)}"
            )
        if not (isinstance(mixup, SupportsFloat) and 0 <= mixup < math.inf):
            raise DataError(
                f"mixup must be a number of at least 0, but is {mixup!r}; 0 mixes nothing"
            )
        self.augment = augment
        self.mixup = float(mixup)
        if augment is not None:
            _check_augmented(augment, self.inputs[:2].clone())

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        inputs = self.inputs[index]
        return self.augment(inputs, generator) if self.augment and generator else inputs


def _tensor(name: str, given: Tensor | NDArray[Any]) -> Tensor:
    if isinstance(given, np.ndarray):  # torch takes no mirrored views and no foreign byte order
        given = np.require(given, given.dtype.newbyteorder("="), "C")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.as_tensor(given).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{name} must be a tensor or an array of numbers, but torch says: {error}; number "
            "classes and groups from 0"
        ) from error


def _check_finite(inputs: Tensor) -> None:
    if not inputs.numel():
        return
    # extremes pass on NaN and infinity, and need no second copy of the inputs
    low, high = inputs.flatten(1).aminmax(dim=1)
    wrong = torch.nonzero(~(low.isfinite() & high.isfinite())).flatten()
    if len(wrong):
        raise DataError(
            f"inputs must be finite, but {len(wrong)} of {len(inputs)} examples hold NaN or "
            f"infinity, the first of them inputs[{int(wrong[0])}]; repair these examples or leave "
            "them out"
        )


def _check_augmented(augment: Augment, inputs: Tensor) -> None:
    shape = inputs.shape
    if not callable(augment):
        raise DataError(
            f"augment must be a function of inputs and a generator, but is {type(augment).__name__}"
            "; leave it out to augment nothing"
        )
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
        self.mixup, self.cutmix = split.mixup, split.cutmix

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return self._split.batch(self.index[index], generator)


def evenly(split: Split, count: int) -> Tensor:
    """Return the indices of `count` examples spread over a split, or of all where it has fewer."""
    index: Tensor = torch.unique(torch.linspace(0, len(split.labels) - 1, count).long())
    return index


def divide(split: Split, shares: tuple[float, ...], generator: torch.Generator) -> list[Subset]:
    """Cut a split into disjoint parts that share no group (no speaker, no machine).

    `shares` are fractions of the examples, adding up to 1; parts come as close as groups allow.
    """
    groups, members = torch.unique(split.groups, return_inverse=True)
    sizes = torch.bincount(members)
    if len(groups) < len(shares):
        raise DataError(
            f"a training set must have a group (speaker, machine) for each of {len(shares)} "
            f"disjoint parts: groups={len(groups)}; add data or leave `groups` out"
        )
    wanted = torch.tensor(shares) * len(members)
    # largest groups first, each to the part that lacks most: every part is filled in proportion
    order = torch.randperm(len(groups), generator=generator)
    order = order[sizes[order].argsort(descending=True, stable=True)]
    part_of = _dealt(order, sizes, wanted, torch.ones(len(shares)))
    if len(torch.unique(part_of)) < len(shares):  # beside a group larger than a part's room
        part_of = _dealt(order, sizes, wanted, torch.tensor(shares))
    parts = part_of[members]
    return [Subset(split, (parts == part).nonzero()[:, 0]) for part in range(len(shares))]


def _dealt(order: Tensor, sizes: Tensor, wanted: Tensor, units: Tensor) -> Tensor:
    """Return the part of each group, dealt in order to the part that lacks most of its units."""
    lacking, part_of = wanted.clone(), torch.zeros_like(order)
    for group in order:
        part = int((lacking / units).argmax())
        part_of[group] = part
        lacking[part] -= sizes[group]
    return part_of
