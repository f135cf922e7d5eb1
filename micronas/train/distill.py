"""Knowledge distillation: a small network learns from a large one's outputs as well as labels."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from micronas.errors import ConfigError
from micronas.objectives.base import Objective
from micronas.objectives.classes import CLASSES
from micronas.train.loop import Loss


def distillation(
    teacher: nn.Module,
    *,
    objective: Objective = CLASSES,
    coefficient: float = 0.5,
    temperature: float = 4.0,
    label_smoothing: float = 0.0,
) -> Loss:
    """Return a loss with a teacher for `micronas.train.loop.fit`.

    ``(1 - c) cross_entropy(z, labels) + c T^2 KL(softmax(t / T) || softmax(z / T))`` for logits z
    of the student and t of the teacher; T^2 keeps the second term's gradients at the size of the
    first's. Raises ConfigError if a number is out of its range, or, from the loss, if the teacher's
    logits have another shape than the student's.

    Parameters
    ----------
    teacher
        Module from the student's inputs, float32 [n, channels, height, width] and augmented, to
        logits [n, classes]; wrap one of another input size or range in a module that converts. It
        runs in eval mode, without gradients.
    coefficient
        c, 0 to 1; with 0 the teacher does not run.
    temperature
        T, above 0.
    label_smoothing
        Label smoothing of the cross-entropy.

    References
    ----------
    G. Hinton et al., "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. Coefficient
    0.5 and temperature 4 are those of MicroNets, arXiv 2010.11267, section 5.2.1.
    """
    if not 0 <= coefficient <= 1:
        raise ConfigError(
            f"the distillation coefficient must be in 0 to 1: coefficient={coefficient:g}; "
            "the paper's is 0.5"
        )
    if not temperature > 0:
        raise ConfigError(
            f"the distillation temperature must be above 0: temperature={temperature:g}; "
            "the paper's is 4"
        )

    def loss(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        hard = objective.loss(logits, labels, smoothing=label_smoothing)
        if coefficient == 0:
            return hard
        teacher.to(inputs.device).eval()
        with torch.no_grad():
            taught = teacher(inputs)
        if taught.shape != logits.shape:
            raise ConfigError(
                "a teacher must have the student's classes: its logits are "
                f"{tuple(taught.shape)}, the student's {tuple(logits.shape)}; wrap it in a module "
                "that selects them"
            )
        soft = F.kl_div(
            F.log_softmax(logits / temperature, 1),
            F.log_softmax(taught / temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - coefficient) * hard + coefficient * temperature**2 * soft

    return loss
