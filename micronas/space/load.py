"""Load a network from a .tflite file, an architecture file or a published name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from micronas.errors import ModelError
from micronas.files import regular
from micronas.graph.ir import Graph
from micronas.space.space import Space
from micronas.tflite.metadata import placeholder, read_metadata
from micronas.tflite.reader import read
from micronas.tflite.writer import flatbuffer_bytes


@dataclass(frozen=True)
class Loaded:
    """A network, with shapes at least."""

    graph: Graph
    flash_bytes: int
    """Size of its .tflite file, existing or predicted."""
    metadata: dict[str, Any]
    """Metadata that micronas wrote into the file; empty for others."""


def load(path: Path) -> Loaded:
    """Load a network to count its costs; unknown operators are kept as such.

    Raises ModelError if there is no such file or it is damaged, ConfigError if an architecture file
    is not valid.
    """
    is_shipped = path.parts[:-1] in (("published",), ("textbook",))
    if path.suffix in (".yaml", ".yml") or is_shipped:
        if not path.is_file() and not is_shipped:
            raise ModelError(
                f"a network must be a file, but {path} does not exist; name a .tflite, an "
                "architecture.yaml or a run folder, or a board that `micronas boards` lists"
            )
        network = Space.load(path)
        graph = network.graph()
        size = flatbuffer_bytes(graph, metadata=placeholder(network.classes, network.input[2]))
        return Loaded(graph, size, {})
    data = model_bytes(path)
    return Loaded(read(data, unknown="keep", wide=True), len(data), read_metadata(data))


def model_bytes(path: Path) -> bytes:
    """Read a .tflite file; ModelError if there is none."""
    try:
        return regular(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise ModelError(
            f"a model must be a .tflite file or a run folder that holds one: {error}"
        ) from error
