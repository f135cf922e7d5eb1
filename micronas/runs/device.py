"""Parts of a run or model for firmware: front end, labels, decision, an example."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from micronas.errors import ConfigError
from micronas.export.firmware.application import Application, Value
from micronas.export.firmware.board import Emulated, with_memory_of
from micronas.export.firmware.front_ends import Camera
from micronas.export.firmware.host import OnHost
from micronas.graph import integer
from micronas.graph.ir import Graph, Tensor
from micronas.graph.kernels.codes import Values
from micronas.runs.finished import own
from micronas.runs.folder import CONFIG, DETECTOR, HISTORY, METRICS
from micronas.settings import read_mapping
from micronas.streaming.events import Detector
from micronas.tasks.device import front_end
from micronas.tasks.recorded import recordings
from micronas.text import listed
from micronas.tflite.metadata import IGNORED, read_metadata
from micronas.train.codes import quantize_inputs
from micronas.views import laid_out


@dataclass(frozen=True)
class _Device:
    """Meaning of a model, for firmware."""

    application: Application | None
    """Front end, labels and decision; None where the meaning of the input is unknown."""
    example: Values | None
    """Example of the input, int8 in its shape; None where the run stored none."""
    board: Emulated | None = None
    """Emulated board with the memory of the run's board; None where that is unknown."""
    engine: str | None = None
    """Engine of the network on the board, if a run gives it."""


def device(path: Path, data: bytes, graph: Graph, *, camera: Camera | None = None) -> _Device:
    """Return the meaning of a run folder's or a file's network, as far as known."""
    board = own(path).board
    emulated, engine = (None, None) if board is None else (with_memory_of(board), board.engine)
    if len(graph.inputs) != 1:
        return _Device(None, None, emulated, engine)
    described = read_metadata(data)
    shape = graph.tensors[graph.inputs[0]].shape
    meaning = described.get("input") or {}
    made = front_end(meaning, shape, camera=camera) if isinstance(meaning, dict) else None
    labels = [str(label) for label in described.get("labels", ())]
    application = None
    if made is not None:
        target = graph.tensors[graph.outputs[0]]
        decided = _decision(path, described.get("output") or {}, labels, target)
        application = Application(made, labels, *decided)
    codes = _stored(path / HISTORY, "example") if path.is_dir() else None
    example = None
    if isinstance(codes, list) and len(codes) == int(np.prod(shape)):
        example = np.array(codes, np.int64).astype(np.int8).reshape(shape)
    return _Device(application, example, emulated, engine)


def _decision(
    path: Path, output: Mapping[str, Any], labels: Sequence[str], target: Tensor
) -> tuple[Detector | Value, str]:
    """Return the decision on outputs, and the source of its thresholds.

    The model file gives the kind of outputs; thresholds are those chosen on recordings, or else on
    the run's validation part.
    """
    if output.get("is") == "value":
        mean, deviation = float(output["mean"]), float(output["deviation"])
        return Value(mean, deviation, str(output.get("unit", ""))), ""
    exclusive = output.get("is") != "each"
    if (path / DETECTOR).exists():
        chosen: Any = _stored(path / DETECTOR, "detector")
        detector = Detector.of(chosen)
        wanted = labels or [str(number) for number in range(target.elements)]
        known = chosen.get("labels", wanted)
        if known != wanted or len(detector.thresholds) != len(wanted):
            raise ConfigError(
                f"a detector must have a threshold for each of {listed(wanted)}, but "
                f"{path / DETECTOR} has {len(detector.thresholds)}, for {known}; delete it, or "
                "choose it anew by micronas listen"
            )
        return detector, "on recordings by micronas listen"
    stored, heard = (
        found if isinstance(found := _stored(path / METRICS, key), dict) else {}
        for key in ("decision", "listening")
    )
    hop = heard.get("hop_frames", 0)
    if heard.get("computes") == "windows" and hop == heard.get("stride_frames"):
        hop = 0  # a window for each score would cost far more than at the usual hop
    zero_point = 0 if target.quantization is None else int(target.quantization.zero_point)
    least = 1 if exclusive else zero_point + 1  # a label leads, or is likelier than not
    thresholds = stored.get("thresholds") or [least] * target.elements
    numbers = output.get("ignored")
    quiet: Sequence[str] = IGNORED
    if isinstance(numbers, list):
        quiet = [label for number, label in enumerate(labels) if number in numbers]
    ignored = stored.get("ignored", quiet) if exclusive else ()
    if len(labels) == len(thresholds):
        pairs = zip(labels, thresholds, strict=True)
        thresholds = [None if label in ignored else each for label, each in pairs]
    source = "on the validation part" if stored else ""
    own = {"thresholds": thresholds, "exclusive": exclusive, "hop": hop}
    return Detector.of({**stored, **own}), source


def _stored(path: Path, key: str) -> object:
    """Return a part of a run's file, or None without one."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError):
        return None


def compare_front_end(
    path: Path, data: bytes, graph: Graph, *, recordings_in: Path, count: int
) -> dict[str, Any] | None:
    """Run recordings through the generated C and training's Python, and count differences.

    Raises DataError if there are no recordings, and ExportError if there is no C compiler.

    Parameters
    ----------
    recordings_in
        Folder of files in the training data's form, or one file.

    Returns
    -------
    dict or None
        None where the meaning of the input is unknown.
    """
    found = device(path, data, graph)
    if found.application is None:
        return None
    front_end = found.application.front_end
    source = graph.tensors[graph.inputs[0]]
    assert source.quantization is not None, "the network is int8"
    meaning = meaning_of(path, data)
    recorded = recordings(recordings_in, meaning, front_end, count=count)
    given = torch.from_numpy(np.stack([each.features for each in recorded]).transpose(0, 3, 1, 2))
    height, width, channels = graph.tensors[graph.inputs[0]].shape[1:]
    given = laid_out(given, (height, width, channels))
    expected = quantize_inputs(graph, given)
    compiled = OnHost(front_end, source.quantization)
    codes = np.stack([compiled.codes(each.samples) for each in recorded]).reshape(expected.shape)
    python, device_side = (
        integer.run(graph, each).reshape(len(recorded), -1) for each in (expected, codes)
    )
    return {
        "front_end": front_end.kind,
        "recordings": len(recorded),
        "codes": int(codes.size),
        "differing_codes": int((codes != expected).sum()),
        "differing_decisions": int((python.argmax(1) != device_side.argmax(1)).sum()),
    }


def meaning_of(path: Path, data: bytes) -> dict[str, Any]:
    """Return the meaning of a model's input, with the columns that a run read: long names have no
    room in the file."""
    meaning: dict[str, Any] = read_metadata(data)["input"]
    stored = _stored(path / HISTORY, "data")
    own_names = stored.get("columns") if isinstance(stored, dict) else None
    columns = own_names or _data_of(path).get("columns")
    is_own = isinstance(columns, list) and len(columns) == len(meaning.get("mean", ()))
    return {**meaning, "columns": columns} if is_own else meaning


def _data_of(run: Path) -> Mapping[str, Any]:
    """Return a run's settings of data; none without its config."""
    data = read_mapping(run / CONFIG)[0].get("data") if (run / CONFIG).is_file() else None
    return data if isinstance(data, dict) else {}


def recordings_of(run: Path) -> Path | None:
    """Return the folder of a run's data, if its config gives one that exists."""
    data = _data_of(run)
    if "path" not in data:
        return None
    path = Path(str(data["path"]))
    # a CSV of labels names pictures in its folder
    folder = path.parent if data.get("task") in ("images", "vww") and path.is_file() else path
    return folder if folder.exists() else None
