"""Classifiers of timm, at 96x96."""

from functools import partial
from typing import Any

from torch import nn

from benchmarks.zoo.entry import Entry

_OPTIONS: dict[str, dict[str, Any]] = {
    "mobilenetv3_small_050": {},
    "mobilenetv2_050": {},
    "efficientnet_lite0": {},
    "lcnet_050": {},
    "tinynet_e": {},
    "mobileone_s0": {},
    "ghostnet_050": {},
    "fbnetc_100": {},
    "repvgg_a0": {},
    "mobilenetv4_conv_small": {},
    "mixnet_s": {},
    "semnasnet_050": {},
    "hardcorenas_a": {},
    "resnet10t": {},
    "dla46_c": {},
    "edgenext_xx_small": {},
    "convnext_atto": {},
    "mobilevit_xxs": {},
    "deit_tiny_patch16_224": {"img_size": 96},
}


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    import timm

    return timm.create_model(name, pretrained=False, **options)


ENTRIES = [
    Entry(f"timm/{name}", partial(_build, name, options), ((3, 96, 96),))
    for name, options in _OPTIONS.items()
]
