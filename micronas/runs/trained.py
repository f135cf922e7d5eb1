"""The trained float network of a run folder."""

from pathlib import Path

from torch import nn

from micronas.checkpoint import Checkpoint
from micronas.errors import ModelError
from micronas.graph.ir import Graph
from micronas.runs.folder import ARCHITECTURE, CHECKPOINT, own_module
from micronas.space.searchable import Architecture
from micronas.space.space import Space
from micronas.train.network import Network


def trained(folder: Path) -> Graph | None:
    """Return the graph of `trained_network`."""
    network = trained_network(folder)
    return network.graph() if isinstance(network, Network) else None


def trained_network(folder: Path, architecture: Architecture | None = None) -> nn.Module | None:
    """Return the trained float network of a run folder, or None without one.

    Parameters
    ----------
    architecture
        Network of the run, where it is a user's own module, which no file builds; None without it.

    Raises
    ------
    ModelError
        If the checkpoint is damaged.
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
