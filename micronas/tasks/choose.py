"""What each task makes of a folder: a data set, a report, a sample of its own."""

from pathlib import Path
from typing import Literal, get_args

from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.settings import nearest
from micronas.tasks import anomaly, faces, kws, machines, speech, vww
from micronas.tasks.settings import (
    DataSettings,
    KeywordSettings,
    MachineSettings,
    VisualSettings,
)
from micronas.tasks.speech_folder import Finding

Task = Literal["kws", "vww", "ad"]


def load(settings: DataSettings) -> DataSet:
    """Read the data set that settings describe."""
    match settings:
        case KeywordSettings():
            return kws.load(settings)
        case VisualSettings():
            return vww.load(settings)
        case MachineSettings():
            return anomaly.load(settings)


def check(task: str, folder: Path) -> list[Finding]:
    """Report what is missing, damaged or shared between the parts of a folder."""
    match known(task):
        case "kws":
            return kws.check(folder)
        case "vww":
            return vww.check(folder)
        case "ad":
            return anomaly.check(folder)


def sample(task: str, folder: Path, *, seed: int = 0) -> str:
    """Write a corpus to try the tool with, offline; return what it is."""
    match known(task):
        case "kws":
            speech.synthesise(folder, seed=seed)
            return "synthetic speech, for trying the tool and not for products"
        case "vww":
            faces.sample_images(folder, seed=seed)
            return "200 small crops of photographs, faces or not, for trying the tool"
        case "ad":
            machines.synthesise(folder, seed=seed)
            return "synthetic machines, for trying the tool and not for products"


def known(task: str) -> Task:
    """Return the task of that name, or raise ConfigError."""
    for each in get_args(Task):
        if task == each:
            return each  # type: ignore[no-any-return]
    raise ConfigError(
        f"a task must be one of {', '.join(get_args(Task))}, but got {task!r}; "
        f"{nearest(task, get_args(Task))}"
    )
