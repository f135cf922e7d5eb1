"""Metadata of a model file beside the network: its labels and the meaning of its input.

The description is JSON padded to a size that depends on the numbers of labels and input channels
alone, so that the size of a candidate's file is known before there is a data set.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import ai_edge_litert.schema_py_generated as schema

from micronas._version import VERSION
from micronas.errors import ExportError, ModelError

_KEY = "micronas"
"""Name of the entry in the flatbuffer."""
IGNORED = ("silence", "unknown")
"""Labels that make no event, where a model file does not number them under ``ignored``."""
_BYTES = 256
_BYTES_PER_LABEL = 24
_BYTES_PER_CHANNEL = 24
"""Bytes of a channel's name, mean and deviation; `_BYTES` has room for three channels."""


def describe(
    *,
    classes: Sequence[str],
    meaning: Mapping[str, Any],
    channels: int = 1,
    outputs: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Return the ``metadata`` of `to_flatbuffer` that describes a model.

    Parameters
    ----------
    classes
        Labels in the order of the outputs.
    meaning
        Meaning of the input in JSON values: ``{"features": "mfcc", "window_ms": 40}``, or mean and
        scale of the numbers fed. ``columns``, the names of channels, are left out where they have
        no room.
    outputs
        Meaning of outputs other than classes; see `micronas.objectives.base.Objective`.

    Raises
    ------
    ExportError
        If the description exceeds 256 bytes, 24 more per label and per channel beyond three.
    """
    size = _size(len(classes), channels)
    content: dict[str, Any] = {"version": VERSION, "labels": [*classes], "input": dict(meaning)}
    if outputs:
        content["output"] = dict(outputs)
    text = _written(content)
    if len(text) > size and "columns" in meaning:
        del content["input"]["columns"]
        text = _written(content)
    if len(text) > size:
        raise ExportError(
            f"labels and meaning of the input must fit in {size} bytes of JSON, but take "
            f"{len(text)}; shorten the labels"
        )
    return {_KEY: text.ljust(size)}


def placeholder(classes: int, channels: int = 1) -> dict[str, bytes]:
    """Return blank metadata of the size that `describe` gives a model of these dimensions."""
    return {_KEY: b" " * _size(classes, channels)}


def entries(data: bytes) -> dict[str, bytes]:
    """Return the entry of micronas in a ``.tflite`` file as stored; {} if there is none.

    Raises ModelError if the file is damaged.
    """
    try:
        model = schema.Model.GetRootAs(data, 0)
        for position in range(min(model.MetadataLength(), len(data) // 4)):
            entry = model.Metadata(position)
            if entry.Name() == _KEY.encode():
                return {_KEY: model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()}
    except (struct.error, LookupError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(error) from error
    return {}


def read_metadata(data: bytes) -> dict[str, Any]:
    """Return the description in a ``.tflite`` file: version, labels, input and output.

    It is {} if another tool wrote the file. Raises ModelError if the file is damaged.
    """
    blob = entries(data).get(_KEY)
    if blob is None:
        return {}
    try:
        found = json.loads(blob)
        labels = [str(label) for label in found["labels"]]
        outputs = {"output": dict(found["output"])} if "output" in found else {}
        described = {"version": str(found["version"]), "labels": labels}
        return {**described, "input": dict(found["input"]), **outputs}
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise _damaged(error) from error


def _written(content: Mapping[str, Any]) -> bytes:
    plain = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return plain.encode("utf-8", "backslashreplace")  # as JSON writes half a surrogate pair


def _size(classes: int, channels: int) -> int:
    return _BYTES + _BYTES_PER_LABEL * classes + _BYTES_PER_CHANNEL * max(channels - 3, 0)


def _damaged(error: Exception) -> ModelError:
    return ModelError(
        f"a model's metadata must be as micronas writes it, but this is damaged "
        f"({type(error).__name__}); export or download the model again"
    )
