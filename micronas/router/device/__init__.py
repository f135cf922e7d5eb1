"""Composition of Experts on the microcontroller: a tiny router network and expert networks.

The two steps are those of the language models: the router says a category, the category has an
expert, unsure inputs go to the general expert. Experts are int8 networks in flash that take turns
in one tensor arena. Training them (`micronas.router.device.compose`) imports torch; this does not.
"""

from micronas.router.device.composition import (
    Composition,
    CompositionCosts,
    DeviceExpert,
    Prediction,
    scores,
    with_softmax,
)
from micronas.router.device.project import write_composition

__all__ = [
    "Composition",
    "CompositionCosts",
    "DeviceExpert",
    "Prediction",
    "scores",
    "with_softmax",
    "write_composition",
]
