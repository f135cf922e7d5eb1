"""A user's own network and data as functions, which a sweep's workers call by their names."""

from typing import Any

import torch

import micronas
from micronas.data import DataSet
from tests import toy
from tests.nas.own_networks import DSCNN

QUICK = {"epochs": 1, "batch_size": 16}
RUN = {
    "board": "stm32f446re",
    "data": {"task": "kws"},
    "search": {
        "strategy": "dnas",
        "steps": 10,
        "warmup": 10,
        "batch_size": 8,
        "candidates": 3,
        "finalists": 1,
        "trial": QUICK,
    },
    "train": QUICK,
    "quantize": QUICK,
}
BUDGETS = {"budget.latency": ["1.8 ms", "3 ms"]}


def space() -> micronas.ConvertedSpace:
    return micronas.convert(DSCNN(len(toy.CLASSES)), torch.zeros(1, 1, 12, 12))


def data() -> DataSet:
    parts = [toy.split(count, seed) for seed, count in enumerate((120, 40, 40))]
    return DataSet(*parts, toy.CLASSES, (12, 12, 1))


OWN: dict[str, Any] = {"space": space, "data": data}
"""For a sweep."""
