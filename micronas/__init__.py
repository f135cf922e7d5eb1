"""Neural architecture search for microcontrollers.

Give micronas a data set and a board; it returns the most accurate int8 network that fits the
board's SRAM, flash and latency, as a TFLite Micro flatbuffer. The names below are loaded when
first used: importing micronas imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from micronas._version import VERSION

if TYPE_CHECKING:
    from micronas.data import DataSet as DataSet
    from micronas.data import TensorSplit as TensorSplit
    from micronas.errors import MicronasError as MicronasError
    from micronas.evaluation.files import evaluate as evaluate
    from micronas.export.from_torch.module import to_tflite as to_tflite
    from micronas.export.from_torch.trace import trace as trace
    from micronas.export.verify import verify as verify
    from micronas.hardware.board import Board as Board
    from micronas.hardware.costs import Budget as Budget
    from micronas.nas.convert import ConvertedSpace as ConvertedSpace
    from micronas.nas.convert import convert as convert
    from micronas.nas.custom_loop import SearchBudget as SearchBudget
    from micronas.nas.custom_loop import Supernet as Supernet
    from micronas.nas.search import search as search
    from micronas.nas.settings import SearchSettings as SearchSettings
    from micronas.runs.front import Run as Run
    from micronas.runs.front import run as run
    from micronas.space.open_space import OpenSpace as OpenSpace
    from micronas.space.open_space import load_space as load_space
    from micronas.space.space import Space as Space
    from micronas.sweeps.sweep import sweep as sweep
    from micronas.tflite.writer import to_flatbuffer as to_flatbuffer
    from micronas.train.finetune import finetune as finetune
    from micronas.train.loop import fit as fit
    from micronas.train.network import Network as Network
    from micronas.train.quantize import QuantizedNetwork as QuantizedNetwork
    from micronas.train.recipe import Recipe as Recipe

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

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'micronas' has no attribute {name!r}")
    return getattr(import_module(f"micronas.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
