"""A user's own convolutional network as a supernet: its channels, and nothing else, are searched.

The module itself computes. Weights that read channels are multiplied by the channels' mask, and
depthwise convolutions, norms and activations run as they are: a masked channel reaches nobody, and
yet its mask has a gradient, whatever ReLU stands before it (see `nas.path`).
"""

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.func import functional_call

from micronas.errors import ConfigError, ExportError
from micronas.graph.ir import Graph
from micronas.nas.convert_channels import Channels, find_channels
from micronas.nas.convert_costs import CostTables
from micronas.nas.convert_layers import Layer, find_layers, prune, strength
from micronas.nas.cost import Expected
from micronas.nas.gates import Sample
from micronas.nas.own_loop import Searchable
from micronas.nas.path import width_mask
from micronas.space.search_space import Choice

SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Of a layer's channels: the widths to choose from."""


def convert(
    module: nn.Module,
    example_input: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    step: int = 4,
    keep: Collection[str] = (),
) -> "ConvertedSupernet":
    """Make the widths of a network's layers decisions that can be searched.

    Channels that must agree, at sums and through depthwise convolutions, are one decision. Weights
    and running statistics are kept; a narrower network keeps the channels whose weights, batch norm
    folded, have the largest L1 norm. The module given is not changed.

    Parameters
    ----------
    module
        Takes and returns one float32 tensor. Convolutions, linear layers and batch norms must be
        layers that are called once; see `export.from_torch.trace` for what it may do besides.
    example_input
        float32 [N, channels, height, width] or [N, features]; N is free.
    shares
        Widths to choose from, as shares of the layer's, in (0, 1]; the layer's own is always among
        them.
    step
        Widths are rounded to multiples of it. Kernels are quickest at multiples of 4 and 16.
    keep
        Names of layers, or patterns such as ``features.0.*``, whose output channels all stay.

    Raises
    ------
    ExportError
        If the module does something that cannot be exported or narrowed; names the operator and
        the module.
    ConfigError
        If a setting is not valid, or there is nothing to choose.
    """
    _check_settings(shares, step)
    graph, layers = find_layers(module, example_input)
    names = [layer.name for layer in layers]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(
                f"keep must name layers, but {pattern!r} matches none; the layers are "
                f"{', '.join(names)}"
            )
    channels = find_channels(
        graph,
        strengths={layer.op.name: strength(layer, module) for layer in layers},
        rigid={layer.op.name for layer in layers if layer.is_rigid},
        kept={
            layer.op.name
            for layer in layers
            if any(fnmatchcase(layer.name, pattern) for pattern in keep)
        },
        shares=shares,
        step=step,
    )
    if not channels.decisions:
        raise ConfigError(
            "a network must have channels between its layers to be searched, but of the "
            f"{len(layers)} layers of {type(module).__name__} none has more than {step} that may "
            "go; lower step, take names out of keep or add layers"
        )
    supernet = ConvertedSupernet(module, channels, layers)
    supernet.check(example_input)
    return supernet


def _check_settings(shares: Sequence[float], step: int) -> None:
    if not shares or not all(0 < share <= 1 for share in shares):
        raise ConfigError(
            f"shares must be numbers above 0, up to 1, but are {list(shares)}; "
            "pass (0.25, 0.5, 0.75, 1.0), say"
        )
    if step < 1:
        raise ConfigError(f"step must be at least 1, but is {step}; 4 suits most kernels")


@dataclass(frozen=True)
class Narrowed:
    """One network of a converted supernet, as costs are counted on it: shapes only."""

    channels: Channels
    choice: Choice

    @property
    def classes(self) -> int:
        return self.channels.classes

    def graph(self) -> Graph:
        return self.channels.narrowed(self.choice)


class ConvertedSupernet(Searchable[nn.Module]):
    """All networks with some of the channels of a module; made by `convert`.

    `module` is a copy of the user's and holds the weights.
    """

    def __init__(self, module: nn.Module, channels: Channels, layers: list[Layer]) -> None:
        super().__init__(channels.decisions)
        self.module = copy.deepcopy(module).train()
        self.channels = channels
        self._layers = layers
        self._costs = CostTables(channels)
        self._inputs = {
            layer.path: torch.from_numpy(layer.inputs(channels))
            for layer in layers
            if layer.path is not None and layer.mixes and not layer.is_rigid
        }

    def masked(self, x: Tensor, gates: Sample) -> Tensor:
        widths = (
            width_mask(gates[decision.name], decision.options) for decision in self.gates.decisions
        )
        mask = torch.cat([torch.ones(1), *widths])
        weights = {}
        for path, index in self._inputs.items():
            weight = self.module.get_submodule(path).weight
            assert isinstance(weight, Tensor)
            shape = (1, -1, *[1] * (weight.ndim - 2))
            weights[f"{path}.weight".lstrip(".")] = weight * mask[index].view(shape)
        logits: Tensor = functional_call(self.module, weights, (x,))
        return logits

    def sliced(self, x: Tensor, choice: Choice) -> Tensor:
        return self.masked(x, self.gates.one_hot(choice))

    def expected(self, gates: Sample) -> Expected:
        return self._costs.expected(gates)

    def candidate(self, choice: Choice) -> Narrowed:
        return Narrowed(self.channels, choice)

    def least(self) -> list[Choice]:
        return [tuple(0 for _ in self.channels.decisions)]

    def build(self, choice: Choice) -> nn.Module:
        """The module with the chosen channels alone, in eval mode: the user's class and weights.

        It computes what the supernet does for that choice.
        """
        return prune(self.module, self.channels, self._layers, choice).eval()

    def check(self, example_input: Tensor) -> None:
        """Run the narrowest network once: code that counts on a width fails now, not at the end."""
        narrowest = self.build(self.least()[0])
        try:
            with torch.no_grad():
                elements = narrowest(example_input[:1]).numel()
        except Exception as error:
            said = f"raises {type(error).__name__}: {str(error).splitlines()[0]}"
        else:
            if elements == self.channels.classes:
                return
            said = f"returns {elements} elements in place of {self.channels.classes}"
        raise ExportError(
            "a module's code must work at every width of its layers, but with fewer channels "
            f"{type(self.module).__name__} {said}; take sizes from the tensors, as x.flatten(1) "
            "does, or name the layers in keep"
        )
