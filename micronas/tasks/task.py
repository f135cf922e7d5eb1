"""The protocol of tasks. Imports no torch.

A task is a folder of `micronas.tasks` with the same modules in each: ``settings``, ``load``,
``check``, ``synth``, ``front_end`` (raw data to the network's input) and ``task``, which ties them
together. `micronas.tasks.registry` lists the folders.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from pydantic import ConfigDict

from micronas.settings import Settings
from micronas.tasks.download import Archive
from micronas.text import one_line

if TYPE_CHECKING:
    from micronas.data import DataSet


class TaskSettings(Settings):
    """Settings of reading a task's data; a task's own settings derive from these.

    Names of classes and columns may be numbers: ``data.normal=0`` is the class ``0``.
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    task: str
    """Name of the task, of a literal type with a default in each task's settings."""
    path: Path
    balance: Literal["none", "weights", "sampling"] = "none"
    """Balance of classes of unequal frequency: ``weights`` counts examples of rare ones more in
    training, ``sampling`` shows them more often, so that all classes count alike. For classes
    alone."""


Kind = TypeVar("Kind", bound=TaskSettings)


@dataclass(frozen=True)
class Finding:
    """Something wrong with a data set, in one line."""

    kind: str
    """One word: ``missing``, ``unreadable``, ``duplicate``..."""
    name: str
    """File, class or speaker that the finding is about."""
    text: str

    def __str__(self) -> str:
        return one_line(f"{self.kind}: {self.name}: {self.text}")


class Task(ABC, Generic[Kind]):
    """One kind of data: functions that read, check, synthesise and fetch it.

    Methods import what they need when called, so that names and settings need no torch.
    """

    settings: type[Kind]
    """Settings under ``data`` of a configuration."""
    archives: ClassVar[tuple[Archive, ...]] = ()
    """Archives of the public data set; empty where there is none."""

    @property
    def name(self) -> str:
        """Value of ``data.task``."""
        return str(self.settings.model_fields["task"].default)

    @abstractmethod
    def load(self, settings: Kind) -> "DataSet":
        """Read the data set of the settings."""

    def input(
        self, settings: Kind, inputs: Sequence[tuple[int, int, int]]
    ) -> tuple[int, int, int] | None:
        """Return height, width and channels of the input where the data decides them, else None.

        Reads as little as possible; a space of the task is then searched for inputs of that shape.
        """
        return None

    def reading(self, inputs: Sequence[tuple[int, int, int]]) -> Mapping[str, object]:
        """Return settings that read data as finely as networks of these inputs need.

        They are defaults for a run's own settings; empty where the data has one form.
        """
        return {}

    def known_of(self, settings: Kind) -> Mapping[str, object]:
        """Return the known part of an input's meaning before the data is read, for the front end's
        costs.
        """
        return {}

    @abstractmethod
    def check(self, settings: Kind) -> list[Finding]:
        """Report what is missing, damaged or shared between the parts of a data set."""

    @abstractmethod
    def sample(self, folder: Path, *, seed: int = 0) -> str:
        """Write a corpus to try the tool with, offline; return its description.

        Tasks whose settings have a ``goal`` take that, too.
        """
