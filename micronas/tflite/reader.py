"""Reads a ``.tflite`` file of one network, ours or another's, back into a graph."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import ai_edge_litert.schema_py_generated as schema
import numpy as np
from flatbuffers.table import Table

from micronas.errors import ModelError
from micronas.graph import recurrent
from micronas.graph.check import broken_rule, check_int8, check_structure
from micronas.graph.ir import (
    Activation,
    Array,
    DataType,
    Graph,
    Kind,
    Op,
    Padding,
    Quantization,
    Tensor,
)
from micronas.graph.operators import OPERATORS, Option
from micronas.tflite.order import in_graph

_TYPES: dict[int, tuple[DataType, str]] = {
    schema.TensorType.INT8: ("int8", "<i1"),
    schema.TensorType.INT4: ("int4", "<i1"),
    schema.TensorType.INT32: ("int32", "<i4"),
}
_STATES: dict[int, tuple[DataType, str]] = {schema.TensorType.INT16: ("int16", "<i2")}
_KEPT_TYPES: dict[int, tuple[DataType, str]] = {
    **_TYPES,
    schema.TensorType.FLOAT32: ("float32", "<f4"),
    schema.TensorType.FLOAT16: ("float16", "<f2"),
    schema.TensorType.FLOAT64: ("float64", "<f8"),
    schema.TensorType.BOOL: ("bool", "?"),
    schema.TensorType.UINT8: ("uint8", "<u1"),
    schema.TensorType.INT16: ("int16", "<i2"),
    schema.TensorType.UINT16: ("uint16", "<u2"),
    schema.TensorType.UINT32: ("uint32", "<u4"),
    schema.TensorType.INT64: ("int64", "<i8"),
    schema.TensorType.UINT64: ("uint64", "<u8"),
}
_TYPE_NAMES = {value: name for name, value in vars(schema.TensorType).items() if name[0] != "_"}
_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"
}
_KINDS: dict[int, Kind] = {
    getattr(schema.BuiltinOperator, kind): kind
    for kind, row in OPERATORS.items()
    if not row.builtin
}
_ACTIVATIONS: dict[int, Activation] = {
    getattr(schema.ActivationFunctionType, name): name for name in get_args(Activation)
}
_PADDINGS: dict[int, Padding] = {getattr(schema.Padding, name): name for name in get_args(Padding)}
_RESHAPES = (schema.BuiltinOperator.SQUEEZE, schema.BuiltinOperator.EXPAND_DIMS)
"""Operators of files that are read as RESHAPE: TFLM copies for all three."""
_INFERRED: tuple[Option, ...] = ("keep_dims", "new_shape")
"""Options that the shapes of a graph say."""
_EMPTY: Array = np.empty(0, np.int32)
_LARGEST_RANK = 8
_LARGEST_VTABLE = 64
"""Bytes; no table of the schema has more fields than fit."""
_MOST_PARTS = 2**16
"""Tensors, operators or buffers of a network; no board holds more."""
_MOST_OPERANDS = 64


def read(data: bytes, *, unknown: Literal["refuse", "keep"] = "refuse") -> Graph:
    """Read a network.

    Tensors keep the file's order; names that repeat get a suffix; an operator is named after its
    output. int4 data is unpacked. A single scale is per tensor, whatever axis the file notes.

    Parameters
    ----------
    data
        Contents of the file.
    unknown
        What becomes of operators whose kind, types or options an int8 `Graph` cannot express.
        ``refuse``: they are an error, so that the graph returned can be executed and exported.
        ``keep``: they become operators of kind UNKNOWN, named as TFLite names them, with their
        tensors of any type; such a graph can be counted and planned.

    Raises
    ------
    ModelError
        If the file is damaged, has control flow or tensors that no device can hold, or, unless
        ``keep``, operators, types or options a `Graph` cannot express.
    """
    if data[4:8] != b"TFL3":
        raise ModelError(
            f"a model must be a TFLite flatbuffer, but these {len(data)} bytes lack its "
            "identifier TFL3; pass the contents of a .tflite file"
        )
    keeps = unknown == "keep"
    try:
        graph = _Reader(data, keeps=keeps).graph()
    except (
        struct.error,
        LookupError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
    ) as error:
        raise ModelError(
            f"a model must be a whole TFLite flatbuffer, but these {len(data)} bytes are damaged "
            f"({type(error).__name__}); export or download it again"
        ) from error
    if not keeps:
        check_int8(graph)
        return graph
    check_structure(graph)
    ops = (
        replace(op, kind="UNKNOWN", name=op.kind)
        if op.kind != "UNKNOWN" and broken_rule(graph, op)
        else op
        for op in graph.ops
    )
    return replace(graph, ops=tuple(ops))


class _Table(Table):  # type: ignore[misc]
    """A table of a file whose layout is looked up once for all tables that share it.

    The generated code reads it again for every field, which takes most of the time of large files.
    """

    def __init__(self, table: Table, known: dict[int, tuple[int, ...]]) -> None:
        super().__init__(table.Bytes, table.Pos)
        place = table.Pos - struct.unpack_from("<i", table.Bytes, table.Pos)[0]
        if place not in known:
            (size,) = struct.unpack_from("<H", table.Bytes, place)
            slots = min(size, _LARGEST_VTABLE) // 2
            known[place] = struct.unpack_from(f"<{slots}H", table.Bytes, place)
        self._places = known[place]

    def Offset(self, slot: int) -> int:  # noqa: N802
        return self._places[slot // 2] if slot // 2 < len(self._places) else 0


class _Reader:
    def __init__(self, data: bytes, *, keeps: bool) -> None:
        self._data = data
        self._keeps = keeps
        self._types = _KEPT_TYPES if keeps else _TYPES
        self._model = schema.Model.GetRootAs(data, 0)
        # Damaged offsets can make a few bytes stand for any amount of text and constants.
        self._allowance = 16 * len(data)
        self._buffers = max(1, self._count(self._model.BuffersLength()))
        self._vtables: dict[int, tuple[int, ...]] = {}
        self._codes: dict[int, tuple[int, str]] = {}

    def graph(self) -> Graph:
        count = self._count(self._model.SubgraphsLength())
        if count != 1:
            raise ModelError(
                f"a model must have 1 subgraph, but this one has {count}; "
                "convert it without control flow"
            )
        if self._model.BuffersLength() and self._model.Buffers(0).DataLength():
            raise ModelError(
                "buffer 0 of a model must be empty, as tensors without data name it, but it has "
                f"{self._model.Buffers(0).DataLength()} bytes; convert the model again"
            )
        subgraph = self._model.Subgraphs(0)
        tensors: dict[str, Tensor] = {}
        within = self._within(subgraph)
        found = []
        for position in range(self._count(subgraph.TensorsLength())):
            if position in within:
                found.append("")
                continue
            tensor = self._tensor(self._quick(subgraph.Tensors(position)), position, tensors)
            tensors[tensor.name] = tensor
            found.append(tensor.name)
        names = tuple(found)
        return Graph(
            tensors,
            tuple(
                self._op(self._quick(subgraph.Operators(position)), position, tensors, names)
                for position in range(self._count(subgraph.OperatorsLength()))
            ),
            _named(_vector(subgraph.InputsAsNumpy()), names),
            _named(_vector(subgraph.OutputsAsNumpy()), names),
            len(within),
        )

    def _within(self, subgraph: Any) -> set[int]:
        """Tensors of which operators say that they are only theirs, and no operator reads."""
        listed: set[int] = set()
        used: set[int] = set()
        for position in range(self._count(subgraph.OperatorsLength())):
            op = self._quick(subgraph.Operators(position))
            own = _vector(op.IntermediatesAsNumpy())
            if len(own):
                listed |= self._few(own)
        for position in range(subgraph.OperatorsLength()) if listed else ():
            op = self._quick(subgraph.Operators(position))
            used |= self._few(_vector(op.InputsAsNumpy())) | self._few(_vector(op.OutputsAsNumpy()))
        return (listed - used) & {*range(self._count(subgraph.TensorsLength()))}

    def _few(self, indices: Any) -> set[int]:
        """Tensors of one operator, of which there are not many."""
        if len(indices) > _MOST_OPERANDS:
            raise ValueError("operands")
        self._spend(len(indices))
        return {int(index) for index in indices}

    def _quick(self, source: Any) -> Any:
        source._tab = _Table(source._tab, self._vtables)
        return source

    def _count(self, length: int) -> int:
        """Let no vector claim more entries than the file has room for."""
        if length > len(self._data) // 4:
            raise ValueError("vector longer than the file")
        if length > _MOST_PARTS:
            raise ModelError(
                f"a model must have at most {_MOST_PARTS} tensors, operators and buffers, but this "
                f"one has {length} of one of them; give a part of it"
            )
        return length

    def _spend(self, amount: int) -> None:
        self._allowance -= amount
        if self._allowance < 0:
            raise ValueError("parts overlap")

    def _tensor(self, source: Any, position: int, taken: dict[str, Tensor]) -> Tensor:
        name = (source.Name() or b"tensor").decode("utf-8", "replace")
        self._spend(len(name))
        if name in taken:
            name = f"{name}_{position}"
            while name in taken:
                name += "_"
        is_sparse = source.Sparsity() is not None
        types = {**self._types, **_STATES} if source.IsVariable() else self._types
        if source.Type() not in types or (is_sparse and not self._keeps):
            wanted = "numbers" if self._keeps else "int8, int4 or int32 and dense"
            raise ModelError(
                f"tensors must be {wanted}, but {name!r} is "
                f"{_TYPE_NAMES.get(source.Type(), source.Type())}; "
                "convert the model with int8 input and output"
            )
        dtype, storage = types[source.Type()]
        sizes = _vector(source.ShapeAsNumpy())
        if len(sizes) > _LARGEST_RANK:
            raise ValueError("rank")
        shape = tuple(map(int, sizes))
        values = None
        number = source.Buffer()
        if number >= self._buffers:
            raise IndexError("buffer")
        buffer = self._model.Buffers(number) if number else None
        if source.IsVariable() and buffer is not None and buffer.DataLength():
            raise ModelError(
                "a variable tensor must have no data, as a device starts it at zero, but "
                f"{name!r} has {buffer.DataLength()} bytes; convert the model again"
            )
        if buffer is not None and buffer.DataLength() and not is_sparse:
            values = self._constant(buffer.DataAsNumpy(), dtype, storage, shape)
        # What lives on from run to run, or is stored sparsely, takes no place in the head either.
        is_outside = (self._keeps and is_sparse) or source.IsVariable()
        return Tensor(
            name,
            shape or (1,),
            dtype,
            values is not None or is_outside,
            self._quantization(source.Quantization(), name),
            values if values is None else values.reshape(shape or (1,)),
            variable=bool(source.IsVariable()),
        )

    def _constant(self, raw: Array, dtype: DataType, storage: str, shape: tuple[int, ...]) -> Array:
        self._spend(2 * raw.size)
        if dtype != "int4":
            return np.frombuffer(raw.tobytes(), storage)
        return unpack_int4(raw.tobytes(), math.prod(shape))

    def _quantization(self, source: Any, name: str) -> Quantization | None:
        # TFLM takes a tensor without zero points for one without quantisation.
        if source is None:
            return None
        scale, zero_points = _vector(source.ScaleAsNumpy()), _vector(source.ZeroPointAsNumpy())
        if len(scale) == 0 or len(zero_points) == 0:
            return None
        self._spend(4 * len(scale) + 8 * len(zero_points))
        scale = scale.astype(np.float32)
        if (zero_points != zero_points[0]).any():
            if self._keeps:
                return None
            raise ModelError(
                f"all channels must share one zero point, but {name!r} has several; "
                "convert the model with symmetric weights"
            )
        if self._keeps and not (np.isfinite(scale).all() and (scale > 0).all()):
            return None
        axis = source.QuantizedDimension() if len(scale) > 1 else None
        return Quantization(scale, int(zero_points[0]), axis)

    def _op(
        self, source: Any, position: int, tensors: dict[str, Tensor], names: tuple[str, ...]
    ) -> Op:
        operands, results = _vector(source.InputsAsNumpy()), _vector(source.OutputsAsNumpy())
        if max(len(operands), len(results)) > _MOST_OPERANDS:
            raise ValueError("operands")
        self._spend(len(operands) + len(results))
        code, name = self._code(source.OpcodeIndex())
        while len(operands) and operands[-1] == -1:  # an optional bias left out
            operands = operands[:-1]
        outputs = _named(results, names)
        if code == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
            operands = recurrent.in_graph([int(index) for index in operands]) or operands
        if code in _RESHAPES and len(operands) and len(outputs) == 1:
            return Op("RESHAPE", outputs[0], _named(operands[:1], names), outputs)
        if code in _KINDS and outputs and (len(operands) == 0 or min(operands) >= 0):
            inputs = _named(operands, names)
            kind = _kind(_KINDS[code], [tensors[name] for name in inputs], tensors[outputs[0]])
            where = f"op {position} ({kind} {outputs[0]!r})"
            shapes = [tensors[each].shape for each in (outputs[0], *inputs)]
            try:
                fields = _options(source, kind, shapes, where)
                op = Op(kind, outputs[0], in_graph(kind, inputs), outputs, **fields)
                return _reaching(op, tensors) if kind == "TRANSPOSE_CONV" else op
            except ModelError:
                if not self._keeps:
                    raise
        if not self._keeps:
            raise ModelError(
                f"operators must be one of {', '.join(get_args(Kind))}, but op {position} is "
                f"{name}; change the network, or profile a part of it"
            )
        present = [index for index in operands if index != -1]
        return Op("UNKNOWN", name, _named(present, names), outputs)

    def _code(self, index: int) -> tuple[int, str]:
        """Number and name of an operator; a custom one is named by its author."""
        if index in self._codes:
            return self._codes[index]
        if index >= self._count(self._model.OperatorCodesLength()):
            raise IndexError("operator code")
        entry = self._model.OperatorCodes(index)
        code = int(max(entry.BuiltinCode(), entry.DeprecatedBuiltinCode()))
        name = _OPERATOR_NAMES.get(code, str(code))
        if code == schema.BuiltinOperator.CUSTOM and entry.CustomCode():
            name = entry.CustomCode().decode("utf-8", "replace")
            self._spend(len(name))
        self._codes[index] = code, name
        return code, name


def _kind(kind: Kind, inputs: Sequence[Tensor], output: Tensor) -> Kind:
    """Tell apart what TFLite has one name for."""
    if kind == "QUANTIZE" and output.dtype == "int32":
        return "POSITIONS"
    is_table = kind == "GATHER" and len(inputs) == 2 and inputs[0].constant
    return "TABLE" if is_table and not inputs[1].constant else kind


def _reaching(op: Op, tensors: Mapping[str, Tensor]) -> Op:
    """Tell from its maps how far a TRANSPOSE_CONV writes."""
    source, output = tensors[op.inputs[0]].shape[1:3], tensors[op.outputs[0]].shape[1:3]
    sides = zip(source, output, op.stride, strict=True)
    down, across = (out - (size - 1) * step for size, out, step in sides)
    return replace(op, reach=(down, across))


def _vector(found: Any) -> Any:
    """Return a vector as it was read; one that is absent comes as 0."""
    return _EMPTY if isinstance(found, int) else found


def _named(indices: Sequence[int] | Array, names: tuple[str, ...]) -> tuple[str, ...]:
    """Look tensors up by index."""
    if len(indices) and min(indices) < 0:
        raise IndexError("tensor")
    return tuple(names[index] for index in indices)


def _options(
    source: Any, kind: Kind, shapes: Sequence[tuple[int, ...]], where: str
) -> dict[str, Any]:
    """Read what a graph keeps of an operator's options; refuse what it cannot express.

    `shapes` are those of its output and inputs.
    """
    row = OPERATORS[kind]
    stored = [option for option in row.stored if option not in _INFERRED]
    if row.options is None or not stored:
        return {}
    options = getattr(schema, row.options)()
    table = source.BuiltinOptions()
    expected = getattr(schema.BuiltinOptions, row.options)
    if table is None or source.BuiltinOptionsType() != expected:
        raise ValueError("options")
    options.Init(table.Bytes, table.Pos)
    read = [_option(options, option, shapes, where) for option in stored]
    return {name: value for part in read for name, value in part.items()}


def _option(
    options: Any, option: Option, shapes: Sequence[tuple[int, ...]], where: str
) -> dict[str, Any]:
    """Fields of `Op` that some fields of the options' table stand for."""
    match option:
        case "sweep":
            stride = (options.StrideH(), options.StrideW())
            return {"padding": _PADDINGS[options.Padding()], "stride": stride}
        case "window":
            return {"window": (options.FilterHeight(), options.FilterWidth())}
        case "activation":
            activation = options.FusedActivationFunction()
            _require(activation in _ACTIVATIONS, "activation", activation, where)
            return {"activation": _ACTIVATIONS[activation]}
        case "axis":
            return {"axis": options.Axis() % max(len(shapes[1]) if shapes[1:] else 1, 1)}
        case "alpha":
            return {"alpha": float(options.Alpha())}
        case "multiplier":  # which TFLM believes, whatever the shapes
            multiplier, (_, source, weights, *_) = options.DepthMultiplier(), shapes
            told = multiplier * source[-1] == weights[-1]
            _require(told, "depth multiplier", multiplier, where)
            return {}
        case "unclamped":
            activation = options.FusedActivationFunction()
            _require(activation == 0, "activation", activation, where)
            return {}
        case "corners":
            return {"align_corners": bool(options.AlignCorners())}
        case "half_pixel":
            return {"half_pixel": bool(options.HalfPixelCenters())}
        case "block":
            return {"block": options.BlockSize()}
        case "beta":
            _require(options.Beta() == 1.0, "beta", options.Beta(), where)
            return {}
        case "dilation":
            return {"dilation": (options.DilationHFactor(), options.DilationWFactor())}
        case "plain_gather":
            _require(options.BatchDims() == 0, "batch_dims", options.BatchDims(), where)
            return {}
        case "transposed":
            return {"transposed": (bool(options.AdjX()), bool(options.AdjY()))}
        case "recurrence":
            function = options.FusedActivationFunction()
            _require(function == schema.ActivationFunctionType.TANH, "activation", function, where)
            others = (options.ProjClip(), options.TimeMajor(), options.DiagonalRecurrentTensors())
            _require(not any(others), "projection, time major or diagonal", others, where)
            return {"clip": float(options.CellClip())}
        case "masks":
            others = (options.EllipsisMask(), options.NewAxisMask(), options.Offset())
            _require(not any(others), "ellipsis, new axis or offset", others, where)
            return {
                "masks": (options.BeginMask(), options.EndMask(), options.ShrinkAxisMask()),
            }
        case "format":
            _require(options.WeightsFormat() == 0, "weights format", options.WeightsFormat(), where)
            return {}
        case "keep_dims" | "new_shape":  # as in _INFERRED
            return {}


def _require(holds: bool, option: str, value: object, where: str) -> None:
    if not holds:
        raise ModelError(
            f"a graph cannot express every {option}, and {where} has {value}; "
            "use NONE, RELU, RELU6 or RELU_N1_TO_1 as activation and defaults otherwise"
        )


def unpack_int4(data: bytes, count: int) -> Array:
    """Unpack `count` values of -8..7, two a byte, the first in the low half."""
    packed = np.frombuffer(data, np.int8)
    if len(packed) != (count + 1) // 2:
        raise ValueError("int4 data does not fill its shape")
    halves = np.stack([packed << 4 >> 4, packed >> 4], axis=1)
    return halves.reshape(-1)[:count].astype(np.int8)
