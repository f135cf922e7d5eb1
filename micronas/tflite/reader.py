"""Read a ``.tflite`` file of one network, of any tool, into a graph."""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import ai_edge_litert.schema_py_generated as schema
import numpy as np

from micronas.errors import ModelError
from micronas.graph import recurrent
from micronas.graph.check import are_sound, broken_rule, check_int8, check_structure
from micronas.graph.ir import Array, DataType, Graph, Kind, Op, Quantization, Tensor
from micronas.graph.operators import OPERATORS
from micronas.tflite.options import read_options
from micronas.tflite.order import in_graph
from micronas.tflite.parts import File, Part, Parts

_TYPES: tuple[DataType, ...] = ("int8", "int4", "int32")
_STATES: tuple[DataType, ...] = ("int16",)
_WIDE: tuple[DataType, ...] = (*_STATES, "int64")
_CODES: dict[int, DataType] = {
    getattr(schema.TensorType, name.upper()): name for name in get_args(DataType)
}
"""Types by their numbers in a file."""
_TYPE_NAMES = {value: name for name, value in vars(schema.TensorType).items() if name[0] != "_"}
_ADVICE = {"INT16": "convert the model with int8 activations (activations=8), not as 16x8"}
"""Advice on types of tensors that another conversion avoids."""
_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"
}
_KINDS: dict[int, Kind] = {
    getattr(schema.BuiltinOperator, kind): kind
    for kind, row in OPERATORS.items()
    if not row.builtin
}
_RESHAPES = (schema.BuiltinOperator.SQUEEZE, schema.BuiltinOperator.EXPAND_DIMS)
"""Operators of files that are read as RESHAPE: TFLM copies for all three."""
_LARGEST_RANK = 8
_MOST_PARTS = 2**16
"""Most tensors, operators or buffers of a network; no board holds more."""
_MOST_OPERANDS = 64
_DAMAGE = (struct.error, LookupError, TypeError, ValueError, OverflowError, AttributeError)
"""Errors on reading a damaged file."""


def read(
    data: bytes, *, unknown: Literal["refuse", "keep"] = "refuse", wide: bool = False
) -> Graph:
    """Read a network.

    Tensors keep the file's order; repeated names get a suffix; an operator is named after its
    output. int4 data is unpacked. A single scale is per tensor, whatever axis the file gives.

    Parameters
    ----------
    data
        Contents of the file.
    unknown
        Treatment of operators whose kind, types or options an int8 `Graph` cannot express.
        ``refuse``: they are an error, so that the graph returned can be executed and exported.
        ``keep``: they become operators of kind UNKNOWN, with TFLite's name and tensors of any type;
        such a graph can be counted and planned.
    wide
        Take int16 activations with int64 biases too, which `micronas.graph.integer` runs; with
        ``keep``, operators of them keep their kinds.

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
        graph = _Reader(data, keeps=keeps, wide=wide).graph()
    except _DAMAGE as error:
        raise ModelError(
            f"a model must be a whole TFLite flatbuffer, but these {len(data)} bytes are damaged "
            f"({type(error).__name__}); export or download it again"
        ) from error
    if not keeps:
        check_int8(graph, wide=wide)
        return graph
    check_structure(graph)
    ops = (
        replace(op, kind="UNKNOWN", name=op.kind)
        if op.kind != "UNKNOWN" and broken_rule(graph, op, wide=wide)
        else op
        for op in graph.ops
    )
    return replace(graph, ops=tuple(ops))


class _Reader:
    def __init__(self, data: bytes, *, keeps: bool, wide: bool) -> None:
        self._data = data
        self._keeps = keeps
        self._types = get_args(DataType) if keeps else _TYPES + _WIDE * wide
        self._model = File(data).root("Model")
        # Damaged offsets can make a few bytes stand for any amount of text and constants.
        self._allowance = 16 * len(data)
        self._buffers = self._parts(self._model, "Buffers", "Buffer")
        self._operator_codes = self._parts(self._model, "OperatorCodes", "OperatorCode")
        self._codes: dict[int, tuple[int, str]] = {}

    def graph(self) -> Graph:
        subgraphs = self._parts(self._model, "Subgraphs", "SubGraph")
        if len(subgraphs) != 1:
            raise ModelError(
                f"a model must have 1 subgraph, but this one has {len(subgraphs)}; "
                "convert it without control flow"
            )
        if len(self._buffers) and (size := self._buffers[0].length("Data")):
            raise ModelError(
                "buffer 0 of a model must be empty, as tensors without data name it, but it has "
                f"{size} bytes; convert the model again"
            )
        subgraph = subgraphs[0]
        sources = self._parts(subgraph, "Tensors", "Tensor")
        operators = [*self._parts(subgraph, "Operators", "Operator")]
        within = self._within(operators, len(sources))
        tensors: dict[str, Tensor] = {}
        found = []
        for position, source in enumerate(sources):
            if position in within:
                found.append("")
                continue
            tensor = self._tensor(source, position, tensors)
            tensors[tensor.name] = tensor
            found.append(tensor.name)
        names = tuple(found)
        return Graph(
            tensors,
            tuple(
                self._op(operator, position, tensors, names)
                for position, operator in enumerate(operators)
            ),
            _named(subgraph.numbers("Inputs", most=_MOST_PARTS), names),
            _named(subgraph.numbers("Outputs", most=_MOST_PARTS), names),
            len(within),
        )

    def _within(self, operators: Sequence[Part], tensors: int) -> set[int]:
        """Return the tensors that operators list as intermediates and no operator uses."""
        listed: set[int] = set()
        used: set[int] = set()
        for op in operators:
            listed |= self._few(op, "Intermediates")
        for op in operators if listed else ():
            used |= self._few(op, "Inputs") | self._few(op, "Outputs")
        return (listed - used) & {*range(tensors)}

    def _few(self, op: Part, name: str) -> set[int]:
        """Return an operator's tensors in a field of few."""
        found = op.numbers(name, most=_MOST_OPERANDS)
        self._spend(len(found))
        return {*found}

    def _parts(self, whole: Part, name: str, kind: str) -> Parts:
        """Return a vector of tables; refuse one of more entries than the file has room for."""
        found = whole.parts(name, kind)
        if len(found) > len(self._data) // 4:
            raise ValueError("vector longer than the file")
        if len(found) > _MOST_PARTS:
            raise ModelError(
                f"a model must have at most {_MOST_PARTS} tensors, operators and buffers, but this "
                f"one has {len(found)} of one of them; give a part of it"
            )
        return found

    def _spend(self, amount: int) -> None:
        self._allowance -= amount
        if self._allowance < 0:
            raise ValueError("parts overlap")

    def _tensor(self, source: Part, position: int, taken: dict[str, Tensor]) -> Tensor:
        name = source.text("Name", spend=self._spend) or "tensor"
        if name in taken:
            name = f"{name}_{position}"
            while name in taken:
                name += "_"
        is_sparse = source.part("Sparsity", "SparsityParameters") is not None
        is_variable, code = bool(source["IsVariable"]), source["Type"]
        types = self._types + _STATES * is_variable
        dtype = _CODES.get(code)
        if dtype is None or dtype not in types or (is_sparse and not self._keeps):
            wanted = "numbers" if self._keeps else "int8, int4 or int32 and dense"
            kind = _TYPE_NAMES.get(code, str(code))
            advice = _ADVICE.get(kind, "convert the model with int8 input and output")
            raise ModelError(f"tensors must be {wanted}, but {name!r} is {kind}; {advice}")
        shape = source.numbers("Shape", most=_LARGEST_RANK)
        values = None
        number = source["Buffer"]
        buffer = self._buffers[number] if number else None
        size = 0 if buffer is None else buffer.length("Data")
        if is_variable and size:
            raise ModelError(
                "a variable tensor must have no data, as a device starts it at zero, but "
                f"{name!r} has {size} bytes; convert the model again"
            )
        if buffer is not None and size and not is_sparse:
            values = self._constant(buffer.array("Data", "u1"), dtype, shape)
        # Tensors that live from run to run, or are stored sparsely, take no place in the head.
        is_outside = (self._keeps and is_sparse) or is_variable
        return Tensor(
            name,
            shape or (1,),
            dtype,
            values is not None or is_outside,
            self._quantization(source.part("Quantization", "QuantizationParameters"), name),
            values if values is None else values.reshape(shape or (1,)),
            variable=is_variable,
        )

    def _constant(self, raw: Array, dtype: DataType, shape: tuple[int, ...]) -> Array:
        self._spend(2 * raw.size)
        if dtype != "int4":
            return np.frombuffer(raw.tobytes(), np.dtype(dtype).newbyteorder("<"))
        return unpack_int4(raw.tobytes(), math.prod(shape))

    def _quantization(self, source: Part | None, name: str) -> Quantization | None:
        # To TFLM a tensor without zero points is not quantised.
        if source is None:
            return None
        stored, zero_points = source.array("Scale", "<f4"), source.array("ZeroPoint", "<i8")
        if len(stored) == 0 or len(zero_points) == 0:
            return None
        self._spend(4 * len(stored) + 8 * len(zero_points))
        scale = stored.astype(np.float32)
        if len(zero_points) > 1 and (zero_points != zero_points[0]).any():
            if self._keeps:
                return None
            raise ModelError(
                f"all channels must share one zero point, but {name!r} has several; "
                "convert the model with symmetric weights"
            )
        if self._keeps and not are_sound(scale):
            return None
        axis = source["QuantizedDimension"] if len(scale) > 1 else None
        return Quantization(scale, int(zero_points[0]), axis)

    def _op(
        self, source: Part, position: int, tensors: dict[str, Tensor], names: tuple[str, ...]
    ) -> Op:
        operands = source.numbers("Inputs", most=_MOST_OPERANDS)
        results = source.numbers("Outputs", most=_MOST_OPERANDS)
        self._spend(len(operands) + len(results))
        code, name = self._code(source["OpcodeIndex"])
        while len(operands) and operands[-1] == -1:  # no bias
            operands = operands[:-1]
        outputs = _named(results, names)
        if code == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
            operands = recurrent.in_graph(operands) or operands
        if code in _RESHAPES and len(operands) and len(outputs) == 1:
            return Op("RESHAPE", outputs[0], _named(operands[:1], names), outputs)
        if code in _KINDS and outputs and (len(operands) == 0 or min(operands) >= 0):
            inputs = _named(operands, names)
            kind = _kind(_KINDS[code], [tensors[name] for name in inputs], tensors[outputs[0]])
            where = f"op {position} ({kind} {outputs[0]!r})"
            shapes = [tensors[each].shape for each in (outputs[0], *inputs)]
            try:
                fields = read_options(source, kind, shapes, where)
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
        """Return number and name of an operator; a custom one has its author's name."""
        if index in self._codes:
            return self._codes[index]
        entry = self._operator_codes[index]
        code = int(max(entry["BuiltinCode"], entry["DeprecatedBuiltinCode"]))
        name = _OPERATOR_NAMES.get(code, str(code))
        if code == schema.BuiltinOperator.CUSTOM:
            name = entry.text("CustomCode", spend=self._spend) or name
        self._codes[index] = code, name
        return code, name


def _kind(kind: Kind, inputs: Sequence[Tensor], output: Tensor) -> Kind:
    """Return a graph's kind of an operator; TFLite has one name for several."""
    if kind == "QUANTIZE" and output.dtype == "int32":
        return "POSITIONS"
    is_table = kind == "GATHER" and len(inputs) == 2 and inputs[0].constant
    return "TABLE" if is_table and not inputs[1].constant else kind


def _reaching(op: Op, tensors: Mapping[str, Tensor]) -> Op:
    """Set the reach of a TRANSPOSE_CONV, which follows from its maps."""
    source, output = tensors[op.inputs[0]].shape[1:3], tensors[op.outputs[0]].shape[1:3]
    sides = zip(source, output, op.stride, strict=True)
    down, across = (out - (size - 1) * step for size, out, step in sides)
    return replace(op, reach=(down, across))


def _named(indices: Sequence[int], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names of tensors by index."""
    if len(indices) and min(indices) < 0:
        raise IndexError("tensor")
    return tuple(names[index] for index in indices)


def unpack_int4(data: bytes, count: int) -> Array:
    """Unpack `count` values of -8..7, two per byte, the first in the low half."""
    packed = np.frombuffer(data, np.int8)
    if len(packed) != (count + 1) // 2:
        raise ValueError("int4 data does not fill its shape")
    halves = np.stack([packed << 4 >> 4, packed >> 4], axis=1)
    return halves.reshape(-1)[:count].astype(np.int8)
