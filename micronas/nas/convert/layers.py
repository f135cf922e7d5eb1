"""Map a user's layers to operators, and cut channels from the module."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from micronas.graph.ir import Graph, Op
from micronas.space.channels import Kept, Numbers
from micronas.space.choice_graph import ChoiceGraph
from micronas.space.decisions import Choice
from micronas.train.network import weighted_ops

_Norm = nn.BatchNorm1d | nn.BatchNorm2d
Convolution = nn.Conv1d | nn.Conv2d

_STEP, _MORE, _LEAST = 97.0, 0.375, 1e-3
"""The marker of the n-th batch norm is n steps and a bit more, of which a sum of two has twice as
much: what is left of a bias is a shift by a constant, if it is not less than the last number."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The modules behind one operator with weights; paths are those of `named_modules`."""

    op: Op
    path: str | None
    """Path of the convolution or linear layer; None for a batch norm that follows none."""
    norm: str | None
    """Path of the batch norm, folded or alone."""
    columns: Numbers | None
    """Column of the weight for each element of the stored input, if the layer mixes all."""
    rows: Numbers | None
    """Torch's channel for each that is stored, if there is one output for each input."""
    groups: int
    """Groups of a convolution; 1 for others."""
    shift: float
    """Constant that the module adds to the output, as a hard sigmoid does."""

    @property
    def name(self) -> str:
        return self.path or self.norm or self.op.name

    @property
    def mixes(self) -> bool:
        """Return whether each output depends on all input channels."""
        return self.path is not None and self.op.kind != "DEPTHWISE_CONV_2D"

    @property
    def is_grouped(self) -> bool:
        """Return whether the layer needs all its channels: a grouped convolution that mixes."""
        return self.mixes and self.groups > 1

    @property
    def order(self) -> Numbers | None:
        """Torch's place of each input that is stored; None where all are needed."""
        return self.columns if self.rows is None else self.rows

    def inputs(self, choices: ChoiceGraph, choice: Choice) -> Kept:
        """Return whether a choice keeps each input of the layer, in torch's order."""
        return _placed(choices.channels[self.op.inputs[0]].kept(choice), self.columns)

    def outputs(self, choices: ChoiceGraph, choice: Choice) -> Kept:
        """Return whether a choice keeps each output of the layer, in torch's order."""
        return _placed(choices.channels[self.op.outputs[0]].kept(choice), self.rows)


def _placed(kept: Kept, places: Numbers | None) -> Kept:
    if places is None:
        return kept
    ordered = np.empty(len(places), np.bool_)
    ordered[places] = np.tile(kept, len(places) // len(kept))
    return ordered


def find_layers(module: nn.Module, example_input: Tensor) -> tuple[Graph, list[Layer]]:
    """Trace a module and return the layers its operators come from.

    The graph has true shapes and marker weights; there is a layer for each operator that has
    weights, in their order. Raises ExportError if the module cannot be traced, or an operator's
    weights are not those of a layer called once.
    """
    probe, norms = _marked(module)
    graph = trace(probe, example_input)
    layers: list[Layer] = []
    claimed: set[int] = set()
    for op in weighted_ops(graph):
        path = _path_of(op, probe)
        part = probe.get_submodule(path)
        weights, bias = (graph.constant_of(op, position).data for position in (1, 2))
        assert weights is not None, "a trace fills weights"
        assert bias is not None, "a trace fills biases"
        number = round((float(bias[0]) - _MORE) / _STEP)
        norm = norms.get(number)
        shift = float(bias[0]) - (0.0 if norm is None else _STEP * number + _MORE)
        owned = [part, *([probe.get_submodule(norm)] if norm is not None else [])]
        for each in {id(item): item for item in owned}.values():
            _check_own(each, norm if each is not part else path, op, claimed)
        groups = part.groups if isinstance(part, Convolution) else 1
        own = None if isinstance(part, _Norm) else path
        layer = Layer(op, own, norm, None, None, groups, shift if abs(shift) > _LEAST else 0.0)
        if not layer.is_grouped:
            markers = weights.reshape(-1, weights.shape[-1])[0]
            if not layer.mixes and own is not None and norm is not None:
                markers = np.sqrt(markers)  # those of both are multiplied
            order = np.rint(markers).astype(np.int64) - 1
            if not np.array_equal(np.sort(order), np.arange(len(order))):
                raise ExportError(changed(layer.name))
            layer = replace(layer, **{"columns" if layer.mixes else "rows": order})
        layers.append(layer)
    return graph, layers


def changed(name: str) -> str:
    """Return the words on a module that computes something else than its layers."""
    return (
        f"a module must compute what its layers do, but {name} is scaled, shifted or re-ordered "
        "in between; move constant factors and shifts of a layer's output into its weight and bias"
    )


def strength(layer: Layer, module: nn.Module) -> npt.NDArray[np.float64]:
    """Return the L1 norm of each output channel's weights, batch norm folded; ones for a norm
    alone.

    Source: Li et al. 2017, arXiv 1608.08710, on filters. Batch norm cancels the scale of a filter,
    so that the folded weights are measured.
    """
    factor = torch.ones(1)
    if layer.norm is not None:
        norm = module.get_submodule(layer.norm)
        assert isinstance(norm, _Norm)
        assert norm.running_var is not None, "a trace takes running statistics only"
        factor = (norm.running_var + norm.eps).rsqrt()
        if norm.affine:
            factor = factor * norm.weight.detach().abs()
    if layer.path is None:
        return np.ones(len(factor))
    weight = module.get_submodule(layer.path).weight
    assert isinstance(weight, Tensor)
    folded = weight.detach().abs().flatten(1).sum(1) * factor
    folded = folded if layer.rows is None else folded[torch.from_numpy(layer.rows)]
    return folded.double().numpy()


def prune(
    module: nn.Module, choices: ChoiceGraph, layers: Sequence[Layer], choice: Choice
) -> nn.Module:
    """Return a copy of a module with only the channels that a choice keeps, in their order."""
    pruned = copy.deepcopy(module)
    for layer in layers:
        inputs = torch.from_numpy(layer.inputs(choices, choice))
        outputs = torch.from_numpy(layer.outputs(choices, choice))
        if layer.path is not None:
            _cut_layer(pruned.get_submodule(layer.path), inputs, outputs)
        if layer.norm is not None:
            norm = pruned.get_submodule(layer.norm)
            assert isinstance(norm, _Norm)
            norm.num_features = int(outputs.sum())
            for name in ("weight", "bias", "running_mean", "running_var"):
                _cut(norm, name, outputs)
    return pruned


def _marked(module: nn.Module) -> tuple[nn.Module, dict[int, str]]:
    """Copy a module with weights that identify its layers in a trace.

    Each batch norm adds its own number, found in the bias it is folded into. Weights are the
    numbers of their columns, which give the order of inputs; those of depthwise convolutions, and
    the factors of batch norms, are the numbers of their rows.
    """
    if not isinstance(module, nn.Module):
        raise ExportError(
            f"convert takes a torch.nn.Module, but got {type(module).__name__}; pass the network"
        )
    probe = copy.deepcopy(module).eval()
    norms: dict[int, str] = {}
    for path, part in probe.named_modules():
        if isinstance(part, _Norm) and part.running_mean is not None:
            norms[len(norms) + 1] = path
            marker = _STEP * len(norms) + _MORE
            assert part.running_var is not None
            factor = torch.arange(1, part.num_features + 1)
            part.running_mean.copy_(-marker / factor)
            part.running_var.copy_(factor.double() ** -2 - part.eps)
            if part.affine:
                nn.init.ones_(part.weight)
                nn.init.zeros_(part.bias)
        if isinstance(part, Convolution | nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, Convolution | nn.Linear) and _is_plain(part):
            weight = part.weight
            axis = 0 if isinstance(part, Convolution) and part.groups > 1 else 1
            with torch.no_grad():
                weight.transpose(axis, -1).copy_(torch.arange(1, weight.shape[axis] + 1))
    return probe, norms


def _path_of(op: Op, module: nn.Module) -> str:
    """Return the path of the layer that an operator is named after, or is a part of."""
    modules = dict(module.named_modules())
    for path in (op.name, op.name.rpartition(".")[0]):
        if isinstance(modules.get(path), Convolution | nn.Linear | _Norm):
            return path
    kind = type(modules.get(re.sub(r"_\d+$", "", op.name))).__name__
    is_norm = "Norm" in kind and "Batch" not in kind  # of statistics that go by all channels
    raise ExportError(
        "weights must be those of a Conv1d, Conv2d, Linear or BatchNorm layer that is called once, "
        f"but {op.kind} '{op.name}' is "
        + (f"of {kind}; use a BatchNorm" if is_norm else "not; give it a layer of its own")
    )


def _check_own(part: nn.Module, path: str | None, op: Op, claimed: set[int]) -> None:
    """Refuse weights that are computed or that another operator uses too."""
    plain = isinstance(part, _Norm) or _is_plain(part)
    weight = part if isinstance(part, _Norm) else part.weight
    if not plain or id(weight) in claimed:
        problem = "is used twice" if plain else "is computed from others"
        raise ExportError(
            f"a layer's weight must be a parameter of its own, but that of '{path}' in {op.kind} "
            f"'{op.name}' {problem}; "
            + ("give it a layer of its own" if plain else "remove the parametrisation first")
        )
    claimed.add(id(weight))


def _is_plain(part: nn.Module) -> bool:
    return "weight" in dict(part.named_parameters(recurse=False))


def _cut_layer(part: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    if isinstance(part, nn.Linear):
        part.in_features, part.out_features = int(inputs.sum()), int(outputs.sum())
        _cut(part, "weight", outputs, inputs)
    else:
        assert isinstance(part, Convolution)
        depthwise = part.groups == part.in_channels > 1
        _cut(part, "weight", outputs, None if part.groups > 1 else inputs)
        part.in_channels, part.out_channels = int(inputs.sum()), int(outputs.sum())
        if depthwise:
            part.groups = part.in_channels
    _cut(part, "bias", outputs)


def _cut(part: nn.Module, name: str, outputs: Tensor, inputs: Tensor | None = None) -> None:
    """Cut a parameter or buffer to the rows, and columns, that are kept."""
    whole = getattr(part, name)
    if whole is None:
        return
    value = whole.detach()[outputs]
    value = value if inputs is None else value[:, inputs]
    is_parameter = isinstance(whole, nn.Parameter)
    setattr(part, name, nn.Parameter(value, whole.requires_grad) if is_parameter else value)
