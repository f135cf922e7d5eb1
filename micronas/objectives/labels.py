"""Multi-label classification: any number of labels hold at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.errors import DataError
from micronas.objectives.base import Decides, Judged, Measure, Objective
from micronas.objectives.f1 import f1_of, macro_f1
from micronas.objectives.intervals import odds_interval


@dataclass(frozen=True)
class Labels(Objective):
    """Binary cross-entropy of each label; mean average precision and F1.

    Mean average precision ranks trials: it needs no thresholds, which are chosen after training; F1
    at other thresholds would measure calibration.
    """

    name: ClassVar[str] = "labels"
    decides: ClassVar[Decides] = "each"
    rank_by: str = "map"

    @property
    def measures(self) -> Mapping[str, Measure]:
        return {
            "map": Measure("mean average precision", _mean_average_precision),
            # labels are accepted above a probability of 0.5
            "macro_f1": Measure("macro F1", lambda outputs, held: macro_f1(outputs > 0, held)),
        }

    def check(self, targets: Tensor, outputs: int | None = None) -> Tensor:
        if targets.ndim != 2 or not bool(((targets == 0) | (targets == 1)).all()):
            raise DataError(
                "targets must say of each label whether it holds, 0 or 1 [N, labels], but are "
                f"{targets.dtype} {list(targets.shape)}"
                f"{'' if targets.ndim != 2 else ' with other numbers'}; make a column of 0 and 1 "
                "for each label"
            )
        if outputs is not None and targets.shape[1] != outputs:
            raise DataError(
                f"targets must have a column for each label, but have {targets.shape[1]} of "
                f"{outputs}; name each in `classes`"
            )
        return targets.float()

    def fitted(self, targets: Tensor, names: Sequence[str]) -> "Labels":
        for name, column in zip(names, targets.T, strict=True):
            if len(column) and (column == column[0]).all():
                what = "every" if column[0] else "no"
                raise DataError(
                    "each label must hold for some training examples and not for others, but "
                    f"{name!r} holds for {what} one of {len(column)}; leave it out, or add examples"
                )
        return self

    def counted(self, targets: Tensor, names: Sequence[str]) -> dict[str, int]:
        held = dict(zip(names, targets.sum(0).long().tolist(), strict=True))
        return {**held, "none": int((targets.sum(1) == 0).sum()), "examples": len(targets)}

    def rarest(self, targets: Tensor) -> int:
        held = targets.sum(0)
        counts = torch.minimum(held, len(targets) - held)[held > 0]
        return int(counts.min()) if len(counts) else 0

    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        soft = targets.float() * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, soft)

    def chance(self, outputs: int) -> float:
        return float(np.log(2))

    def decision(
        self, codes: npt.NDArray[np.int8], targets: Tensor, *, features: object
    ) -> dict[str, Any]:
        """Return ``thresholds``: the least code of each label that accepts it, by the best F1."""
        held = targets.numpy() > 0
        columns = zip(codes.T.astype(np.int64), held.T, strict=True)
        return {"kind": self.decides, "thresholds": [_threshold(*each) for each in columns]}

    def described(self) -> dict[str, Any]:
        return {"is": self.decides}

    def metrics(self, judged: Judged) -> dict[str, Any]:
        found = super().metrics(judged)
        targets, names = judged.split.labels, judged.names
        accepted = self._accepted(judged)
        # the same thresholds as real numbers for the float network
        edges = torch.tensor(judged.decision["thresholds"], dtype=torch.float64) - 0.5
        real = judged.answers.real.double() > judged.answers.scale * (
            edges - judged.answers.zero_point
        )
        values = macro_f1(accepted, targets)
        interval = super().interval(values, judged)
        precision, f1 = found["scores"]
        f1 |= {
            "float": macro_f1(real, targets).mean().item(),
            "int8": values.mean().item(),
            "interval": interval and self.measures["macro_f1"].within(interval),
            "on": f"at thresholds of validation, {judged.on}",
        }
        per_label = {
            name: average_precision(outputs, held)[0] if held.any() else None
            for name, outputs, held in zip(names, judged.answers.int8.T, targets.T, strict=True)
        }
        return found | {
            "float_macro_f1": f1["float"],
            "int8_macro_f1": f1["int8"],
            "int8_macro_f1_interval": f1["interval"],
            "int8_average_precision_per_label": per_label,
            "int8_f1_per_label": dict(
                zip(names, f1_of(accepted, targets)[0].tolist(), strict=True)
            ),
            "scores": [precision, f1],
        }

    def interval(self, values: Tensor, judged: Judged) -> list[float] | None:
        found = super().interval(values, judged)
        return found and odds_interval(found)

    def figures(self, judged: Judged) -> dict[str, Any]:
        """Return ``labels``: ``name``, number of ``examples``, and of answers ``right``, ``missed``
        and ``false``, of each."""
        accepted, held = self._accepted(judged), judged.split.labels > 0
        return {
            "labels": [
                {
                    "name": name,
                    "examples": int(held[:, place].sum()),
                    "right": int((accepted & held)[:, place].sum()),
                    "missed": int((~accepted & held)[:, place].sum()),
                    "false": int((accepted & ~held)[:, place].sum()),
                }
                for place, name in enumerate(judged.names)
            ]
        }

    def _accepted(self, judged: Judged) -> Tensor:
        thresholds = np.array(judged.decision["thresholds"])
        return torch.from_numpy(judged.answers.codes.astype(np.int64) >= thresholds)


def average_precision(scores: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """Return the average precision of one label, and the influence of each example.

    Precision is averaged over the examples that have the label, at the score of each; equal scores
    share a threshold, as in scikit-learn's ``average_precision_score``.

    Parameters
    ----------
    scores
        Scores [N], more is surer.
    targets
        Targets, 0 or 1 [N].

    Returns
    -------
    float and Tensor
        nan without an example that has the label; influences float64 [N] with mean 0.
    """
    scores, held = scores.double(), targets.double()
    total = held.sum()
    if not total:
        return float("nan"), torch.zeros_like(scores)
    levels, place = torch.unique(scores, return_inverse=True)
    at, right_at = (
        torch.zeros(len(levels), dtype=torch.float64).index_add_(0, place, each)
        for each in (torch.ones_like(held), held)
    )
    # from the highest score down: accepted so far, and right so far
    accepted, right = (each.flip(0).cumsum(0).flip(0) for each in (at, right_at))
    precision = right / accepted
    average = (right_at * precision).sum() / total
    # an example moves the precision at its own score and at each lower one
    gained = (right_at / accepted).cumsum(0)
    lost = (right_at * precision / accepted).cumsum(0)
    own = held * (precision[place] - average)
    return float(average), len(scores) * (own + held * gained[place] - lost[place]) / total


def _mean_average_precision(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the influences of the mean average precision over the labels that have an example.

    Without one they are 0, as in scikit-learn: JSON has no nan.
    """
    found = [average_precision(*each) for each in zip(outputs.T, targets.T, strict=True)]
    known = [(value, influence) for value, influence in found if value == value]
    if not known:
        return torch.zeros(len(targets), dtype=torch.float64)
    mean = sum(value for value, _ in known) / len(known)
    return mean + torch.stack([influence for _, influence in known]).mean(0)


def _threshold(codes: npt.NDArray[np.int64], held: npt.NDArray[np.bool_]) -> int:
    """Return the least code that accepts a label, by the best F1; the middle of equally good."""
    levels = np.arange(-128, 129)
    right = (held.sum() - np.searchsorted(np.sort(codes[held]), levels)).astype(float)
    accepted = len(codes) - np.searchsorted(np.sort(codes), levels)
    f1 = 2 * right / np.maximum(accepted + held.sum(), 1)
    # a label that no example has is accepted by none: any code would be as good by F1
    best = np.flatnonzero(f1 == f1.max() if held.any() else accepted == 0)
    return int(levels[best[len(best) // 2]])
