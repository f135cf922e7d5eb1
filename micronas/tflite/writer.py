"""Write a graph as a TensorFlow Lite flatbuffer that TFLM and LiteRT run.

Without a converter, scales stay exactly those that were trained, buffers are aligned for the
device, and the size of a candidate is known before training.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import ai_edge_litert.schema_py_generated as schema
import numpy as np

from micronas.errors import ExportError
from micronas.graph.ir import Array, DataType, Graph, Op, Quantization, Tensor
from micronas.graph.operators.row import Field, Option
from micronas.tflite.flatbuffer import Bytes, Size
from micronas.tflite.order import in_file

_TYPES = ("int8", "int4", "int32", "int16", "int64")
"""Types of tensors; the last two are those of states, and of wide files."""
_DESCRIPTION = "micronas"
_SIGNATURE = "serving_default"
_STRUCTURE = 1024
"""Bytes per tensor that suffice for most names, scales and operators."""


def to_flatbuffer(graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> bytes:
    """Write an int8 graph as the bytes of a ``.tflite`` file; the same graph gives the same bytes.

    Tensors keep the order of ``graph.tensors``, on which TFLM's memory plan depends. TFLite
    operators have no names: an operator's name is that of its output tensor. With several inputs or
    outputs the file has a signature, ``serving_default``, of the tensors' names. `metadata` are
    named blobs to store beside the network. Raises ExportError if a tensor is not quantised to int8
    (weights may be int4), or a constant has no data.
    """
    return bytes(packed(graph, metadata=metadata))


def packed(graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> memoryview:
    """Return what `to_flatbuffer` does, without a copy of it."""
    sink = Bytes(_STRUCTURE * 64 + sum(map(_most_bytes, graph.tensors.values())))
    _Writer(sink).write(graph, metadata or {})
    return sink.content()


def _most_bytes(tensor: Tensor) -> int:
    """Return more than what a tensor and its operator take: a buffer that grows is copied."""
    data = 0 if tensor.data is None else tensor.data.nbytes
    scales = 0 if tensor.quantization is None else len(tensor.quantization.scale)
    return data + _STRUCTURE + scales * (4 + 8)  # a scale and a zero point


def flatbuffer_bytes(graph: Graph, *, metadata: Mapping[str, bytes] | None = None) -> int:
    """Return the size in bytes of the ``.tflite`` file of a graph, which needs no data.

    Tensors without quantisation count as training quantises them: convolutions with one scale per
    channel, FULLY_CONNECTED with one scale, int8 (or int4, if so marked), int32 biases.
    """
    sink = Size()
    _Writer(sink).write(_with_placeholders(graph), metadata or {})
    return sink.content()


def _with_placeholders(graph: Graph) -> Graph:
    """Fill in zeros and unit scales, as many as a trained graph of these shapes has."""
    scales: dict[str, Quantization] = {}
    biases = set()
    for op in graph.ops:
        weights, bias = op.row.weights, op.biases
        biases |= set(bias)
        if weights and weights.per_channel:
            ones = np.ones(graph.constant_of(op).shape[weights.axis], np.float32)
            axis = weights.axis if len(ones) > 1 else None
            scales[op.inputs[1]] = Quantization(ones, 0, axis)
            scales |= dict.fromkeys(bias, Quantization(ones))
    one = Quantization(np.ones(1, np.float32))

    def placeholder(tensor: Tensor) -> Tensor:
        is_wide = tensor.name in biases or (tensor.dtype == "int32" and not tensor.constant)
        if tensor.quantization is None and (is_wide or tensor.dtype != "int32"):
            dtype: DataType = tensor.dtype if tensor.dtype in ("int4", "int16") else "int8"
            dtype = "int32" if is_wide else dtype
            quantization = scales.get(tensor.name, one)
            tensor = replace(tensor, dtype=dtype, quantization=quantization, data=None)
        if tensor.constant and tensor.data is None and not tensor.variable:
            kind = np.int32 if tensor.dtype == "int32" else np.int8
            tensor = replace(tensor, data=np.zeros(tensor.shape, kind))
        return tensor

    tensors = {name: placeholder(tensor) for name, tensor in graph.tensors.items()}
    return replace(graph, tensors=tensors)


class _Writer:
    """Writer of one graph to a sink."""

    def __init__(self, sink: Bytes | Size) -> None:
        self._to = sink
        self._buffers = [self._table("Buffer")]  # buffer 0 is empty: for tensors in the arena
        self._shared_buffers: dict[bytes, int] = {}
        self._zero_points: dict[int, int] = {}
        self._codes: dict[tuple[str, int], int] = {}

    def write(self, graph: Graph, metadata: Mapping[str, bytes]) -> None:
        for name, blob in metadata.items():
            if not (isinstance(name, str) and isinstance(blob, bytes)):
                raise ExportError(
                    f"metadata must be bytes by name, but has {name!r}: {type(blob).__name__}; "
                    "encode it"
                )
        tensors = [self._tensor(tensor) for tensor in graph.tensors.values()]
        index = {name: position for position, name in enumerate(graph.tensors)}
        operators = [self._operator(graph, op, index) for op in graph.ops]
        entries = [
            self._table("Metadata", Name=self._to.string(name), Buffer=self._buffer(blob))
            for name, blob in metadata.items()
        ]
        subgraph = self._table(
            "SubGraph",
            Tensors=self._to.offsets(tensors),
            Inputs=self._integers([index[name] for name in graph.inputs]),
            Outputs=self._integers([index[name] for name in graph.outputs]),
            Operators=self._to.offsets(operators),
            Name=self._to.string("main"),
        )
        codes = [self._operator_code(builtin, version) for builtin, version in self._codes]
        fields = {"Metadata": self._to.offsets(entries)} if entries else {}
        if len(graph.inputs) > 1 or len(graph.outputs) > 1:
            fields["SignatureDefs"] = self._to.offsets([self._signature(graph, index)])
        model = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._to.offsets(codes),
            Subgraphs=self._to.offsets([subgraph]),
            Description=self._to.string(_DESCRIPTION),
            Buffers=self._to.offsets(self._buffers),
            **fields,
        )
        self._to.finish(model)

    def _signature(self, graph: Graph, index: Mapping[str, int]) -> int:
        """Write the names of inputs and outputs for LiteRT's signature runner; TFLM skips them."""

        def named(tensors: Sequence[str]) -> int:
            maps = [
                self._table("TensorMap", Name=self._to.string(name), TensorIndex=index[name])
                for name in tensors
            ]
            return self._to.offsets(maps)

        return self._table(
            "SignatureDef",
            Inputs=named(graph.inputs),
            Outputs=named(graph.outputs),
            SignatureKey=self._to.string(_SIGNATURE),
            SubgraphIndex=0,
        )

    def _tensor(self, tensor: Tensor) -> int:
        quantization = tensor.quantization
        if tensor.dtype not in _TYPES or (quantization is None and tensor.dtype != "int32"):
            raise ExportError(
                f"export takes tensors quantised to int8, but {tensor.name!r} is {tensor.dtype} "
                f"with{'' if quantization else 'out'} a scale; quantise the graph first"
            )
        is_given = tensor.constant and not tensor.variable
        fields = {
            "Shape": self._integers(tensor.shape),
            "Type": getattr(schema.TensorType, tensor.dtype.upper()),
            "Buffer": self._constant(tensor) if is_given else 0,
            "Name": self._to.string(tensor.name),
        }
        if tensor.variable:
            fields["IsVariable"] = True
        if quantization is not None:
            fields["Quantization"] = self._quantization(quantization, shared=is_given)
        return self._table("Tensor", **fields)

    def _constant(self, tensor: Tensor) -> int:
        if tensor.data is None or tensor.data.shape != tensor.shape:
            raise ExportError(
                f"a constant must have data of its shape, but {tensor.name!r} is {tensor.shape} "
                f"with {None if tensor.data is None else tensor.data.shape}; train the graph, or "
                "ask flatbuffer_bytes for its size"
            )
        if tensor.dtype == "int4":
            return self._buffer(pack_int4(tensor.data))
        data = tensor.data.astype(np.dtype(tensor.dtype).newbyteorder("<")).tobytes()
        # Shape tables repeat, and so do the matrices of unrolled steps. Zeros, of untrained graphs,
        # are not compared, so that a file's size depends on the architecture alone.
        is_matrix = tensor.dtype == "int8" and len(tensor.shape) == 2 and tensor.data.any()
        if tensor.quantization is not None and not is_matrix:
            return self._buffer(data)
        key = hashlib.blake2b(data).digest()
        if key not in self._shared_buffers:
            self._shared_buffers[key] = self._buffer(data)
        return self._shared_buffers[key]

    def _buffer(self, data: bytes) -> int:
        self._buffers.append(self._table("Buffer", Data=self._to.constant(data)))
        return len(self._buffers) - 1

    def _quantization(self, quantization: Quantization, *, shared: bool) -> int:
        count = len(quantization.scale)
        zero_points = [quantization.zero_point] * count
        if shared and quantization.zero_point == 0:
            if count not in self._zero_points:
                self._zero_points[count] = self._to.vector(zero_points, "<i8")
            vector = self._zero_points[count]
        else:
            vector = self._to.vector(zero_points, "<i8")
        return self._table(
            "QuantizationParameters",
            Scale=self._to.vector(quantization.scale, "<f4"),
            ZeroPoint=vector,
            QuantizedDimension=quantization.axis or 0,
        )

    def _operator(self, graph: Graph, op: Op, index: Mapping[str, int]) -> int:
        if op.kind == "UNKNOWN":
            raise ExportError(
                f"export takes operators a graph can express, but {op.outputs[0]!r} comes from "
                f"{op.name}; change the network"
            )
        row = op.row
        version = row.builtin or op.kind, _version(graph, op)
        code = self._codes.setdefault(version, len(self._codes))
        inputs = self._integers([index[name] if name else -1 for name in in_file(op)])
        outputs = self._integers([index[name] for name in op.outputs])
        fields = {"OpcodeIndex": code, "Inputs": inputs, "Outputs": outputs}
        if row.options is not None:
            stored = [self._option(graph, op, option) for option in row.stored]
            options = {name: value for part in stored for name, value in part.items()}
            fields["BuiltinOptionsType"] = getattr(schema.BuiltinOptions, row.options)
            fields["BuiltinOptions"] = self._table(row.options, **options)
        return self._table("Operator", **fields)

    def _option(self, graph: Graph, op: Op, option: Option | Field) -> dict[str, float]:
        """Return fields of the options' table without those that have the schema's default."""
        if isinstance(option, Field):
            value = getattr(op, option.name)
            values = value if isinstance(value, tuple) else (value,)
            return dict(zip(option.options, values, strict=True))
        match option:
            case "sweep":
                padding = getattr(schema.Padding, op.padding)
                return {"Padding": padding, "StrideH": op.stride[0], "StrideW": op.stride[1]}
            case "multiplier":
                depth = graph.input_of(op).shape[3]
                return {"DepthMultiplier": graph.constant_of(op).shape[3] // depth}
            case "activation":
                activation = getattr(schema.ActivationFunctionType, op.activation)
                return {"FusedActivationFunction": activation}
            case "keep_dims":
                kept = len(graph.output_of(op).shape) == len(graph.input_of(op).shape)
                return {"KeepDims": kept}
            case "new_shape":
                has_shape = len(op.inputs) > 1
                return {} if has_shape else {"NewShape": self._integers(graph.output_of(op).shape)}
            case "beta":
                return {"Beta": 1.0}
            case "axis":
                return {"Axis": op.axis}
            case "masks":
                begin, end, dropped = op.masks
                return {"BeginMask": begin, "EndMask": end, "ShrinkAxisMask": dropped}
            case "recurrence":
                return {
                    "FusedActivationFunction": schema.ActivationFunctionType.TANH,
                    "CellClip": op.clip,
                }
            case "format":  # rows of features keep their dimensions, a map is flattened
                return {"KeepNumDims": len(graph.output_of(op).shape) > 2}
            case "unclamped" | "plain_gather":
                return {}

    def _operator_code(self, builtin: str, version: int) -> int:
        code = getattr(schema.BuiltinOperator, builtin)
        former = min(code, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        return self._table(
            "OperatorCode", DeprecatedBuiltinCode=former, BuiltinCode=code, Version=version
        )

    def _table(self, name: str, **fields: float) -> int:
        """Write a table; names are the schema's, values are scalars or offsets."""
        return self._to.table(name, fields)

    def _integers(self, values: Sequence[int]) -> int:
        return self._to.vector(values, "<i4")


def _version(graph: Graph, op: Op) -> int:
    """Return an operator's version: LiteRT refuses weights newer than it; TFLM ignores it."""
    row = op.row
    if row.weights is None:
        return row.version
    weights = graph.constant_of(op)
    scales = 1 if weights.quantization is None else len(weights.quantization.scale)
    if scales > 1 and row.weights.per_channel_version:
        return row.weights.per_channel_version
    packed = row.weights.int4_version if weights.dtype == "int4" else None
    return packed or row.version


def pack_int4(values: Array) -> bytes:
    """Pack values of -8..7, two per byte, the first in the low half."""
    nibbles = values.reshape(-1).astype(np.uint8) & 15
    nibbles = np.append(nibbles, np.zeros(len(nibbles) % 2, np.uint8))
    return (nibbles[0::2] | nibbles[1::2] << 4).tobytes()
