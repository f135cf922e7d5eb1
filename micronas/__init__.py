"""Neural architecture search for microcontrollers.

Give micronas a data set and a board; it returns the most accurate int8 network that fits the
board's SRAM, flash and latency, as a TFLite Micro flatbuffer. The names below are loaded when
first used: importing micronas imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from micronas._version import VERSION

if TYPE_CHECKING:
    from micronas.architecture import Architecture
    from micronas.data import DataSet, TensorSplit
    from micronas.errors import MicronasError
    from micronas.export.module import to_tflite
    from micronas.export.tflite import to_flatbuffer
    from micronas.export.verify import verify
    from micronas.hardware.board import Board
    from micronas.layers import Network
    from micronas.nas.budget import Budget
    from micronas.nas.search import search
    from micronas.nas.settings import SearchSettings
    from micronas.nas.supernet import Supernet
    from micronas.search_space import SearchSpace
    from micronas.train.loop import evaluate, fit
    from micronas.train.quantize import finetune
    from micronas.train.recipe import Recipe

__version__ = VERSION

_HOMES = {
    "Architecture": "architecture",
    "Board": "hardware.board",
    "Budget": "nas.budget",
    "DataSet": "data",
    "MicronasError": "errors",
    "Network": "layers",
    "Recipe": "train.recipe",
    "SearchSettings": "nas.settings",
    "SearchSpace": "search_space",
    "Supernet": "nas.supernet",
    "TensorSplit": "data",
    "evaluate": "train.loop",
    "finetune": "train.quantize",
    "fit": "train.loop",
    "search": "nas.search",
    "to_flatbuffer": "export.tflite",
    "to_tflite": "export.module",
    "verify": "export.verify",
}

__all__ = [
    "Architecture",
    "Board",
    "Budget",
    "DataSet",
    "MicronasError",
    "Network",
    "Recipe",
    "SearchSettings",
    "SearchSpace",
    "Supernet",
    "TensorSplit",
    "__version__",
    "evaluate",
    "finetune",
    "fit",
    "search",
    "to_flatbuffer",
    "to_tflite",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'micronas' has no attribute {name!r}")
    return getattr(import_module(f"micronas.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
