"""Turn a torch module into a float32 graph: NHWC, batch norm folded, TFLite's weight layout."""

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import Node
from torch.fx.node import map_arg
from torch.utils._pytree import SequenceKey, tree_flatten_with_path, tree_unflatten

from micronas.errors import ExportError
from micronas.export.from_torch.capture import capture
from micronas.export.from_torch.layout import Value, canonical, nhwc
from micronas.export.from_torch.operations import named
from micronas.export.from_torch.operations.movement import picked
from micronas.export.from_torch.operations.table import OPERATIONS, REMAINING, SEVERAL
from micronas.export.from_torch.tracer import Tracer, led
from micronas.graph.dropped import with_dropped_axes
from micronas.graph.interface import renamed
from micronas.graph.ir import Graph
from micronas.graph.reshapes import without_reshapes
from micronas.graph.turns import turned_whole, without_detours

_OF_SHAPES = named("zeros_like ones_like full_like new_zeros new_ones")
"""Operations that read only the shape of a value."""
_NONE = "every operation must have an operator to export, but this has none"
_MOVES = ("TRANSPOSE", "GATHER")


def trace(
    module: nn.Module, example_input: Tensor | Sequence[Tensor], *, copy: bool = True
) -> Graph:
    """Record a module in eval mode as a graph of TFLite Micro operators.

    Operators are named after their modules, inputs after the arguments of ``forward``, outputs
    after the keys or fields under which it returns them, if any. In the graph inputs and outputs of
    four dimensions are NHWC. A sequence [N, channels, length] read by convolutions is
    [1, length, 1, channels] there; other inputs and outputs keep their order. Raises ExportError if
    the module cannot be recorded, or has operations without an operator in TFLite Micro: the
    message names each such operation, its module and the nearest supported form.

    Parameters
    ----------
    module
        Module from float32 tensors to float32 tensors, whose first dimension is that of the
        examples; in eval mode, on the CPU.
    example_input
        One tensor for each input, with the shape of the device's input. N is free; the first
        example is traced.
    copy
        Copy the weights. Otherwise those without a folded norm share the module's memory, and
        where the others are large, they are `Scaled`.
    """
    several = isinstance(example_input, list | tuple)
    examples = tuple(example_input) if several else (example_input,)
    # the result has no name here: modules that torch imports meanwhile can keep this frame alive
    return _lowered(capture(module, examples, OPERATIONS.keys() | SEVERAL.keys()), copy)


def _lowered(program: ExportedProgram, copy: bool) -> Graph:
    graph = _graph_of(program, copy, sequences=False)
    if all(len(graph.tensors[name].shape) != 3 for name in graph.inputs):
        return graph
    # The better order of a sequence depends on its readers.
    other = _graph_of(program, copy, sequences=True)
    return min(graph, other, key=lambda graph: sum(op.kind in _MOVES for op in graph.ops))


def _graph_of(program: ExportedProgram, copy: bool, *, sequences: bool) -> Graph:
    """Lower a recorded program; with `sequences`, inputs of rank 3 are maps of width 1."""
    signature = program.graph_signature
    states = {**program.state_dict, **program.constants}
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    nodes = list(program.graph.nodes)
    tracer = Tracer(nodes[0])
    inputs: list[str] = []
    refusals: list[ExportError] = []
    doubtful: set[Node] = set()  # refused nodes, and those that depend on them
    for node in nodes[:-1]:
        tracer.node = node
        try:
            _check_fixed(tracer)
        except ExportError as error:  # no value can stand in for it
            raise _all_of([*refusals, error]) from error
        if node.name in held:
            tracer.constants[node] = states[held[node.name]].detach()
        elif node.op == "placeholder":
            inputs.append(_input(tracer, sequences))
        elif node.target is operator.getitem and not node.users:
            continue
        elif node.target in _OF_SHAPES:
            given = node.args[0].meta["val"]  # which holds no values
            shaped = torch.empty(given.shape, dtype=given.dtype)
            tracer.constants[node] = node.target(shaped, *node.args[1:], **node.kwargs)
        elif node.target is torch.ops.aten.expand_as.default and node.args[0] in tracer.constants:
            tracer.constants[node] = tracer.constants[node.args[0]].expand(node.meta["val"].shape)
        elif _is_constant(tracer, node):
            operands = map_arg((node.args, node.kwargs), tracer.constants.__getitem__)
            tracer.constants[node] = node.target(*operands[0], **operands[1])
        else:
            follows = not doubtful.isdisjoint(node.all_input_nodes)
            doubtful.update([node] if follows else [])
            try:
                _lower(tracer)
            except ExportError as error:
                is_own = _NONE in str(error) and isinstance(node.target, OpOverload)
                if not follows or is_own:  # others may be consequences
                    refusals.append(error)
                doubtful.add(node)
                _pretend(tracer)
    if refusals:
        raise _all_of(refusals)
    # without buffers and inputs that the module changes, whose last values no one reads
    specs = zip(signature.output_specs, nodes[-1].args[0], strict=True)
    returned = [node for spec, node in specs if spec.kind is OutputKind.USER_OUTPUT]
    outputs = [_output(tracer, node) for node in returned]
    if not tracer.ops:
        raise ExportError(
            "a module must compute its output from its input, but this one returns "
            "its input; add a layer"
        )
    outputs = _each_its_own(tracer, outputs, inputs)
    graph = Graph(tracer.finished(copy), tuple(tracer.ops.values()), tuple(inputs), tuple(outputs))
    # fewer operators that move elements
    graph = with_dropped_axes(turned_whole(without_reshapes(without_detours(graph))))
    return _with_names(graph, _names_of_outputs(program))


def _names_of_outputs(program: ExportedProgram) -> list[str | None]:
    """Return the key or field under which a module returns each tensor; None where it is empty."""
    spec = program.call_spec.out_spec
    assert spec is not None
    paths, _ = tree_flatten_with_path(tree_unflatten(range(spec.num_leaves), spec))
    return [
        None
        if all(isinstance(key, SequenceKey) for key in path)
        else ".".join(_word(key) for key in path) or None
        for path, _ in paths
    ]


def _word(key: object) -> str:
    """Return a key of a mapping, a field or a position as text."""
    words = (getattr(key, name, None) for name in ("key", "name", "idx"))
    return str(next(word for word in words if word is not None))


def _with_names(graph: Graph, names: Sequence[str | None]) -> Graph:
    """Give outputs their names in the module, and other names to tensors that have these."""
    given = zip(graph.outputs, names, strict=True)
    wanted = {tensor: name for tensor, name in given if name is not None}
    for name in wanted.values():
        if name in graph.tensors and name not in wanted:
            count = 1
            while f"{name}_{count}" in {*graph.tensors, *wanted.values()}:
                count += 1
            wanted = {**wanted, name: f"{name}_{count}"}
    return renamed(graph, wanted)


def _input(tracer: Tracer, sequences: bool) -> str:
    """Add an input of the module, with its name in ``forward``."""
    shape = tuple(tracer.node.meta["val"].shape)
    name = tracer.unused(tracer.node.name)
    if sequences and len(shape) == 3:
        stored = tracer.stored(name, (1, shape[2], 1, shape[1]))
        tracer.values[tracer.node] = Value(name, stored.positions.reshape(shape))
    else:
        tracer.values[tracer.node] = tracer.stored(name, nhwc(shape))
    return name


def _each_its_own(tracer: Tracer, outputs: Sequence[str], inputs: Sequence[str]) -> list[str]:
    """Return outputs, with copies in place of inputs and of what is returned again."""
    found: list[str] = []
    for name in outputs:
        if name in (*found, *inputs):
            shape = tracer.shape_of(name)
            name = tracer.tabled("RESHAPE", name, {"shape": shape}, shape)
        found.append(name)
    return found


def _output(tracer: Tracer, node: Node) -> str:
    """Return the tensor of an output, in the order of an input of its shape."""
    tracer.node = node
    if node in tracer.constants:
        raise ExportError(
            "a module must compute its output from its input, but this one returns a constant; "
            "add a layer"
        )
    value = tracer.value(node)
    is_sequence = tracer.is_sequence(value) and not _is_of_tokens(value)
    if len(value.shape) == 1 or is_sequence:  # a scalar is [N, 1] on the device
        value = Value(value.tensor, value.positions.unsqueeze(-1))
    return tracer.materialised(value)


def _is_of_tokens(value: Value) -> bool:
    """Return whether elements along the last dimension are stored nearer than along the second."""
    near, far = (value.positions.diff(dim=dim).abs().double().mean() for dim in (2, 1))
    return bool(near < far)


def _check_fixed(tracer: Tracer) -> None:
    """Check that a node's result has the same shape for every input, and is no scalar."""
    results = tracer.node.meta.get("val")
    for result in results if isinstance(results, list | tuple) else [results]:
        sizes = result.shape if isinstance(result, Tensor) else [result]
        if not all(size is None or isinstance(size, int) for size in sizes):
            raise tracer.refusal(
                "shapes and numbers must not depend on values of the input, but these do",
                "keep to steps that are the same for every input",
            )


def _is_constant(tracer: Tracer, node: Node) -> bool:
    """Return whether a node has the same result for every input, as in weight normalisation."""
    random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    return not random and all(source in tracer.constants for source in node.all_input_nodes)


def _lower(tracer: Tracer) -> None:
    node = tracer.node
    if node.target is operator.getitem:
        part = picked(tracer)
        if part is not None:
            tracer.values[node] = part
        return
    if node.target in SEVERAL:
        tracer.parts[node] = SEVERAL[node.target](tracer, tracer.arguments())
        return
    lowering = OPERATIONS.get(node.target) or REMAINING.get(node.target)
    if lowering is None:
        raise tracer.refusal(_NONE)
    value = lowering(tracer, tracer.arguments())
    if value is not None:
        tracer.values[node] = value


def _pretend(tracer: Tracer) -> None:
    """Add placeholder results of a refused operation, so that one message can name all."""
    result = tracer.node.meta["val"]
    shapes = [
        (1,) if part is None else nhwc(tuple(part.shape))  # a decomposition has no such result
        for part in (result if isinstance(result, list | tuple) else [result])
    ]
    values = [
        Value(tracer.stored(tracer.name(), led(shape)).tensor, canonical(shape)) for shape in shapes
    ]
    tracer.values[tracer.node] = values[0]
    tracer.parts[tracer.node] = values


def _all_of(refusals: Sequence[ExportError]) -> ExportError:
    """Return one error for several; each kind of operation is named once, and each way out."""
    first: dict[str, str] = {}
    for error in refusals:
        first.setdefault(str(error).partition(" in ")[0], str(error))
    if len(first) == 1:
        return refusals[0]
    by_advice: dict[str, list[str]] = {}
    for text in first.values():
        problem, _, advice = text.rpartition("; ")
        by_advice.setdefault(advice, []).append(problem.removesuffix(f": {_NONE}"))
    parts = (f"{', '.join(problems)}; {advice}" for advice, problems in by_advice.items())
    return ExportError(f"{len(first)} operations cannot be exported: {'. '.join(parts)}")
