"""Interface of the runtimes of networks in firmware."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from micronas.errors import ConfigError
from micronas.export.firmware.shared import ProjectKind
from micronas.graph import integer
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import Values

Tensors = Mapping[str, Values]
EngineName = Literal["tflm", "micronas"]


def engine_of(name: str | None) -> EngineName:
    """Return the engine of a name, TFLM for None.

    Raises ConfigError if there is no such engine.
    """
    if name in (None, "tflm"):
        return "tflm"
    if name == "micronas":
        return "micronas"
    raise ConfigError(f"an engine must be tflm or micronas, but got {name!r}; choose one of them")


class Runtime(ABC):
    """Header ``network.h`` that runs networks, by their names in C, and the files it needs.

    In comments `what` is the network, or the largest of several.
    """

    sources: tuple[str, ...] = ()
    """C files, without headers."""

    def __init__(self, models: Mapping[str, bytes], kind: ProjectKind, what: str) -> None:
        self.models, self.kind, self.what = models, kind, what

    @abstractmethod
    def files(self, *, works: bool) -> dict[str, str]:
        """Return sources and parts of build files by name; a front end may have `works`."""

    def golden(self, graph: Graph, inputs: Mapping[str, Values]) -> tuple[Tensors, Tensors]:
        """Return int8 inputs on which a program checks itself, and their expected outputs."""
        # refuses graphs with other operators
        return inputs, integer.run_outputs(graph, dict(inputs))

    def board_files(self) -> dict[str, str]:
        """Return files that the Makefile of an emulated board includes."""
        return {}

    @abstractmethod
    def values(self) -> dict[str, str]:
        """Return the values of templates of build files, sketches and the clock."""
