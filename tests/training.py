"""Training on each device that torch finds, the CPU among them.

Tests that take `fit`, `finetune`, `search` and `run_search` from here, with the fixture `device`
around them, run once for each.
"""

import os
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch

from micronas.data import DataSet
from micronas.nas import search as searching
from micronas.runs import run as running
from micronas.runs.settings import RunSettings
from micronas.train import finetune as finetuning
from micronas.train import loop
from micronas.train.devices import devices

DEVICES = devices()
_TOLD = "MICRONAS_TEST_DEVICE"
"""To processes that tests start."""
_taken = {"device": os.environ.get(_TOLD, "cpu")}


def take(device: str) -> None:
    """Train there from now on."""
    _taken["device"] = os.environ[_TOLD] = device


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Call a function once for each device and arguments."""

    @cache
    def called(device: str, *arguments: Any) -> Any:
        return function(*arguments)

    return wraps(function)(lambda *arguments: called(_taken["device"], *arguments))


def fit(module: Any, split: Any, recipe: Any, **more: Any) -> Any:
    return loop.fit(module, split, recipe, **{"device": torch.device(_taken["device"])} | more)


def finetune(network: Any, split: Any, *recipe: Any, **more: Any) -> Any:
    return finetuning.finetune(
        network, split, *recipe, **{"device": torch.device(_taken["device"])} | more
    )


def search(space: Any, data: DataSet, **more: Any) -> searching.SearchResult:
    """Search in this process: a fork of one with all tests in it takes longer than their trials."""
    return searching.search(space, data, **{"workers": 1} | _taken | more)


def run_search(settings: RunSettings, *folder: Any, **more: Any) -> Any:
    more = {"workers": 1} | more
    return running.run_search(settings.model_copy(update=_taken), *folder, **more)
