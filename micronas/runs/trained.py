"""The trained float network of a run folder."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet
from micronas.errors import ConfigError, ModelError
from micronas.graph.ir import Graph
from micronas.runs.folder import ARCHITECTURE, CHECKPOINT, METRICS, MODEL, own_module
from micronas.space.searchable import Architecture
from micronas.space.space import Space
from micronas.tflite.metadata import read_metadata
from micronas.train.network import Network
from micronas.views import Shape, View


def trained(folder: Path) -> Graph | None:
    """Return the graph of `trained_network`."""
    network = trained_network(folder)
    return network.graph() if isinstance(network, Network) else None


def trained_network(folder: Path, architecture: Architecture | None = None) -> nn.Module | None:
    """Return the trained float network of a run folder, or None without one.

    Raises ModelError if the checkpoint is damaged.

    Parameters
    ----------
    architecture
        Network of the run, where it is a user's own module, which no file builds; None without it.
    """
    description, checkpoint = folder / ARCHITECTURE, folder / CHECKPOINT
    if not (description.is_file() and checkpoint.is_file()):
        return None
    state = Checkpoint(checkpoint, yields=True).load("train")
    if state is None:
        return None
    network: nn.Module
    if own_module(folder) is None:
        network = Network(Space.load(description).graph())
    elif architecture is not None:
        network = architecture.build()
    else:
        return None
    try:
        network.load_state_dict(state["module"])
    except (RuntimeError, LookupError) as error:
        raise ModelError(
            f"a run's checkpoint must hold the weights of its architecture, but that of {folder} "
            f"does not ({type(error).__name__}); give the .tflite file instead"
        ) from error
    return network.eval()


class _Seeing(nn.Module):
    """A network that sees inputs of any shape in its own."""

    def __init__(self, network: nn.Module, view: View, shape: Shape) -> None:
        super().__init__()
        self._network, self._view, self._shape = network, view, shape

    def forward(self, inputs: Tensor) -> Tensor:
        answers: Tensor = self._network(self._view(inputs, self._shape))
        return answers


def teacher(folder: Path, data: DataSet, inputs: Iterable[Shape]) -> nn.Module:
    """Return the float network of a run as a teacher of others on the same data.

    Raises ConfigError if the run is not finished, or its network has other outputs or a finer
    input.
    """
    if data.objective.decides != "best":
        raise ConfigError(
            f"a teacher must teach classes, but the data's objective is {data.objective.name}; "
            "leave out distill"
        )
    network = trained_network(folder)
    if network is None or not (folder / METRICS).is_file():
        raise ConfigError(
            f"a teacher must be the folder of a finished run with its checkpoint, but "
            f"{str(folder)!r} is not; train one with micronas train"
        )
    taught = tuple(read_metadata((folder / MODEL).read_bytes())["labels"])
    if taught != data.classes:
        raise ConfigError(
            "a teacher must have the data's classes in their order, but "
            f"{str(folder)!r} tells {', '.join(taught):.200} and the data "
            f"{', '.join(data.classes):.200}; train one on this data"
        )
    shape = Space.load(folder / ARCHITECTURE).input_shape
    for each in inputs:
        try:
            data.view.check(each, shape)
        except ConfigError as error:
            raise ConfigError(
                f"a teacher must see its input in those of all students, but {str(folder)!r} reads "
                f"{list(shape)} and networks of the space {list(each)}; train one on the smaller"
            ) from error
    return _Seeing(network, data.view, shape).eval()
