"""Scores of logits: accuracy, cross-entropy, and that at the best temperature."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.data import class_numbers

_TEMPERATURES = torch.tensor([2 ** (step / 8) for step in range(-16, 17)])


@dataclass(frozen=True)
class Scores:
    """Scores of a network on a split."""

    accuracy: float
    loss: float
    """Cross-entropy."""
    per_class: tuple[float, ...]
    """Accuracy on the examples of each class; nan for a class without any."""

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "Scores":
        """Score logits float [n, classes] by labels int64 [n].

        Raises
        ------
        DataError
            If labels do not number the outputs, see `micronas.data.class_numbers`.
        """
        labels = class_numbers(labels, classes=logits.shape[1])
        right = logits.argmax(1) == labels
        return cls(
            accuracy=right.double().mean().item(),
            loss=F.cross_entropy(logits, labels).item(),
            per_class=tuple(
                right[labels == label].double().mean().item() for label in range(logits.shape[1])
            ),
        )


def temperature_scaled_loss(
    logits: Tensor, labels: Tensor, *, sharpest: float = 0.25
) -> tuple[Tensor, Tensor]:
    """Cross-entropy at the best temperature, `sharpest` to 4, and that temperature.

    Networks differ in the size of their logits, most after few epochs and with smoothed labels, and
    raw cross-entropy prefers a wide last layer whatever its accuracy. Gradients take the
    temperature as given.
    """
    fixed = logits.detach()
    temperatures = _TEMPERATURES[_TEMPERATURES.ge(sharpest)].to(logits.device)
    losses = torch.stack([F.cross_entropy(fixed / value, labels) for value in temperatures])
    best = temperatures.index_select(0, losses.argmin().view(1)).squeeze(0)
    return F.cross_entropy(logits / best, labels), best
