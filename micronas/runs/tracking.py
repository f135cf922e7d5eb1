"""Log a run's numbers to TensorBoard, MLflow or Weights & Biases while it runs.

All get one stream: each call of `Progress` with numbers, trials included, and the end. Each tracker
is a class here and an extra of its name; a user's own is any `Tracker`.
"""

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from micronas.errors import ConfigError
from micronas.event_file import EventFile
from micronas.progress import Progress, nobody
from micronas.runs.folder import LOG, METRICS, MODEL
from micronas.settings import nearest
from micronas.text import flat

_BATCH = 100
"""Most parameters that MLflow takes at once."""
_log = logging.getLogger("micronas")


class Tracker(Protocol):
    """Logger of a run, made before its first step."""

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of a step: ``loss``, ``validation_accuracy``, ``expected_sram``..."""

    def end(self, metrics: Mapping[str, float] | None) -> None:
        """Log the numbers of metrics.json, or None where the run did not reach its end."""


class TensorBoard:
    """Writes event files below the run folder, without TensorBoard's package."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: EventFile | None = None

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        if self._file is None:  # not earlier: the folder must be claimed first
            self._file = EventFile(self._folder / LOG)
        self._file.add(_named(phase, numbers), step=done)


class MlFlow:
    """Logs a run of the experiment ``MLFLOW_EXPERIMENT_NAME``, or ``micronas``, to
    ``MLFLOW_TRACKING_URI``; a resumed run continues the same one."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        from mlflow import MlflowClient, entities

        self._client, self._entities, self._folder = MlflowClient(), entities, folder
        name, tag = os.environ.get("MLFLOW_EXPERIMENT_NAME", "micronas"), _identity(folder)
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        found = self._client.search_runs([experiment], f"tags.micronas = '{tag}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            return
        run = self._client.create_run(experiment, run_name=folder.name, tags={"micronas": tag})
        self._run = run.info.run_id
        params = (entities.Param(key, str(value)[:500]) for key, value in flat(settings))
        while some := list(islice(params, _BATCH)):
            self._client.log_batch(self._run, params=some)

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        self._log(_named(phase, numbers), done)

    def end(self, metrics: Mapping[str, float] | None) -> None:
        if metrics is not None:
            self._log(metrics, 0)
            self._client.log_artifact(self._run, str(self._folder / MODEL))
        self._client.set_terminated(self._run, "FINISHED" if metrics is not None else "KILLED")

    def _log(self, numbers: Mapping[str, float], step: int) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(key, value, now, step) for key, value in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)


class WeightsAndBiases:
    """Logs a run of the project ``WANDB_PROJECT``, or ``micronas``, by ``WANDB_MODE`` and other
    variables; a resumed run continues the same one."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        import wandb

        self._module, self._folder = wandb, folder
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "micronas"),
            name=folder.name,
            id=_identity(folder),
            resume="allow",
            config=dict(flat(settings)),
        )
        self._phases: set[str] = set()

    def __call__(self, phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        if phase not in self._phases:  # each phase counts its own steps
            self._phases.add(phase)
            self._run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
        self._run.log({**_named(phase, numbers), f"{phase}/step": done})

    def end(self, metrics: Mapping[str, float] | None) -> None:
        if metrics is not None:
            self._run.summary.update(metrics)
            model = self._module.Artifact(f"{self._folder.name}-model", "model")
            model.add_file(str(self._folder / MODEL))
            self._run.log_artifact(model)
        self._run.finish(exit_code=0 if metrics is not None else 1)


_TRACKERS: dict[str, Callable[[Path, Mapping[str, Any]], Tracker]] = {
    "mlflow": MlFlow,
    "wandb": WeightsAndBiases,
}


@contextmanager
def tracked(
    folder: Path,
    settings: Mapping[str, Any],
    names: Sequence[str] = (),
    *,
    shown: Progress = nobody,
) -> Iterator[Progress]:
    """Yield a `Progress` that logs numbers to TensorBoard and to trackers, which end with the
    block.

    Parameters
    ----------
    folder
        Run folder, by which trackers identify a resumed run.
    shown
        Called before the trackers on every step, with numbers or without.

    Raises
    ------
    ConfigError
        If there is no such tracker, or it cannot start. One that fails later is dropped with a
        warning, so that no training is lost.
    """
    check_names(names)
    board = TensorBoard(folder)
    trackers = {name: _begun(name, folder, settings) for name in dict.fromkeys(names)}

    def call_all(call: Callable[[Tracker], None]) -> None:
        for name, each in [*trackers.items()]:
            try:
                call(each)
            except Exception as error:
                del trackers[name]
                _log.warning("%s failed and gets no more numbers: %s", name, error)

    def tell(phase: str, done: int, total: int, numbers: Mapping[str, float]) -> None:
        shown(phase, done, total, numbers)
        sound = {key: value for key, value in numbers.items() if math.isfinite(value)}
        if sound:
            board(phase, done, total, sound)
            call_all(lambda each: each(phase, done, total, sound))

    finished: dict[str, float] | None = None
    try:
        yield tell
        written = folder / METRICS
        finished = _numbers(json.loads(written.read_bytes())) if written.exists() else None
    finally:
        call_all(lambda each: each.end(finished))


def _begun(name: str, folder: Path, settings: Mapping[str, Any]) -> Tracker:
    try:
        return _TRACKERS[name](folder, settings)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--track {name} needs its package, which is not installed ({error}); "
            f"pip install '.[{name}]'"
        ) from error
    except Exception as error:
        raise ConfigError(
            f"a tracker must be ready before a run begins, but {name} is not ({error}); look at "
            "its settings, or leave out --track"
        ) from error


def check_names(names: Sequence[str]) -> None:
    """Raise ConfigError if a name is no tracker."""
    for name in names:
        if name not in _TRACKERS:
            raise ConfigError(
                f"a tracker must be one of {', '.join(_TRACKERS)}, but got {name!r}; "
                f"{nearest(name, _TRACKERS, listed=True)}"
            )


def _named(phase: str, numbers: Mapping[str, float]) -> dict[str, float]:
    return {f"{phase}/{name}": value for name, value in numbers.items()}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items() if isinstance(value, int | float)}


def _identity(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
