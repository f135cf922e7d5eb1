"""The arena of TensorFlow Lite Micro, predicted to the byte.

The arena has two ends. The head holds activations and kernels' scratch memory, laid out by a
greedy planner; the tail holds what stays: structures of the interpreter and of each operator.
The head follows greedy_memory_planner.cc and micro_allocation_info.cc. The tail replays, in
order, the allocations of micro_allocator.cc and of each kernel's Init and Prepare with the sizes
and alignments of the C structures, which differ between a 64-bit host with reference kernels
(the `tflite_micro` wheel) and a 32-bit Cortex-M with CMSIS-NN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from micronas.graph.ir import DataType, Graph, Kind, Op, Unknown

Target = Literal["host", "board"]
Request = tuple[int, int, int]
"""Bytes, and the first and last step at which they are in use."""

_ALIGNMENT = 16
_OPEN_REQUESTS = 12  # scratch buffers TFLM keeps room for while an operator is prepared
_DESCRIBED = 7  # tensors a kernel of few inputs describes while it is prepared, at most
_PLANNER_ENTRY = 40  # what the planner notes on a buffer


# bytes; all other types take one, int4 activations too
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
    """Bytes, rounded up to 16."""
    first: int
    last: int
    offset: int
    """Bytes from the start of the arena."""
    is_scratch: bool


@dataclass(frozen=True)
class ArenaPlan:
    """Where everything lies in the arena, in bytes."""

    head: int
    tail: int
    required: int
    """Size the arena must have: more than `total` where allocating takes more than running."""
    buffers: tuple[Buffer, ...]
    complete: bool = True
    """False with UNKNOWN operators. What their kernels ask for is then left out: `tail` and
    `required` are lower bounds, and so is `head` if one of them asks for scratch memory."""

    @property
    def total(self) -> int:
        """What the interpreter reports as arena used."""
        return self.head + self.tail

    def live(self, position: int) -> tuple[Buffer, ...]:
        """Return the buffers in use while the operator at this position runs, by offset."""
        step = position + 1
        found = (buffer for buffer in self.buffers if buffer.first <= step <= buffer.last)
        return tuple(sorted(found, key=lambda buffer: buffer.offset))


@dataclass(frozen=True)
class _Layout:
    """Sizes of TFLM's structures, in bytes."""

    fixed: int
    """Allocator, planner and the other objects made once."""
    pointer: int
    eval_tensor: int
    node: int
    tensor: int
    affine_quantization: int
    request: int
    """Notes on a scratch buffer until it is planned."""
    allocation: int
    """Notes on a tensor or scratch buffer while it is planned."""
    options: Mapping[Kind | Unknown, tuple[int, int]]
    """The operator's parsed options: size and alignment."""
    data: Mapping[Kind | Unknown, int]
    """The kernel's own structure."""


_HOST = _Layout(
    fixed=484,
    pointer=8,
    eval_tensor=24,
    node=64,
    tensor=64,
    affine_quantization=24,
    request=16,
    allocation=32,
    options={
        "CONV_2D": (28, 4),
        "DEPTHWISE_CONV_2D": (28, 4),
        "FULLY_CONNECTED": (32, 4),
        "ADD": (8, 4),
        "AVERAGE_POOL_2D": (40, 4),
        "MAX_POOL_2D": (40, 4),
        "MEAN": (1, 1),
        "RESHAPE": (36, 4),
        "SOFTMAX": (4, 4),
        "CONCATENATION": (8, 4),
    },
    data={
        "CONV_2D": 80,
        "DEPTHWISE_CONV_2D": 80,
        "FULLY_CONNECTED": 72,
        "ADD": 60,
        "PAD": 56,
        "AVERAGE_POOL_2D": 32,
        "MAX_POOL_2D": 32,
        "MEAN": 44,
        "SOFTMAX": 80,
        "CONCATENATION": 80,
        "LOGISTIC": 16,
        "HARD_SWISH": 20,
        "RELU": 28,
        "RELU6": 2,
    },
)
# enumerations take one byte under the ARM embedded ABI, so options shrink with them
_BOARD = _Layout(
    fixed=136,
    pointer=4,
    eval_tensor=12,
    node=32,
    tensor=32,
    affine_quantization=12,
    request=12,
    allocation=24,
    options={**_HOST.options, "FULLY_CONNECTED": (5, 1), "ADD": (2, 1)},
    data={
        "CONV_2D": 60,
        "DEPTHWISE_CONV_2D": 60,
        "FULLY_CONNECTED": 80,
        "ADD": 60,
        "PAD": 56,
        "AVERAGE_POOL_2D": 36,
        "MAX_POOL_2D": 36,
        "MEAN": 44,
        "SOFTMAX": 60,
        "CONCATENATION": 24,
        "LOGISTIC": 16,
        "HARD_SWISH": 20,
        "RELU": 28,
        "RELU6": 2,
    },
)


def plan(graph: Graph, target: Target = "board") -> ArenaPlan:
    """Predict the arena of a network whose file lists tensors in the order of `graph.tensors`.

    Shapes are enough: activations are taken as int8 whatever the graph holds. Only a graph with
    UNKNOWN operators, which is always a file's, has activations of the types it notes.

    Parameters
    ----------
    graph
        The network.
    target
        ``board``: 32-bit Cortex-M with DSP extension (M4, M7, M33) and CMSIS-NN;
        ``host``: x86-64 with reference kernels, as the `tflite_micro` wheel measures it.
    """
    names, requests = _activations(graph)
    tensors = len(requests)
    scratch = [_scratch(graph, op, target) for op in graph.ops]
    for step, (op, sizes) in enumerate(zip(graph.ops, scratch, strict=True), 1):
        for size in sizes:
            names.append(f"{op.name}/scratch")
            requests.append((_align(size, _ALIGNMENT), step, step))
    offsets = place(requests)
    buffers = tuple(
        Buffer(name, size, first, last, offset, position >= tensors)
        for position, (name, (size, first, last), offset) in enumerate(
            zip(names, requests, offsets, strict=True)
        )
    )
    head = max((buffer.offset + buffer.size for buffer in buffers), default=0)
    layout = _BOARD if target == "board" else _HOST
    tail, peak = _tail(graph, layout, [len(sizes) for sizes in scratch], len(buffers))
    required = max(head + tail, _align(peak, _ALIGNMENT))
    return ArenaPlan(head, tail, required, buffers, complete=not _has_unknown(graph))


def place(requests: Sequence[Request]) -> list[int]:
    """Place buffers as TFLM's greedy planner does and return their offsets.

    Largest first, of equals the one requested last; each at the lowest gap that holds it among
    the buffers already placed that are in use at the same time.
    """
    order = sorted(range(len(requests) - 1, -1, -1), key=lambda index: -requests[index][0])
    placed: list[tuple[int, int, int, int]] = []  # by offset: start, end, first, last
    offsets = [0] * len(requests)
    for index in order:
        size, first, last = requests[index]
        offset = 0
        for start, end, other_first, other_last in placed:
            if other_first <= last and first <= other_last:
                if start - offset >= size:
                    break
                if end > offset:
                    offset = end
        offsets[index] = offset
        position = len(placed)
        while position and placed[position - 1][0] > offset:
            position -= 1
        placed.insert(position, (offset, offset + size, first, last))
    return offsets


def _activations(graph: Graph) -> tuple[list[str], list[Request]]:
    """Names and lifetimes of the tensors that need memory, in the order of the file."""
    first = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    for step, op in enumerate(graph.ops, 1):
        for name in op.inputs:
            last[name] = step
        for name in op.outputs:
            first[name] = last[name] = step
    last |= dict.fromkeys(graph.outputs, len(graph.ops))
    names = [name for name in graph.tensors if name in first]
    width: Mapping[DataType, int] = _ELEMENT if _has_unknown(graph) else {}
    tensors = [graph.tensors[name] for name in names]
    sizes = (
        _align(math.prod(tensor.shape) * width.get(tensor.dtype, 1), _ALIGNMENT)
        for tensor in tensors
    )
    return names, [(size, first[name], last[name]) for name, size in zip(names, sizes, strict=True)]


def _has_unknown(graph: Graph) -> bool:
    return any(op.kind == "UNKNOWN" for op in graph.ops)


def _scratch(graph: Graph, op: Op, target: Target) -> tuple[int, ...]:
    """Sizes of the scratch buffers a kernel requests, in bytes."""
    if op.kind == "MEAN":  # sums, index and axes, int32 each: no CMSIS-NN kernel exists
        axes = math.prod(graph.constant_of(op).shape)
        sums = math.prod(graph.output_of(op).shape)
        return 4 * sums, 4 * len(graph.input_of(op).shape), 4 * axes
    if op.kind == "AVERAGE_POOL_2D":
        return (4 * graph.input_of(op).shape[-1],) if target == "board" else ()
    if op.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return ()
    weights = graph.constant_of(op)
    is_int4 = weights.dtype == "int4"
    if target == "host":
        return (math.prod(weights.shape),) if is_int4 else ()
    # CMSIS-NN copies patches as int16: two rows for a convolution, one for a depthwise one
    patch = math.prod(weights.shape[1:])
    if op.kind == "CONV_2D" and weights.shape[1:3] != (1, 1):
        return (4 * (patch if is_int4 else _align(patch, 4)),)
    is_single = op.kind == "DEPTHWISE_CONV_2D" and weights.shape[3] == graph.input_of(op).shape[3]
    if is_single and (is_int4 or weights.shape[1:3] != (3, 3)):
        return (2 * patch,)
    return ()


def _tail(graph: Graph, layout: _Layout, scratch: Sequence[int], buffers: int) -> tuple[int, int]:
    """Bytes of the tail, and the most that is in use at once while it is built.

    `scratch` is the number of scratch buffers each operator requests.
    """
    pointer = layout.pointer
    used = _align(layout.fixed + layout.eval_tensor * len(graph.tensors), pointer)
    used = _align(used + layout.node * len(graph.ops), pointer)
    for op in graph.ops:
        if op.kind in layout.options:
            size, alignment = layout.options[op.kind]
            used = _align(used + size, alignment)
    for op in graph.ops:
        if op.kind in layout.data:
            used = _align(used + layout.data[op.kind], _ALIGNMENT)
    described = _align(layout.tensor, pointer) + layout.affine_quantization + 8
    peak = requested = 0
    for op, requests in zip(graph.ops, scratch, strict=True):
        # Prepare describes tensors in temporary memory, with a zero point for each channel
        channels = _quantized_channels(graph, op)
        used += 2 * _align(4 * channels, _ALIGNMENT)
        temporary = max(_DESCRIBED, len(op.inputs) + 2) * described + 3 * 4 * channels
        requested += requests
        peak = max(peak, used + layout.request * (requested + _OPEN_REQUESTS) + temporary)
    used = _align(used + pointer * requested, pointer)
    planning = layout.allocation * (len(graph.tensors) + requested) + _PLANNER_ENTRY * buffers
    peak = max(peak, used + layout.request * (requested + _OPEN_REQUESTS) + planning)
    for tensors in (graph.inputs, graph.outputs):
        used = _align(used + pointer * len(tensors), _ALIGNMENT)
        for name in tensors:
            used = _align(used + layout.tensor, pointer)
            if graph.tensors[name].quantization is not None or not _has_unknown(graph):
                used = _align(used + layout.affine_quantization + 8, 4)
    return used, peak + 2 * _ALIGNMENT  # pieces of temporary memory are aligned on their own


def _quantized_channels(graph: Graph, op: Op) -> int:
    """Channels that have a multiplier and a shift of their own."""
    if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return graph.output_of(op).shape[-1]
    if op.kind == "FULLY_CONNECTED":
        quantization = graph.constant_of(op).quantization
        return quantization.scale.size if quantization and quantization.axis is not None else 0
    return 0


def _align(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
