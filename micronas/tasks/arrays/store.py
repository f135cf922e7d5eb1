"""A data set as one `.npz`, so that a run on arrays can be repeated from its folder."""

import hashlib
import io
import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from micronas.data import Augment, DataSet, Split, Subset, TensorSplit
from micronas.errors import ConfigError, DataError
from micronas.files import write_atomically
from micronas.npz import read_arrays
from micronas.objectives.registry import from_plain, to_plain
from micronas.tasks.arrays.settings import ArraySettings

_PARTS = ("train", "validation", "test")
_FIELDS = ("inputs", "labels", "groups")
_BATCH = 256
_Arrays = dict[str, NDArray[Any]]


def digest(data: DataSet) -> str:
    """Return the SHA-256 of the arrays that `save` writes; raises as that does."""
    return _digest(_packed(data))


def save(data: DataSet, path: Path) -> None:
    """Write a data set's arrays, unless the file holds them already.

    Augmentation is stored by the name of its function. Raises ConfigError if the data set cannot be
    stored: it has `detection` or `final`, or an augmentation that is no function of a module.
    """
    arrays = _packed(data)
    if not path.is_file() or _digest(_read(path)) != _digest(arrays):
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(path, buffer.getvalue())


def _packed(data: DataSet) -> _Arrays:
    if data.detection is not None or data.final is not None:
        raise ConfigError(
            "a run on arrays must be repeatable, but `detection` and `final` of a data set are not "
            "written down; register a task of your own (micronas.tasks.registry.register)"
        )
    parts = dict(zip(_PARTS, (data.train, data.validation, data.test), strict=True))
    arrays: _Arrays = {}
    for name, split in parts.items():
        if split is not None:
            arrays |= {f"{name}_{key}": value for key, value in _arrays(split).items()}
    said = {
        "classes": list(data.classes),
        "input": list(data.input),
        "meaning": dict(data.meaning),
        "summary": data.summary,
        "augment": {name: _function(split) for name, split in parts.items() if split is not None},
        "objective": to_plain(data.objective),
        "mixup": {name: split.mixup for name, split in parts.items() if split is not None},
    }
    arrays["description"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    return arrays


def load(settings: ArraySettings) -> DataSet:
    """Read a file of `save`; DataError if it is missing, or holds other arrays than at first."""
    arrays = _read(settings.path)
    if settings.sha256 is not None and _digest(arrays) != settings.sha256:
        raise DataError(
            f"a run must go on with the arrays it began with, but {settings.path} holds others; "
            "put them back, or start another run"
        )
    try:
        said = json.loads(arrays["description"].tobytes())
        parts = [
            _split(name, arrays, said) if f"{name}_inputs" in arrays else None for name in _PARTS
        ]
        train, validation, test = parts
        if train is None or validation is None:
            raise KeyError("train or validation")
        return DataSet(
            train,
            validation,
            test,
            tuple(said["classes"]),
            tuple(said["input"]),
            said["meaning"],
            said["summary"],
            objective=from_plain(said["objective"]),
        )
    except (LookupError, ValueError, TypeError) as error:
        raise _foreign(settings.path, error) from error


def _arrays(split: Split) -> _Arrays:
    index = torch.arange(len(split.labels))
    inputs = torch.cat([split.batch(part, None) for part in torch.split(index, _BATCH)])
    values = dict(zip(_FIELDS, (inputs, split.labels, split.groups), strict=True))
    return {name: value.numpy() for name, value in values.items()}


def _split(name: str, arrays: _Arrays, said: dict[str, Any]) -> TensorSplit:
    inputs, labels, groups = (torch.from_numpy(arrays[f"{name}_{key}"]) for key in _FIELDS)
    augment = _found(said["augment"][name])
    return TensorSplit(inputs, labels, groups=groups, augment=augment, mixup=said["mixup"][name])


def _function(split: Split) -> str | None:
    """Return the ``module:name`` of a part's augmentation; None where there is none."""
    if isinstance(split, Subset):
        raise _unnamed("a Subset")
    if not isinstance(split, TensorSplit):
        raise _unnamed(type(split).__name__)
    augment = split.augment
    if augment is None:
        return None
    module, name = getattr(augment, "__module__", ""), getattr(augment, "__qualname__", "")
    found = f"{module}:{name}"
    try:
        if module != "__main__" and _found(found) is augment:
            return found
    except DataError:
        pass
    raise _unnamed(f"the augmentation {name or augment!r}")


def _found(name: str | None) -> Augment | None:
    if name is None:
        return None
    module, _, function = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"training windows are augmented by {name}, which cannot be imported ({error}); run "
            "where that module is"
        ) from error
    return found


def _unnamed(what: str) -> ConfigError:
    return ConfigError(
        f"a run on arrays must be repeatable, but {what} cannot be written down; give TensorSplits "
        "with an `augment` that is a function of a module, not of a script or a notebook"
    )


def _read(path: Path) -> _Arrays:
    try:
        arrays = read_arrays(path)
        if not isinstance(arrays, dict):
            raise ValueError("it holds one array without a name")
    except ValueError as error:
        raise _foreign(path, error) from error
    return arrays


def _digest(arrays: _Arrays) -> str:
    found = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {value.dtype.str} {value.shape} ".encode())
        found.update(value.tobytes())
    return found.hexdigest()


def _foreign(path: Path, error: Exception) -> DataError:
    return DataError(
        f"arrays of a run must be as micronas wrote them, but {path} cannot be read ({error}); "
        "give `data=` to run_search, which writes them, or put the file back"
    )
