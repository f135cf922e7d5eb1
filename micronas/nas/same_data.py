"""Compare the data of runs, without keeping it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.splits import Split, evenly

_SECTION, _COMPARED = "data", 100
"""Section of a checkpoint on the data, and the most inputs of a part that are compared."""
_CLOSE = 1e-3
"""Difference of inputs on another computer, as a share."""


def looked_at(data: DataSet, *, judging: bool) -> Iterator[tuple[Split, Tensor]]:
    """Yield the parts of a data set, each with a few of its inputs.

    `judging` says whether parts that only judge count.
    """
    for part in data.parts(judging=judging):
        yield part, part.batch(evenly(part, _COMPARED), None)


def _identity(data: DataSet, *, judging: bool) -> State:
    """Return a hash of labels and groups, and means and deviations of a few inputs."""
    digest, seen = hashlib.sha256(), []
    for part, given in looked_at(data, judging=judging):
        digest.update(part.labels.numpy().tobytes() + part.groups.numpy().tobytes())
        inputs = given.flatten(1)
        seen.append(torch.stack([inputs.mean(1), inputs.std(1, correction=0)]))
    return {"sha256": digest.hexdigest(), "moments": torch.cat(seen, 1)}


def of_same_data(
    checkpoint: Checkpoint, data: DataSet, path: Path | str, *, judging: bool = False
) -> Checkpoint:
    """Return the state of earlier attempts, or raise ConfigError where they were on other data.

    Their networks have trained on other examples, among them some that now test them. Labels and
    groups must be equal, and a few inputs of each part as close as on another computer. The test
    part of one run may change: it is judged anew. With `judging` it must be the same, too: scores
    of several runs are compared.
    """
    found = _identity(data, judging=judging)
    known = checkpoint.load(_SECTION) or found
    least = _CLOSE * float(known["moments"][1].mean())
    is_close = known["sha256"] == found["sha256"] and torch.allclose(
        known["moments"], found["moments"], _CLOSE, least
    )
    if not is_close:
        raise ConfigError(
            f"a run must go on with the data it began with, but that of {path} has changed "
            "since; name another path, or delete it"
        )
    checkpoint.note(_SECTION, known)
    return checkpoint


def check_sweep(file: Path, data: DataSet) -> None:
    """Raise ConfigError if the data is not that of the runs that wrote the file before."""
    checkpoint = Checkpoint(file, yields=True)
    if checkpoint.load(_SECTION) is None:
        checkpoint.save(_SECTION, _identity(data, judging=True))
    else:
        of_same_data(checkpoint, data, file.parent, judging=True)
