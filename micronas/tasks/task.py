"""The parts every task has. Imports no torch.

A task is a folder of `micronas.tasks` with the same modules in each: ``settings``, ``load``,
``check``, ``synth``, ``front_end`` (what turns raw data into the network's input) and ``task``,
which ties them together. `micronas.tasks.registry` names the folders.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from pydantic import ConfigDict

from micronas.settings import Settings
from micronas.tasks.download import Archive

if TYPE_CHECKING:
    from micronas.data import DataSet


class TaskSettings(Settings):
    """Settings of reading a task's data; a task's own settings derive from these.

    Names of classes and columns may be numbers: ``data.normal=0`` is the class ``0``.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    task: str
    """Name of the task; every task's settings give it a literal type and a default."""
    path: Path
    balance: Literal["none", "weights", "sampling"] = "none"
    """Of classes that are not equally frequent: ``weights`` counts examples of rare ones more in
    training, ``sampling`` shows them more often, so that all classes count alike. Of classes
    alone."""


Kind = TypeVar("Kind", bound=TaskSettings)


@dataclass(frozen=True)
class Finding:
    """Something wrong with a data set, in one line."""

    kind: str
    """One word: ``missing``, ``unreadable``, ``duplicate``..."""
    name: str
    """The file, class or speaker it is about."""
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}: {self.text}"


class Task(ABC, Generic[Kind]):
    """One kind of data: how it is read, checked, made up and fetched.

    Methods import what they need when they are called, so that names and settings are known
    without torch.
    """

    settings: type[Kind]
    """Keys under ``data`` of a configuration."""
    archives: ClassVar[tuple[Archive, ...]] = ()
    """The public data set; empty where there is none."""

    @property
    def name(self) -> str:
        """Value of ``data.task``."""
        return str(self.settings.model_fields["task"].default)

    @abstractmethod
    def load(self, settings: Kind) -> "DataSet":
        """Read the data set that settings describe."""

    def input(
        self, settings: Kind, inputs: Sequence[tuple[int, int, int]]
    ) -> tuple[int, int, int] | None:
        """Return height, width and channels of an input where the data says them, not the space.

        Reads no more than it has to; a space of the task is searched for inputs of that shape.

        Parameters
        ----------
        inputs
            Those of the space.
        """
        return None

    def reading(self, inputs: Sequence[tuple[int, int, int]]) -> Mapping[str, object]:
        """Return settings by which data is read as finely as networks of these inputs ask.

        They stand where a run's own settings say nothing; empty where the data has one form.

        Parameters
        ----------
        inputs
            Height, width and channels, of which a search may choose.
        """
        return {}

    def known_of(self, settings: Kind) -> Mapping[str, object]:
        """Return what is known of an input's meaning before the data is read.

        A budget counts the front end by it; empty where nothing is known.
        """
        return {}

    @abstractmethod
    def check(self, settings: Kind) -> list[Finding]:
        """Report what is missing, damaged or shared between the parts of a data set."""

    @abstractmethod
    def sample(self, folder: Path, *, seed: int = 0) -> str:
        """Write a corpus to try the tool with, offline; return what it is.

        A task whose settings have a ``goal`` takes that too.
        """
