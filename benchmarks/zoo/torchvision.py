"""Classifiers of torchvision, at 96x96."""

from functools import partial
from typing import Any

from torch import nn

from benchmarks.zoo.entry import Entry

_OPTIONS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {},
    "mobilenet_v3_small": {},
    "shufflenet_v2_x0_5": {},
    "squeezenet1_1": {},
    "mnasnet0_5": {},
    "efficientnet_b0": {},
    "resnet18": {},
    "regnet_x_400mf": {},
    "densenet121": {},
    "googlenet": {"aux_logits": False, "init_weights": False},
}


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None, **options)


ENTRIES = [
    Entry(f"torchvision/{name}", partial(_build, name, options), ((3, 96, 96),))
    for name, options in _OPTIONS.items()
]
