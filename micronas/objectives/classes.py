"""Classification: one of several classes holds for each example."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.arrays import Floats
from micronas.errors import DataError
from micronas.objectives.base import Decides, Judged, Measure, Objective, Scores
from micronas.objectives.decision import decision
from micronas.objectives.f1 import f1_of, macro_f1
from micronas.objectives.intervals import wilson
from micronas.objectives.mistakes import mistakes, thresholds
from micronas.text import listed

Balance = Literal["none", "weights", "sampling"]
_UNEVEN = 2.0
"""Largest ratio of the most frequent class to the rarest at which accuracy alone is reported."""
_TEMPERATURES = torch.tensor([2 ** (step / 8) for step in range(-16, 17)])


@dataclass(frozen=True)
class ClassScores(Scores):
    """Loss and measures of a classifier."""

    per_class: tuple[float, ...]
    """Accuracy on the examples of each class; nan for a class without examples."""


@dataclass(frozen=True)
class Classes(Objective):
    """Cross-entropy; accuracy, balanced accuracy and F1.

    Parameters
    ----------
    balance
        ``weights``: weigh the loss of an example by the inverse frequency of its class in training;
        ``sampling``: draw examples of rare classes more often instead; ``none``: neither.
    counts
        Training examples of each class, which `DataSet` fills in; a part of its data keeps them.
    """

    name: ClassVar[str] = "classes"
    decides: ClassVar[Decides] = "best"
    rank_by: str = "loss"
    balance: Balance = "none"
    counts: tuple[int, ...] = ()

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {
            "accuracy": Measure(self.accuracy_name, _right),
            "balanced_accuracy": Measure("balanced accuracy", _balanced),
            "macro_f1": Measure("macro F1", _macro_f1),
        }

    @property
    def accuracy_name(self) -> str:
        """Name of the share of right answers."""
        return "accuracy"

    def check(self, targets: Tensor, outputs: int | None = None) -> Tensor:
        return class_numbers(targets, classes=outputs)

    def fitted(self, targets: Tensor, names: Sequence[str]) -> "Classes":
        if self.counts or not len(targets):
            return self
        if (targets == targets[0]).all():
            raise DataError(
                "training examples must be of at least two classes, but all of "
                f"{len(targets)} are of {names[int(targets[0])]!r}; add examples of others"
            )
        counts = torch.bincount(targets.long(), minlength=len(names)).tolist()
        missing = [repr(name) for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            raise DataError(
                f"each of the {len(names)} classes must have training examples, but none "
                f"is of {listed(missing)}; number labels from 0 without a gap, leave the "
                "class out of all parts, or move some of its examples to training"
            )
        return replace(self, counts=tuple(counts))

    def counted(self, targets: Tensor, names: Sequence[str]) -> dict[str, int]:
        return {name: int((targets == number).sum()) for number, name in enumerate(names)}

    def rarest(self, targets: Tensor) -> int:
        counts = torch.bincount(targets)
        return int(counts[counts > 0].min())

    def balanced(self, balance: str) -> "Classes":
        return replace(self, balance=cast(Balance, balance))

    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        if self.balance != "weights" or not self.counts:
            return F.cross_entropy(outputs, targets, label_smoothing=smoothing)
        # torch's own weights would count smoothing by the classes that it goes to: towards a class
        # of one in fifty it would outweigh the label
        losses = F.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)
        counts = torch.tensor(self.counts, dtype=losses.dtype, device=losses.device)
        weights = 1 / counts.clamp(min=1)[targets]
        return (weights * losses).sum() / weights.sum()

    def scores(self, outputs: Tensor, targets: Tensor) -> ClassScores:
        found = super().scores(outputs, targets)
        return ClassScores(found.loss, found.measures, tuple(_recall(outputs, targets)))

    def comparable(self, outputs: Tensor, targets: Tensor, *, sharpest: float = 0.25) -> Tensor:
        return temperature_scaled_loss(outputs, targets, sharpest=sharpest)[0]

    def chance(self, outputs: int) -> float:
        return math.log(outputs)

    def order(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        if self.balance != "sampling":
            return super().order(targets, generator)
        shares = 1 / torch.bincount(targets).double()[targets]
        return torch.multinomial(shares, len(targets), replacement=True, generator=generator)

    def ideal(self, targets: Tensor, outputs: int) -> Tensor:
        return F.one_hot(targets, outputs).float()

    def decision(
        self, codes: npt.NDArray[np.int8], targets: Tensor, *, features: object
    ) -> dict[str, Any]:
        return decision(codes, targets.numpy(), features=features)

    def metrics(self, judged: Judged) -> dict[str, Any]:
        labels, outputs = judged.split.labels, judged.answers.int8
        found = super().metrics(judged)
        right = _right(outputs, labels).numpy()
        apart = len(labels) if judged.sliding is None else judged.sliding.apart
        interval = [*wilson(float(right.mean()), apart)]
        accuracy, *others = found["scores"]
        accuracy["interval"] = interval
        # for even classes the other measures say the same
        is_uneven = torch.bincount(labels).max() > _UNEVEN * self.rarest(labels)
        scores = [accuracy, *(others if is_uneven else [])]
        found |= {
            "accuracy_name": self.accuracy_name,
            "int8_accuracy_interval": interval,
            "int8_accuracy_per_class": _by_name(judged, _recall(outputs, labels)),
            "int8_f1_per_class": _by_name(judged, f1_of(*_each(outputs, labels))[0].tolist()),
        }
        if judged.sliding is not None:
            within = right[judged.sliding.within.numpy()]
            share = float(within.mean()) if len(within) else None
            found |= {
                "judged_apart": apart,
                "judged_within_label": len(within),
                "int8_accuracy_within_label": share,
            }
            if share is not None:
                on = f"of the {len(within):,} windows without a change of label"
                known = {"name": "within label", "float": None, "int8": share, "interval": None}
                scores.append({**accuracy, **known, "on": on})
        return {**found, "scores": scores}

    def figures(self, judged: Judged) -> dict[str, Any]:
        """Return ``confusion``, number of examples by class (row) and answer (column); ``mistakes``
        and ``thresholds``, see `micronas.objectives.mistakes`."""
        answers = softmax(judged.answers.logits)
        return confusion(judged) | {
            "mistakes": mistakes(judged.split, answers),
            "thresholds": thresholds(
                judged.split,
                answers,
                names=judged.names,
                ignored=judged.ignored,
                seconds=judged.seconds,
            ),
        }


CLASSES = Classes()


def class_numbers(labels: Tensor, *, classes: int | None = None) -> Tensor:
    """Return labels as int64 [N], or refuse labels that are no class numbers.

    Raises DataError if labels are no vector of whole numbers from 0, or `classes` is under 2 or too
    few.

    Parameters
    ----------
    classes
        Number of classes, or of a network's outputs; labels are 0 to ``classes - 1``.
    """
    is_whole = isinstance(labels, Tensor) and not (
        labels.is_floating_point() or labels.is_complex()
    )
    if not is_whole or labels.ndim != 1:
        found, way = str(type(labels)), "labels.long() where they are numbers of classes"
        if isinstance(labels, Tensor):
            found = f"{labels.dtype} {list(labels.shape)}"
            if labels.ndim == 2:  # a split holds rows as floats
                found = f"rows {list(labels.shape)}"
                one, many = "labels[:, 0].long()", "labels.argmax(1) where a row marks one class"
                way = one if labels.shape[1] == 1 else many
        raise DataError(
            f"labels must number classes, as a tensor of whole numbers [N], but are {found}; "
            f"pass {way}; measured values need a micronas.DataSet with objective=Regression(...), "
            "and several labels at once objective=Labels() (micronas.objectives)"
        )
    if classes is not None and classes < 2:
        raise DataError(
            f"there must be at least two classes to tell apart, but there is {classes}: every "
            "network would be right; add a class, or take objective=Regression(...) for measured "
            "values"
        )
    if len(labels) and (labels.min() < 0 or (classes is not None and labels.max() >= classes)):
        wanted = "0 or more" if classes is None else f"0 to {classes - 1}"
        raise DataError(
            f"labels must be {wanted}, but are {int(labels.min())} to {int(labels.max())}; number "
            "classes from 0, and name each in `classes`"
        )
    return labels.long()


def temperature_scaled_loss(
    logits: Tensor, labels: Tensor, *, sharpest: float = 0.25
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy at the best temperature, `sharpest` to 4, and that temperature.

    Networks differ in the size of their logits, most after few epochs and with smoothed labels, and
    raw cross-entropy prefers a wide last layer regardless of its accuracy. Gradients treat the
    temperature as a constant.
    """
    fixed = logits.detach()
    temperatures = _TEMPERATURES[_TEMPERATURES.ge(sharpest)].to(logits.device)
    losses = torch.stack([F.cross_entropy(fixed / value, labels) for value in temperatures])
    best = temperatures.index_select(0, losses.argmin().view(1)).squeeze(0)
    return F.cross_entropy(logits / best, labels), best


def softmax(logits: Floats) -> Floats:
    """Return probabilities [N, classes] of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Floats = powers / powers.sum(axis=1, keepdims=True)
    return total


def confusion(judged: Judged) -> dict[str, Any]:
    """Return ``confusion``, number of examples by class (row) and answer (column)."""
    labels, count = judged.split.labels.numpy(), len(judged.names)
    pairs = labels * count + judged.answers.codes.argmax(1)
    return {"confusion": np.bincount(pairs, minlength=count**2).reshape(count, count).tolist()}


def _right(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(1) == labels).double()


def _recall(logits: Tensor, labels: Tensor) -> list[float]:
    right = _right(logits, labels)
    return [right[labels == label].mean().item() for label in range(logits.shape[1])]


def _balanced(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the influences of the mean recall over the classes that have an example."""
    counts = torch.bincount(labels, minlength=logits.shape[1])
    right, present = _right(logits, labels), int((counts > 0).sum())
    recall = torch.tensor(_recall(logits, labels), dtype=torch.float64)
    mean = recall[counts > 0].mean()
    return mean + len(labels) * (right - recall[labels]) / counts[labels] / present


def _each(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return answers and labels as those of several labels of which one holds [N, classes]."""
    count = logits.shape[1]
    return F.one_hot(logits.argmax(1), count), F.one_hot(labels, count)


def _macro_f1(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the influences of the mean F1 over the classes that have an example or an answer."""
    return macro_f1(*_each(logits, labels))


def _by_name(judged: Judged, values: Sequence[float]) -> dict[str, float | None]:
    known = (None if math.isnan(value) else value for value in values)  # JSON has no nan
    return dict(zip(judged.names, known, strict=True))
