"""What runs networks in firmware, and how a project is built with it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

from micronas.errors import ConfigError
from micronas.export.firmware.shared import ProjectKind

EngineName = Literal["tflm", "micronas"]


def engine_of(name: str | None) -> EngineName:
    """Return what runs networks by its name; TFLM where there is none.

    Raises
    ------
    ConfigError
        If there is no such engine.
    """
    if name in (None, "tflm"):
        return "tflm"
    if name == "micronas":
        return "micronas"
    raise ConfigError(f"an engine must be tflm or micronas, but got {name!r}; choose one of them")


class Runtime(ABC):
    """A header ``network.h`` that runs networks, and what stands behind it.

    Parameters
    ----------
    models
        Contents of ``.tflite`` files by what they are called in C.
    kind
        Of the project.
    what
        Names the network, or the largest of several, in comments.
    """

    name: ClassVar[EngineName]
    sources: tuple[str, ...] = ()
    """Files of C, beside headers."""

    def __init__(self, models: Mapping[str, bytes], kind: ProjectKind, what: str) -> None:
        self.models, self.kind, self.what = models, kind, what

    @abstractmethod
    def files(self, *, works: bool) -> dict[str, str]:
        """Return sources and parts of build files by name.

        Parameters
        ----------
        works
            Whether a front end works in memory of its own between inferences.
        """

    def board_files(self) -> dict[str, str]:
        """Return what the Makefile of an emulated board includes."""
        return {}

    @abstractmethod
    def values(self) -> dict[str, str]:
        """Return what templates of build files, sketches and the clock leave open."""
