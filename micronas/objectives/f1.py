"""F1 of classes and of labels, and the influence of each example on it."""

import torch
from torch import Tensor


def macro_f1(accepted: Tensor, targets: Tensor) -> Tensor:
    """Return the influences [N] of the mean F1 over the labels that hold or are accepted once."""
    scores, hits, all_ = f1_of(accepted, targets)
    total = all_.sum(0)
    some = total > 0
    off = (hits - scores * all_)[:, some] / total[some]
    return scores[some].mean() + len(targets) * off.mean(1)


def f1_of(accepted: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return F1 of each label, and its numerator's and denominator's terms [N, labels].

    The numerator is twice the right answers; the denominator counts labels held and accepted.
    """
    given, held = accepted.double(), targets.double()
    hits, all_ = 2 * given * held, given + held
    total = all_.sum(0)
    return torch.where(total > 0, hits.sum(0) / total.clamp(min=1), 0.0), hits, all_
