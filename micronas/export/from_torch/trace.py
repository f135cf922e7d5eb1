"""Turns a torch module into a float32 graph: NHWC, batch norm folded, TFLite's weight layout."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_arg

from micronas.errors import ExportError
from micronas.export.from_torch import lower
from micronas.export.from_torch.capture import capture
from micronas.export.from_torch.tracer import Tracer, Value, nhwc
from micronas.graph.ir import Graph

aten = torch.ops.aten


def trace(module: nn.Module, example_input: Tensor) -> Graph:
    """Record a module in eval mode as a graph of TFLite Micro operators.

    Operators are named after the modules they come from. Inputs and outputs of four dimensions
    are NHWC in the graph.

    Parameters
    ----------
    module
        Takes and returns one float32 tensor, [N, features] or [N, channels, height, width]; in
        eval mode, on the CPU.
    example_input
        Of the shape the device will see. N is free; the first example is traced.

    Raises
    ------
    ExportError
        If the module cannot be recorded, or does something TFLite Micro has no operator for:
        the message names the operation, the module it stands in and the nearest supported form.
    """
    return _graph_of(capture(module, example_input, _LOWERINGS))


def _graph_of(program: ExportedProgram) -> Graph:
    signature = program.graph_signature
    states = {**program.state_dict, **program.constants}
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    nodes = list(program.graph.nodes)
    tracer = Tracer(nodes[0])
    for node in nodes[:-1]:
        tracer.node = node
        if node.name in held:
            tracer.constants[node] = states[held[node.name]].detach()
        elif node.op == "call_function" and _is_constant(tracer, node):
            operands = map_arg((node.args, node.kwargs), tracer.constants.__getitem__)
            tracer.constants[node] = node.target(*operands[0], **operands[1])
        elif node.op == "placeholder":
            tracer.values[node] = tracer.stored("input", nhwc(tuple(node.meta["val"].shape)))
        elif node.target is not aten._assert_tensor_metadata.default:
            tracer.values[node] = _lowered(tracer)
    (result,) = nodes[-1].args[0]
    value = tracer.values.get(result)
    if value is None or not tracer.ops:
        raise ExportError(
            "a module must compute its output from its input, but this one returns "
            f"{'a constant' if value is None else 'its input'}; add a layer"
        )
    for tensor in tracer.tensors.values():
        if tensor.data is not None and not np.isfinite(tensor.data).all():
            raise ExportError(
                f"weights must be finite with batch norm folded, but {tensor.name} is not; "
                "look for variances below zero"
            )
    output = tracer.materialised(value)
    return Graph(tracer.tensors, tuple(tracer.ops.values()), ("input",), (output,))


def _is_constant(tracer: Tracer, node: Node) -> bool:
    """Whether a node gives the same for every input, as weight normalisation does."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    return not random and all(source in tracer.constants for source in node.all_input_nodes)


def _lowered(tracer: Tracer) -> Value:
    passed = tracer.passed()
    if passed is not None:
        return passed
    lowering = _LOWERINGS.get(tracer.node.target)
    if lowering is None:
        raise tracer.refusal("every operation must have an operator to export, but this has none")
    return lowering(tracer, tracer.arguments())


_Lowering = Callable[[Tracer, lower.Arguments], Value]
_LOWERINGS: Mapping[Any, _Lowering] = {
    aten.conv2d.default: lower.convolution,
    aten.conv2d.padding: lower.convolution,
    aten.linear.default: lower.linear,
    aten.batch_norm.default: lower.batch_norm,
    aten._native_batch_norm_legit_no_training.default: lower.batch_norm,
    aten.relu.default: lower.relu,
    aten.relu6.default: lower.relu6,
    aten.hardtanh.default: lower.hardtanh,
    aten.clamp.default: lower.clamp,
    aten.clamp_min.default: lower.clamp,
    aten.hardswish.default: lower.hardswish,
    aten.sigmoid.default: lower.sigmoid,
    aten.softmax.int: lower.softmax,
    aten._softmax.default: lower.softmax,
    aten.add.Tensor: lower.add,
    aten.mul.Tensor: lower.multiply,
    aten.cat.default: lower.concatenation,
    aten.pad.default: lower.pad,
    aten.constant_pad_nd.default: lower.pad,
    aten.avg_pool2d.default: lower.average_pool,
    aten.max_pool2d.default: lower.max_pool,
    aten.max_pool2d_with_indices.default: lower.max_pool,
    aten.adaptive_avg_pool2d.default: lower.adaptive_average_pool,
    aten._adaptive_avg_pool2d.default: lower.adaptive_average_pool,
    aten.adaptive_max_pool2d.default: lower.adaptive_max_pool,
    aten.mean.dim: lower.mean,
    **dict.fromkeys(
        (
            aten.view.default,
            aten._unsafe_view.default,
            aten.reshape.default,
            aten.flatten.using_ints,
            aten.unflatten.int,
            aten.permute.default,
            aten.transpose.int,
            aten.t.default,
            aten.squeeze.default,
            aten.squeeze.dim,
            aten.squeeze.dims,
            aten.unsqueeze.default,
            aten.expand.default,
            aten.slice.Tensor,
            aten.select.int,
        ),
        lower.moved,
    ),
    **dict.fromkeys(
        (aten.clone.default, aten.alias.default, aten.contiguous.default, aten._to_copy.default),
        lower.kept,
    ),
}
