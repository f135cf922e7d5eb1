"""Arena of TensorFlow Lite Micro, predicted to the byte.

The arena has two ends. The head holds activations and kernels' scratch memory, laid out by a
greedy planner; the tail holds structures of the interpreter and of each operator for good.
The head follows micro_allocation_info.cc, and is planned by `graph.placement`. The tail replays, in
order, the allocations of micro_allocator.cc and of each kernel's Init and Prepare with the sizes
and alignments of the C structures. Those sizes, and the kernels' scratch memory, are a target's
(`micronas.hardware.targets`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from micronas.graph.ir import DataType, Graph, Kind, Op
from micronas.graph.operators.row import Structures
from micronas.graph.placement import Request, place
from micronas.quantities import aligned

_ALIGNMENT = 16
_OPEN_REQUESTS = 12  # scratch buffers for which TFLM keeps room while an operator is prepared
_DESCRIBED = 7  # most tensors that a kernel of few inputs describes while it is prepared
_PLANNER_ENTRY = 40  # bytes of the planner per buffer


# Bytes of an element; all other types take one, int4 activations too.
_ELEMENT: Mapping[DataType, int] = {
    **dict.fromkeys(("int16", "uint16", "float16"), 2),
    **dict.fromkeys(("int32", "uint32", "float32"), 4),
    **dict.fromkeys(("int64", "uint64", "float64"), 8),
}


@dataclass(frozen=True)
class Buffer:
    """A piece of the head, in use from step `first` to step `last`; operator k is step k + 1."""

    name: str
    size: int
    """Size in bytes, rounded up to 16."""
    first: int
    last: int
    offset: int
    """Offset from the start of the arena in bytes."""
    is_scratch: bool


@dataclass(frozen=True)
class ArenaPlan:
    """Sizes of an arena's parts, in bytes, and its buffers."""

    head: int
    tail: int
    required: int
    """Least size of the arena: more than `total` where allocating takes more than running."""
    buffers: tuple[Buffer, ...]
    complete: bool = True
    """Whether there are no UNKNOWN operators. Memory of their kernels is left out: `tail` and
    `required` are then lower bounds, and so is `head` if one of them takes scratch memory."""

    @property
    def total(self) -> int:
        """Bytes that the interpreter reports as arena used."""
        return self.head + self.tail

    def live_bytes(self, count: int) -> list[int]:
        """Return the bytes in use during each of the first `count` operators; those that buffers
        share count once."""
        begin: dict[int, list[Buffer]] = {}
        for buffer in self.buffers:
            begin.setdefault(buffer.first, []).append(buffer)
        found, live = [], begin.get(0, [])
        for step in range(1, count + 1):
            live = [each for each in (*live, *begin.get(step, ())) if each.last >= step]
            found.append(_covered((each.offset, each.size) for each in live))
        return found


def _covered(ranges: Iterable[tuple[int, int]]) -> int:
    total = end = 0
    for offset, size in sorted(ranges):
        total += max(offset + size - max(offset, end), 0)
        end = max(end, offset + size)
    return total


@dataclass(frozen=True)
class Sizes:
    """Sizes of TFLM's structures on a target, in bytes."""

    fixed: int
    """Size of allocator, planner and the other objects made once."""
    pointer: int
    eval_tensor: int
    node: int
    tensor: int
    affine_quantization: int
    request: int
    """Size of a request for a scratch buffer, kept until it is planned."""
    allocation: int
    """Size of the record of a tensor or scratch buffer while it is planned."""
    kinds: Mapping[Kind, Structures]
    prepared: Callable[[Graph, Op], tuple[int, ...]]
    """Function to the sizes that an operator's kernel allocates for good in Prepare."""


Scratch = Callable[[Graph, Op], tuple[int, ...]]
"""Function to the sizes in bytes of the scratch buffers of an operator's kernel; () for UNKNOWN."""


def plan(graph: Graph, sizes: Sizes, scratch: Scratch) -> ArenaPlan:
    """Predict the arena of a network whose file lists tensors in the order of `graph.tensors`.

    Shapes are enough: activations count as int8 whatever the graph holds, except for positions in a
    table and int16. Only in a graph with UNKNOWN operators, always read from a file, do they have
    their own types. `micronas.hardware.targets` gives the sizes of a target.
    """
    names, requests = _activations(graph)
    tensors = len(requests)
    asked = [scratch(graph, op) for op in graph.ops]
    for step, (op, wanted) in enumerate(zip(graph.ops, asked, strict=True), 1):
        for size in wanted:
            names.append(f"{op.name}/scratch")
            requests.append((aligned(size, _ALIGNMENT), step, step))
    offsets = place(requests)
    buffers = tuple(
        Buffer(name, size, first, last, offset, position >= tensors)
        for position, (name, (size, first, last), offset) in enumerate(
            zip(names, requests, offsets, strict=True)
        )
    )
    head = max((buffer.offset + buffer.size for buffer in buffers), default=0)
    tail, peak = _tail(graph, sizes, [len(wanted) for wanted in asked], len(buffers))
    required = max(head + tail, aligned(peak, _ALIGNMENT))
    return ArenaPlan(head, tail, required, buffers, complete=not _has_unknown(graph))


def _activations(graph: Graph) -> tuple[list[str], list[Request]]:
    """Return names and lifetimes of the tensors that need memory, in the order of the file."""
    first = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for step, op in enumerate(graph.ops, 1):
        for name in op.inputs:
            last[name] = step
        for name in op.outputs:
            first[name] = last[name] = step
    last |= dict.fromkeys(graph.outputs, len(graph.ops))
    names = [name for name in graph.tensors if name in first]
    width: Mapping[DataType, int] = _ELEMENT if _has_unknown(graph) else {"int32": 4, "int16": 2}
    tensors = [graph.tensors[name] for name in names]
    sizes = (
        aligned(math.prod(tensor.shape) * width.get(tensor.dtype, 1), _ALIGNMENT)
        for tensor in tensors
    )
    return names, [(size, first[name], last[name]) for name, size in zip(names, sizes, strict=True)]


def _has_unknown(graph: Graph) -> bool:
    return any(op.kind == "UNKNOWN" for op in graph.ops)


def _tail(graph: Graph, sizes: Sizes, scratch: Sequence[int], buffers: int) -> tuple[int, int]:
    """Return the bytes of the tail, and the most in use at once while it is built.

    `scratch` is the number of scratch buffers of each operator.
    """
    pointer = sizes.pointer
    used = aligned(sizes.fixed + sizes.eval_tensor * (len(graph.tensors) + graph.unused), pointer)
    used = aligned(used + sizes.node * len(graph.ops), pointer)
    kept = [sizes.kinds[op.kind] for op in graph.ops if op.kind != "UNKNOWN"]
    for each in kept:
        if each.options:
            used = aligned(used + each.options, each.alignment)
    for each in kept:
        if each.data:
            used = aligned(used + each.data, _ALIGNMENT)
    described = aligned(sizes.tensor, pointer) + sizes.affine_quantization + 8
    peak = requested = 0
    for op, requests in zip(graph.ops, scratch, strict=True):
        # Prepare describes tensors in temporary memory, with a zero point per channel
        channels = _quantized_channels(graph, op)
        used += 2 * aligned(4 * channels, _ALIGNMENT)
        for size in sizes.prepared(graph, op):
            used = aligned(used + size, _ALIGNMENT)
        temporary = max(_DESCRIBED, len(op.inputs) + 2) * described + 3 * 4 * channels
        requested += requests
        peak = max(peak, used + sizes.request * (requested + _OPEN_REQUESTS) + temporary)
    used = aligned(used + pointer * requested, pointer)
    planning = (
        sizes.allocation * ((len(graph.tensors) + graph.unused) + requested)
        + _PLANNER_ENTRY * buffers
    )
    peak = max(peak, used + sizes.request * (requested + _OPEN_REQUESTS) + planning)
    for tensor in graph.tensors.values():
        if tensor.variable:
            size = tensor.elements * (2 if tensor.dtype == "int16" else 1)
            used = aligned(used + size, _ALIGNMENT)
    for tensors in (graph.inputs, graph.outputs):
        used = aligned(used + pointer * len(tensors), _ALIGNMENT)
        for name in tensors:
            used = aligned(used + sizes.tensor, pointer)
            if graph.tensors[name].quantization is not None or not _has_unknown(graph):
                used = aligned(used + sizes.affine_quantization + 8, 4)
    return used, peak + 2 * _ALIGNMENT  # pieces of temporary memory are aligned one by one


def _quantized_channels(graph: Graph, op: Op) -> int:
    """Return the number of channels with a multiplier and a shift of their own."""
    weights = op.row.weights
    several = weights and (weights.per_channel or graph.constant_of(op).per_channel)
    return graph.output_of(op).shape[-1] if several else 0
