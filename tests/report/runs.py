"""Finished runs to report on: two real ones on small data, and hand-made metrics."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from micronas.data import Detection, TensorSplit
from micronas.objectives.anomalies import Anomalies
from micronas.runs.run import run_search, run_training
from micronas.runs.settings import load_run, load_training
from micronas.train.recipe import Recipe
from tests import toy
from tests.kept import kept
from tests.nas.brief import brief

SHORT = ("board=stm32f446re", "data.path=x", "data.task=kws", "budget.latency=50 ms")
TRAINING = (
    "train={epochs: 2, batch_size: 32}",
    "quantize={epochs: 1, batch_size: 16, learning_rate: 0.001}",
)
_BRIEF = {"steps": 60, "warmup": 10, "batch_size": 16, "candidates": 4, "finalists": 1, "draws": 4}
NASTY = '</script><img src="https://example.org/x" onerror="globalThis.hacked=1">@DATA@\u2028'
NAMES = (NASTY, "rows", "co<l>umns", "checks & balances")


def searched(
    folder: Path, classes: tuple[str, ...] = toy.CLASSES, *, strategy: str = "dnas"
) -> Path:
    """A search on stripes and checks, with class names of one's choice."""
    space = folder.with_suffix(".yaml")
    toy.SMALL.save(space)
    data = replace(toy.few(), classes=classes)
    settings = load_run(space, [*SHORT, f"search.strategy={strategy}", *TRAINING])
    search = brief(strategy, **_BRIEF, champions=2, trial=Recipe(epochs=1, batch_size=16))
    settings = settings.model_copy(update={"search": search})
    run_search(settings, folder, data=data, workers=1)
    return folder


def found(factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search by gates, which tests only read."""
    return kept(factory, "found", lambda folder: searched(folder, NAMES))


def estimated(folder: Path) -> Path:
    """A network that was given, for a board on which nobody measured arena, code or time."""
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.3))
    settings = load_training(None, [*SHORT, *TRAINING, "board=esp32s3"])
    run_training(network, settings, folder, data=toy.data())
    return folder


def listening(folder: Path) -> Path:
    """A network that was given, trained to tell machines apart, and judged by AUC."""
    plain = toy.data()
    windows = toy.split(160, 3)
    machine = torch.arange(80) % 4
    split = TensorSplit(windows.inputs, machine.repeat_interleave(2))
    detection = Detection(
        split, torch.arange(160) // 2, machine, torch.arange(80) % 8 < 4, plain.classes
    )
    data = replace(plain, detection=detection, objective=Anomalies())
    network = toy.SPACE.architecture(toy.SPACE.uniform(0.5))
    settings = load_training(None, [*SHORT, *TRAINING, "data.task=ad"])
    run_training(network, settings, folder, data=data)
    return folder


def measured(*, score: str = "accuracy", int8: float = 0.5, **values: Any) -> dict[str, Any]:
    """Metrics made by hand: the least there must be."""
    main = {"name": score, "unit": "share", "larger": True, "float": 0.75, "int8": int8}
    metrics = {
        "board": "stm32f446re",
        "engine": "tflm",
        "network": "24; 24 24",
        "macs": 600_000,
        "flash_bytes": 14_000,
        "arena_bytes": 10_000,
        "arena_is_upper_bound": False,
        "arena_assumes": None,
        "host_arena_bytes": 12_000,
        "latency_ms": 33.5,
        "latency_form": "instructions",
        "energy_mj": None,
        "objective": "classes",
        "judged_on": "test",
        "scores": [{**main, "on": "test"}],
        "tflm_mismatches": 0,
        "tflm_bytes_compared": 150,
        "budget": {"sram": 16_000.0, "flash": 20_000.0, "latency": 40.0},
        "used": {"sram": 0.75, "flash": 0.7, "latency": 0.8375},
        "fits": True,
        "fits_estimates": [],
        "device": {"beside": {}},
        "listening": None,
    }
    return metrics | values


def by_hand(folder: Path, **values: Any) -> Path:
    """A run folder that holds nothing but metrics."""
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(measured(**values)))
    return folder
