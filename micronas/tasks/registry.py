"""The tasks there are, by name. Imports no torch.

To add one to the package, write its folder and its line in `_PLACES`; to add one from outside,
call `register`. Everything that depends on a task (settings, the command line, completion) asks
here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from micronas.errors import ConfigError, DataError
from micronas.progress import Progress
from micronas.settings import OneOf, nearest, validate_settings, with_overrides
from micronas.tasks.checked import Checked
from micronas.tasks.download import fetch
from micronas.tasks.task import Finding, Task, TaskSettings

if TYPE_CHECKING:
    from micronas.data import DataSet

DEFAULT = "kws"
"""The task of settings that name none, where their space names none either."""
_PLACES = {
    "kws": "keywords.task:TASK",
    "images": "images.task:TASK",
    "vww": "images.task:WAKE_WORDS",
    "ad": "machines.task:TASK",
    "series": "series.task:TASK",
    "arrays": "arrays.task:TASK",
}
_registered: dict[str, Task[Any]] = {}


def names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return (*_PLACES, *_registered)


def find(name: str) -> Task[Any]:
    """Return the task of that name, or raise ConfigError."""
    if name in _registered:
        return _registered[name]
    if name in _PLACES:
        module, _, attribute = _PLACES[name].partition(":")
        task: Task[Any] = getattr(import_module(f"micronas.tasks.{module}"), attribute)
        return task
    raise ConfigError(
        f"a task must be one of {', '.join(names())}, but got {name!r}; {nearest(name, names())}"
    )


def register(task: Task[Any]) -> Callable[[], None]:
    """Add a task for the rest of the process; call what is returned to take it out again.

    Raises
    ------
    ConfigError
        If there is a task of that name.
    """
    if task.name in names():
        raise ConfigError(
            f"a task must have a name of its own, but there is a task {task.name!r}; "
            "change the default of `task` in its settings"
        )
    _registered[task.name] = task

    def withdraw() -> None:
        del _registered[task.name]

    return withdraw


def _kinds() -> dict[str, type[TaskSettings]]:
    """Return the settings of each task."""
    return {name: find(name).settings for name in names()}


DataSettings = Annotated[TaskSettings, OneOf("task", _kinds)]
"""Settings of any task; `task` says of which."""


def load(settings: TaskSettings) -> "DataSet":
    """Read the data set that settings describe.

    Raises
    ------
    ConfigError
        If `balance` is set where data has no classes.
    """
    data = find(settings.task).load(settings)
    if settings.balance == "none":
        return data
    return replace(data, objective=data.objective.balanced(settings.balance))


def known_of(settings: TaskSettings) -> Mapping[str, object]:
    """Return what is known of an input's meaning before the data is read."""
    return find(settings.task).known_of(settings)


def input_of(
    settings: TaskSettings, inputs: Sequence[tuple[int, int, int]]
) -> tuple[int, int, int] | None:
    """Return the shape of inputs where the data says it, and not a space of these inputs."""
    return find(settings.task).input(settings, inputs)


def reading_of(task: str, inputs: Sequence[tuple[int, int, int]]) -> Mapping[str, object]:
    """Return settings by which a task's data is read as finely as inputs of these shapes ask."""
    return find(task).reading(inputs)


def check(task: str, folder: Path, overrides: Sequence[str] = ()) -> Checked:
    """Report what is missing, damaged or shared between the parts of a folder, and what it holds.

    The data is read as a search would: what it refuses is a finding as well.

    Parameters
    ----------
    overrides
        ``key=value`` settings of the data, as a search has them, with or without ``data.``.
    """
    kind = find(task)
    values = with_overrides({}, [text.removeprefix("data.") for text in overrides])
    settings = validate_settings(
        {"task": task, "path": folder, **values}, kind.settings, source="data", overrides=overrides
    )
    findings = kind.check(settings)
    try:
        return Checked(findings, kind.load(settings))
    except DataError as error:
        return Checked([*findings, Finding("refused", folder.name, str(error))], None)


def sample(
    task: str,
    folder: Path,
    *,
    seed: int = 0,
    goal: str | None = None,
    minutes: float | None = None,
) -> str:
    """Write a corpus to try the tool with, offline; return what it is.

    Raises
    ------
    ConfigError
        If the task knows no such goal, or makes no long recordings.
    """
    if minutes is not None:
        if task != "kws":
            raise ConfigError(
                f"long recordings are made of kws alone, but got {task}; leave out --minutes"
            )
        streams: Any = find(task)
        content: str = streams.sample(folder, seed=seed, minutes=minutes)
        return content
    if goal is None:
        return find(task).sample(folder, seed=seed)
    field = find(task).settings.model_fields.get("goal")
    goals = () if field is None else get_args(field.annotation)
    if goal not in goals:
        rule = f"must be one of {', '.join(goals)}" if goals else "is known of series alone"
        raise ConfigError(f"a goal of {task} {rule}, but got {goal!r}; leave out --goal")
    kind: Any = find(task)
    made: str = kind.sample(folder, seed=seed, goal=goal)
    return made


def download(task: str, folder: Path, *, progress: Progress | None = None) -> None:
    """Fetch and unpack the public data set of a task.

    Every archive becomes one folder in `folder`; those that are there already are left alone, so
    that an interrupted download is continued by the same call.

    Parameters
    ----------
    folder
        Where the data goes; made where it does not exist.
    progress
        Told the bytes of each file as they come.

    Raises
    ------
    ConfigError
        If there is no such task.
    DataError
        If it has no public data set, there is not enough space, a server refuses or does not
        answer, or a file is not the one that is expected.
    """
    archives = find(task).archives
    if not archives:
        raise DataError(
            f"a task must have a public data set to be downloaded, but {task} has none; "
            f"micronas data synth {task} FOLDER makes a corpus to try"
        )
    for archive in archives:
        fetch(archive, folder, progress=progress)
