"""A user's own convolutional network as a search space over its channels alone.

The module is traced to a graph; channels that must agree are one decision. Supernet, costs,
strategies and report are those of any other space.
"""

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from numbers import Integral, Real
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from micronas.errors import ConfigError, ExportError
from micronas.export.from_torch.trace import trace
from micronas.graph.ir import Graph
from micronas.nas.convert.channels import find_channels
from micronas.nas.convert.layers import Layer, changed, find_layers, prune, strength
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.space.choice_graph import ChoiceGraph
from micronas.space.decisions import Choice
from micronas.space.searchable import Architecture, OwnLayers, Searchable

SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Options of a layer's width, as shares of its channels."""

_ADVICE = "# Weights cut from the module must be fine-tuned at these widths.\n"


def convert(
    module: nn.Module,
    example_input: Tensor,
    *,
    shares: Sequence[float] = SHARES,
    step: int = 4,
    keep: Collection[str] = (),
) -> "ConvertedSpace":
    """Make a search space of the widths of a network's layers.

    Channels that must agree, at sums and through depthwise convolutions, are one decision. Weights
    and running statistics are kept; a narrower network keeps the channels whose weights, batch norm
    folded, have the largest L1 norm, and must be fine-tuned: before that it may be no better than
    chance. The module is not changed.

    Parameters
    ----------
    module
        Network with one float32 tensor as input and output. Convolutions, linear layers and batch
        norms must be layers that are called once; see `export.from_torch.trace` for other
        operators.
    example_input
        float32 [N, channels, height, width], [N, channels, length] or [N, features]; N is free.
    shares
        Options as shares of the layer's width, in (0, 1]; the full width is always an option.
    step
        Multiple that widths are rounded to. Kernels are quickest at multiples of 4 and 16.
    keep
        Names of layers, or patterns such as ``features.0.*``, whose output channels all stay.

    Raises
    ------
    ExportError
        If an operator of the module cannot be exported or narrowed; names both.
    ConfigError
        If a setting is not valid, or there is nothing to choose.
    """
    _check_settings(shares, step)
    keep = (keep,) if isinstance(keep, str) or not isinstance(keep, Iterable) else keep
    graph, layers = find_layers(module, example_input)
    names = [layer.name for layer in layers]
    for pattern in keep:
        if not (isinstance(pattern, str) and any(fnmatchcase(name, pattern) for name in names)):
            raise ConfigError(
                f"keep must name layers, but {pattern!r} matches none; the layers are "
                f"{', '.join(names)}"
            )
    choices = find_channels(
        graph,
        strengths={layer.op.name: strength(layer, module) for layer in layers},
        orders={layer.op.name: layer.order for layer in layers},
        kept={
            layer.op.name
            for layer in layers
            if layer.is_grouped or any(fnmatchcase(layer.name, pattern) for pattern in keep)
        },
        shares=shares,
        step=step,
    )
    own = copy.deepcopy(module)
    space = ConvertedSpace(own, choices, layers, example_input[:1].detach().clone())
    space.check()
    return space


def _check_settings(shares: Sequence[float], step: int) -> None:
    given = [*shares] if isinstance(shares, Iterable) else []
    if not given or not all(isinstance(each, Real) and 0 < each <= 1 for each in given):
        raise ConfigError(
            f"shares must be numbers above 0, up to 1, but are {shares!r}; "
            "pass (0.25, 0.5, 0.75, 1.0), say"
        )
    if not isinstance(step, Integral) or step < 1:
        raise ConfigError(
            f"step must be a whole number of at least 1, but is {step!r}; 4 suits most kernels"
        )


class ConvertedSpace(Searchable):
    """All networks with some of the channels of a module; made by `convert`."""

    def __init__(
        self, module: nn.Module, choices: ChoiceGraph, layers: list[Layer], example: Tensor
    ) -> None:
        self.module, self._layers, self.example = module, layers, example
        self._choices = choices

    def __repr__(self) -> str:
        decisions = len(self._choices.decisions)
        return f"<{self.title} with {decisions} widths to choose: {self.count():,} networks>"

    @property
    def choices(self) -> ChoiceGraph:
        return self._choices

    @property
    def title(self) -> str:
        return type(self.module).__name__

    @property
    def kind(self) -> str:
        return ""

    def architecture(self, choice: Choice) -> "NarrowedNetwork":
        return NarrowedNetwork(self, choice)

    def own_layers(self) -> OwnLayers:
        return OwnLayers(copy.deepcopy(self.module).train(), self._layers)

    def chosen(self, choice: Choice, module: nn.Module | None) -> nn.Module:
        return self.narrowed(self.module if module is None else module, choice).eval()

    def narrowed(self, module: nn.Module, choice: Choice) -> nn.Module:
        """Return a copy of a module like the space's, with only the chosen channels.

        A network of sequences also takes maps of width 1, the form that data sets hold.
        """
        network = prune(module, self._choices, self._layers, choice)
        if self.example.ndim == 3 and _squeeze not in network._forward_pre_hooks.values():
            network.register_forward_pre_hook(_squeeze)
        return network

    def drawing(self, choice: Choice) -> list[dict[str, Any]]:
        drawn = []
        for layer in self._layers:
            channels = self._choices.channels[layer.op.outputs[0]]
            filters = self._choices.tensors[layer.op.inputs[1]].shape
            size = {"kernel": list(filters[1:3])} if len(filters) == 4 else {}
            drawn.append(
                {
                    "name": layer.name,
                    "type": layer.op.kind.lower().replace("_", " "),
                    "width": channels.width(choice),
                    "largest": channels.size,
                    **size,
                    "stride": list(layer.op.stride),
                    "layers": [layer.op.name],
                }
            )
        return drawn

    def check(self) -> None:
        """Run the narrowest network once, so that code that relies on a width fails now."""
        narrowest = self.narrowed(self.module, self.smallest()).eval()
        try:
            with torch.no_grad():
                found = narrowest(self.example)
        except Exception as error:
            said = f"raises {type(error).__name__}: {str(error).splitlines()[0]}"
        else:
            if found.numel() == self.outputs:
                self._check_layers(found)
                return
            said = f"returns {found.numel()} elements in place of {self.outputs}"
        raise ExportError(
            "a module's code must work at every width of its layers, but with fewer channels "
            f"{self.title} {said}; take sizes from the tensors, as x.flatten(1) "
            "does, or name the layers in keep"
        )

    def _check_layers(self, expected: Tensor) -> None:
        """Refuse code that changes what a layer computes, which shared weights would leave out."""
        shared = SharedNetwork(self, running=True).eval()
        with torch.no_grad():
            found = shared.sliced(self.example, self.smallest())
        if not torch.allclose(found, expected.flatten(1), 0, 1e-3 * float(expected.abs().max())):
            raise ExportError(changed(self.title))


def _squeeze(module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    (sequences,) = inputs
    return (sequences.squeeze(-1) if sequences.ndim == 4 else sequences,)


@dataclass(frozen=True, eq=False)
class NarrowedNetwork(Architecture):
    """A user's network with some of its channels."""

    space: ConvertedSpace
    choice: Choice

    def graph(self) -> Graph:
        return self.space.resolve(self.choice)

    def build(self, generator: torch.Generator | None = None) -> nn.Module:
        """Return the user's module, with only the chosen channels and its own weights."""
        return self.space.narrowed(self.space.module, self.choice)

    def float_graph(self, module: nn.Module) -> Graph:
        was_training = module.training
        graph = trace(module.eval(), self.space.example)
        module.train(was_training)
        return graph

    def text(self) -> str:
        described = {
            "module": self.space.title,
            "input": list(self.space.input_shape),
            "classes": self.outputs,
            "widths": self.space.values(self.choice),
        }
        return _ADVICE + str(yaml.safe_dump(described, sort_keys=False))

    def __str__(self) -> str:
        widths = self.space.values(self.choice)
        return " ".join(f"{name}={width}" for name, width in widths.items())
