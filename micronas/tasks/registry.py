"""Tasks by name. Imports no torch.

To add one to the package, write its folder and its line in `_PLACES`; from outside, call
`register`. All code that depends on a task (settings, the command line, completion) looks it up
here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from micronas.errors import ConfigError, DataError
from micronas.progress import Progress, nobody
from micronas.settings import OneOf, nearest, validate_settings, with_overrides
from micronas.tasks.checked import Checked
from micronas.tasks.download import fetch
from micronas.tasks.task import Finding, Task, TaskSettings

if TYPE_CHECKING:
    from micronas.data import DataSet

DEFAULT = "kws"
"""Task of settings without one, where their space names none either."""
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
        f"a task must be one of {', '.join(names())}, but got {name!r}; "
        f"{nearest(name, names(), listed=True)}"
    )


def register(task: Task[Any]) -> Callable[[], None]:
    """Add a task for the rest of the process; return a function that removes it.

    Raises ConfigError if a task has that name already.
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
"""Settings of any task, picked by `task`."""


def load(settings: TaskSettings) -> "DataSet":
    """Read the data set of the settings.

    Raises ConfigError if `balance` is set for data without classes.
    """
    data = find(settings.task).load(settings)
    if settings.balance == "none":
        return data
    return replace(data, objective=data.objective.balanced(settings.balance))


def check(task: str, folder: Path, overrides: Sequence[str] = ()) -> Checked:
    """Report the contents of a folder, and what is missing, damaged or shared between parts.

    The data is read as by a search, with settings as ``key=value``, with or without ``data.``; a
    refusal is a finding, too.
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
    made_up: int | None = None,
) -> str:
    """Write a corpus to try the tool with, offline; return its description.

    Raises ConfigError if the task has no such goal, or makes neither long recordings nor made-up
    words.
    """
    speech = {"minutes": minutes, "made_up": made_up}
    more: dict[str, object] = {k: value for k, value in speech.items() if value is not None}
    given = " and ".join(f"--{name.replace('_', '-')}" for name in more)
    if more and (task != "kws" or len(more) > 1):
        raise ConfigError(
            "long recordings, or made-up words among clips, are made of kws alone, but got "
            f"{task} {given}; leave out {given if task != 'kws' else 'one of them'}"
        )
    kind: Any = find(task)
    if goal is not None:
        field = kind.settings.model_fields.get("goal")
        goals = () if field is None else get_args(field.annotation)
        if goal not in goals:
            rule = f"must be one of {', '.join(goals)}" if goals else "is known of series alone"
            raise ConfigError(f"a goal of {task} {rule}, but got {goal!r}; leave out --goal")
        more["goal"] = goal
    content: str = kind.sample(folder, seed=seed, **more)
    return content


def download(task: str, folder: Path, *, progress: Progress = nobody) -> None:
    """Fetch and unpack the public data set of a task.

    Every archive becomes one folder in `folder`; existing ones are kept, so that the same call
    continues an interrupted download. Raises ConfigError if there is no such task, DataError if it
    has no public data set, space is short, a server refuses or does not answer, or a file is not
    the expected one.
    """
    archives = find(task).archives
    if not archives:
        raise DataError(
            f"a task must have a public data set to be downloaded, but {task} has none; "
            f"micronas data synth {task} FOLDER makes a corpus to try"
        )
    for archive in archives:
        fetch(archive, folder, progress=progress)
