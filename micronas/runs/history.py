"""Records of a run for its report: `history.json`, beside the metrics.

The run itself does not read it, and no figure of `metrics.json` depends on it.
"""

import platform
import shlex
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from micronas._version import VERSION
from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Subset
from micronas.evaluation.layers import compare, layers_view
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.nas.search import SearchResult
from micronas.space.space import Space
from micronas.splits import evenly

_HISTORY_VERSION = 1
History = dict[str, Any]
_WATCHED = 1000
_COMPARED = 32
"""Number of examples on which layers are compared: all their activations are held at once."""


def watched(data: DataSet) -> Subset:
    """Return the validation examples to measure after every epoch: 1,000 at most."""
    return Subset(data.validation, evenly(data.validation, _WATCHED))


def training_history(
    *, board: Board, data: DataSet, checkpoint: Checkpoint, outcome: dict[str, Any]
) -> History:
    """Describe a finished training.

    Returns
    -------
    dict
        ``version``; ``made``, the command and versions; ``board``, as its YAML; ``data``, examples
        by part and names of channels; ``training``, epochs of ``train`` and ``quantize``;
        ``outcome``, see `micronas.objectives.base.Objective.figures`.
    """
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    epochs = {name: (checkpoint.load(name) or {}) for name in ("train", "quantize")}
    return {
        "version": _HISTORY_VERSION,
        "made": {
            "command": shlex.join(sys.orig_argv),
            "micronas": VERSION,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "machine": f"{platform.system()} {platform.machine()}",
        },
        "board": board.model_dump(mode="json", exclude_none=True),
        "data": {
            "summary": data.summary,
            "examples": {name: len(part.labels) for name, part in parts.items() if part},
            "columns": data.meaning.get("columns", []),
        },
        "training": {name: state.get("history", []) for name, state in epochs.items()},
        "outcome": outcome,
    }


def search_history(result: SearchResult) -> History:
    """Describe a finished search.

    Returns
    -------
    dict
        ``space``, as its YAML, where it has one; of several families, the winner's;
        ``choice``, the option of each decision by its name; ``network``, the chosen one block by
        block (`Searchable.drawing`); ``gates``, where there are some: ``decisions`` (name and
        options) and ``rounds``, the probabilities [round][decision][option].
    """
    winner, space = result.winner, result.winner.space
    history: History = {"choice": winner.decisions, "network": space.drawing(winner.choice)}
    if isinstance(space, Space):
        history["space"] = space.model_dump(mode="json")
    if result.gates:
        history["gates"] = {
            "decisions": [{"name": each.name, "options": each.labels} for each in space.decisions],
            "rounds": [[row[each.name] for each in space.decisions] for row in result.gates],
        }
    return history


def layer_history(
    float_graph: Graph, int8_graph: Graph, inputs: npt.NDArray[np.int8]
) -> dict[str, Any]:
    """Describe float against int8 layer by layer, like ``micronas verify --layers --json``."""
    few = inputs[:_COMPARED]
    errors = compare(float_graph, int8_graph, few)
    return layers_view(errors, reference="trained float network", samples=len(few))
