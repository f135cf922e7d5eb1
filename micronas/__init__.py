"""Neural architecture search for microcontrollers.

Give micronas a data set and a board; it returns the most accurate int8 network that fits the
board's SRAM, flash and latency, as a TFLite Micro flatbuffer. The names below are loaded when
first used: importing micronas imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from micronas._version import VERSION

if TYPE_CHECKING:
    from micronas.data import DataSet, TensorSplit
    from micronas.errors import MicronasError
    from micronas.evaluation.files import evaluate
    from micronas.export.from_torch.module import to_tflite
    from micronas.export.from_torch.trace import trace
    from micronas.export.verify import verify
    from micronas.hardware.board import Board
    from micronas.hardware.costs import Budget
    from micronas.nas.convert import ConvertedSpace, convert
    from micronas.nas.custom_loop import SearchBudget, Supernet
    from micronas.nas.search import search
    from micronas.nas.settings import SearchSettings
    from micronas.runs.front import Run, run
    from micronas.space.open_space import OpenSpace, load_space
    from micronas.space.space import Space
    from micronas.sweeps.sweep import sweep
    from micronas.tflite.writer import to_flatbuffer
    from micronas.train.finetune import finetune
    from micronas.train.loop import fit
    from micronas.train.network import Network
    from micronas.train.quantize import QuantizedNetwork
    from micronas.train.recipe import Recipe

__version__ = VERSION

_HOMES = {
    "Board": "hardware.board",
    "Budget": "hardware.costs",
    "ConvertedSpace": "nas.convert",
    "DataSet": "data",
    "MicronasError": "errors",
    "Network": "train.network",
    "OpenSpace": "space.open_space",
    "QuantizedNetwork": "train.quantize",
    "Recipe": "train.recipe",
    "Run": "runs.front",
    "SearchBudget": "nas.custom_loop",
    "SearchSettings": "nas.settings",
    "Space": "space.space",
    "Supernet": "nas.custom_loop",
    "TensorSplit": "data",
    "convert": "nas.convert",
    "evaluate": "evaluation.files",
    "finetune": "train.finetune",
    "fit": "train.loop",
    "load_space": "space.open_space",
    "run": "runs.front",
    "search": "nas.search",
    "sweep": "sweeps.sweep",
    "to_flatbuffer": "tflite.writer",
    "to_tflite": "export.from_torch.module",
    "trace": "export.from_torch.trace",
    "verify": "export.verify",
}

__all__ = [
    "Board",
    "Budget",
    "ConvertedSpace",
    "DataSet",
    "MicronasError",
    "Network",
    "OpenSpace",
    "QuantizedNetwork",
    "Recipe",
    "Run",
    "SearchBudget",
    "SearchSettings",
    "Space",
    "Supernet",
    "TensorSplit",
    "__version__",
    "convert",
    "evaluate",
    "finetune",
    "fit",
    "load_space",
    "run",
    "search",
    "sweep",
    "to_flatbuffer",
    "to_tflite",
    "trace",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'micronas' has no attribute {name!r}")
    return getattr(import_module(f"micronas.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
