"""Writes an int8 graph as ONNX in the QDQ form, for runtimes other than TensorFlow Lite Micro.

Float input and output in NCHW; in between every operator reads dequantised codes and its result is
quantised again, with the scales of the graph. Read exactly as written (optimisations off), each
operator is within one code of the device's: ONNX rounds once, half to even, TFLM twice. A network
amplifies such differences, so values can be nudged to round as TFLM rounds them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from micronas._version import VERSION
from micronas.errors import ExportError
from micronas.graph import fixed_point
from micronas.graph.check import check_int8
from micronas.graph.ir import (
    LIMITS,
    Activation,
    Array,
    Graph,
    Kind,
    Op,
    Quantization,
    Tensor,
    extent,
    same_padding,
)
from micronas.graph.operators import WEIGHTED, each_kind

Rounding = Literal["once", "device"]

_OPSET = 17
_IR_VERSION = 8  # the first of opset 17, so that older runtimes take the file
_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)


_LARGEST_LOGISTIC_STEP = 16


def to_onnx(graph: Graph, *, rounding: Rounding = "device") -> bytes:
    """Write an int8 graph as the bytes of an ``.onnx`` file (opset 17).

    Parameters
    ----------
    graph
        Complete int8 graph. int4 weights are written as int8, with the same values.
    rounding
        ``device`` adds a few operators between each convolution, dense layer or average and its
        QuantizeLinear, which repeat TFLM's rounding but for the rare value that float32 moves
        across a tie. ``once`` is plain QDQ, which other tools fuse; it differs by 1 more often,
        and by 2 in some whole networks.

    Returns
    -------
    A model whose inputs and outputs keep their names, are float32 and, where of four dimensions,
    NCHW. A leading dimension of 1 may be any batch size, if it runs through the network. To
    compare codes, switch the runtime's graph optimisations off: they may fuse other kernels.

    Raises
    ------
    ExportError
        If the package onnx is missing, or an operator has no equivalent.
    ModelError
        If the graph is not a complete int8 graph.
    """
    if find_spec("onnx") is None:
        raise ExportError(
            "writing ONNX needs the package onnx, which is not installed; "
            "pip install micronas[onnx]"
        )
    check_int8(graph)
    return _Writer(graph, rounding, _takes_batches(graph)).write()


@dataclass
class _Writer:
    """One ONNX graph in the making.

    Of each activation there are up to three values: `name:float` before it is quantised,
    `name:int8`, and `name`, dequantised (`name:real` for an input, whose name is the caller's).
    """

    graph: Graph
    rounding: Rounding
    batched: bool
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    dequantised: set[str] = field(default_factory=set)

    def write(self) -> bytes:
        from onnx import ModelProto, helper, numpy_helper

        for name in self.graph.inputs:
            self._quantise(name, name)
        for op in self.graph.ops:
            self._op(op)
        for name in self.graph.outputs:
            self._real(name)
        constants = [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in self.constants.items()
        ]
        graph = helper.make_graph(
            self.nodes,
            "micronas",
            [self._interface(name) for name in self.graph.inputs],
            [self._interface(name) for name in self.graph.outputs],
            constants,
        )
        model: ModelProto = helper.make_model(
            graph,
            producer_name="micronas",
            producer_version=VERSION,
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
        )
        return bytes(model.SerializeToString(deterministic=True))

    def _interface(self, name: str) -> Any:
        from onnx import TensorProto, helper

        shape = self.graph.tensors[name].shape
        ordered = tuple(shape[axis] for axis in _TO_NCHW) if len(shape) == 4 else shape
        return helper.make_tensor_value_info(
            name,
            TensorProto.FLOAT,
            ["batch" if size == -1 else size for size in self._leading(ordered)],
        )

    def _leading(self, shape: tuple[int, ...]) -> list[int]:
        """Let a leading 1 be any batch size, where the graph allows it."""
        return [-1, *shape[1:]] if self.batched and shape[0] == 1 else list(shape)

    def _op(self, op: Op) -> None:
        assert op.kind != "UNKNOWN", op  # check_int8 has refused it
        _WRITTEN[op.kind](self, op)

    def _simple(self, op: Op, kind: str, **attributes: Any) -> None:
        """Write an operator of one operand that ONNX has too."""
        self._finish(op, kind, [self._real(op.inputs[0])], **attributes)

    def _joint(self, op: Op, kind: str, **attributes: Any) -> None:
        """Write an operator of several operands that ONNX has too."""
        rank = len(self.graph.output_of(op).shape)
        self._finish(op, kind, [self._operand(name, rank) for name in op.operands], **attributes)

    def _pad(self, op: Op) -> None:
        table = np.asarray(self.graph.constant_of(op).data, np.int64)
        if len(table) == 4:
            table = table[list(_TO_NCHW)]
        amounts = self._constant(f"{op.outputs[0]}:pads", table.T.reshape(-1))
        self._finish(op, "Pad", [self._real(op.inputs[0]), amounts])

    def _mean(self, op: Op) -> None:
        kept = len(self.graph.output_of(op).shape) == 4
        self._simple(op, "ReduceMean", axes=[2, 3], keepdims=int(kept))

    def _reshape(self, op: Op) -> None:
        source, output = self.graph.input_of(op), self.graph.output_of(op)
        self._to_nchw(self._reshaped(source, output.shape), output)

    def _concatenation(self, op: Op) -> None:
        is_map = len(self.graph.output_of(op).shape) == 4
        self._joint(op, "Concat", axis=_TO_NCHW.index(op.axis) if is_map else op.axis)

    def _logistic(self, op: Op) -> None:
        _check_logistic(op, self.graph.input_of(op))
        self._simple(op, "Sigmoid")

    def _relu6(self, op: Op) -> None:
        self._finish(op, "Clip", [self._real(op.inputs[0]), *self._limits("RELU6")])

    def _rows(self, op: Op, kind: str, **attributes: Any) -> None:
        """Write an operator along the last dimension, which is channels in a map."""
        axis = 1 if len(self.graph.input_of(op).shape) == 4 else -1
        self._simple(op, kind, axis=axis, **attributes)

    def _squared_difference(self, op: Op) -> None:
        name, rank = op.outputs[0], len(self.graph.output_of(op).shape)
        operands = [self._operand(each, rank) for each in op.operands]
        difference = self._node("Sub", operands, f"{name}:difference")
        self._finish(op, "Mul", [difference, difference])

    def _inverse_root(self, op: Op) -> None:
        root = self._node("Sqrt", [self._real(op.inputs[0])], f"{op.outputs[0]}:root")
        self._finish(op, "Reciprocal", [root])

    def _convolution(self, op: Op) -> None:
        weights = self.graph.constant_of(op)
        depthwise = op.kind == "DEPTHWISE_CONV_2D"
        axes = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        data = np.transpose(_codes(weights), axes)
        group = self.graph.input_of(op).shape[3] if depthwise else self.graph.groups_of(op)
        operands = [self._real(op.inputs[0]), *self._parameters(op, data)]
        window = self._window(op, (weights.shape[1], weights.shape[2]))
        self._finish(op, "Conv", operands, group=group, **window)

    def _fully_connected(self, op: Op) -> None:
        source, output = self.graph.input_of(op), self.graph.output_of(op)
        data = _codes(self.graph.constant_of(op))
        features, depth = data.shape
        if len(source.shape) == 4 and source.shape[0] == 1 and source.elements == depth:
            # The map is flattened as it lies in NCHW; the columns follow it.
            data = data.reshape(features, *source.shape[1:])
            data = np.transpose(data, _TO_NCHW).reshape(features, depth)
            rows = self._node("Flatten", [f"{source.name}:int8"], f"{op.outputs[0]}:rows")
        else:
            rows = self._reshaped(source, (-1, depth), op.outputs[0])
        real = self._dequantise(rows, f"{rows}:real", _quantization(source))
        operands = [real, *self._parameters(op, data)]
        if len(output.shape) == 2:
            self._finish(op, "Gemm", operands, transB=1)
            return
        product = self._node("Gemm", operands, f"{output.name}:product", transB=1)
        shape = self._constant(
            f"{output.name}:nhwc", np.array(self._leading(output.shape), np.int64)
        )
        value = self._node("Reshape", [product, shape], f"{output.name}:wide")
        if len(output.shape) == 4:
            self._finish(op, "Transpose", [value], perm=list(_TO_NCHW))
        else:
            self._finish(op, "Identity", [value])

    def _parameters(self, op: Op, data: Array) -> list[str]:
        """Dequantise weights, whose output channels come first, and the bias."""
        weights, scale = self.graph.constant_of(op), _quantization(self.graph.input_of(op)).scale
        quantization = _quantization(weights)
        per_channel = Quantization(
            quantization.scale, 0, 0 if len(quantization.scale) > 1 else None
        )
        # Under the operator's own name: others may read the same constant in another order.
        names = [f"{op.outputs[0]}:weights", f"{op.outputs[0]}:bias"]
        code = self._constant(f"{names[0]}:int8", data.astype(np.int8))
        found = [self._dequantise(code, names[0], per_channel)]
        for name in op.inputs[2:]:
            bias = np.asarray(self.graph.tensors[name].data, np.int32)
            code = self._constant(f"{names[1]}:int32", bias)
            product = Quantization(scale * quantization.scale, 0, per_channel.axis)
            found.append(self._dequantise(code, names[1], product, np.int32))
        return found

    def _operand(self, name: str, rank: int) -> str:
        """Return an operand of this rank; a constant is written here, when it is needed."""
        tensor = self.graph.tensors[name]
        if tensor.data is None:
            return self._real(name) if len(tensor.shape) == rank else self._widened(tensor, rank)
        data = tensor.data.reshape((1,) * (rank - len(tensor.shape)) + tensor.shape)
        data = np.transpose(data, _TO_NCHW) if rank == 4 else data
        self._constant(f"{name}:int8", data.astype(np.int8))
        return self._real(name)

    def _widened(self, tensor: Tensor, rank: int) -> str:
        """Return the dequantised value of an activation with more dimensions before its own."""
        wide = f"{tensor.name}:{rank}d"
        if wide not in self.dequantised:
            self.dequantised.add(wide)
            shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
            codes = self._reshaped(tensor, shape, wide)
            if rank == 4:
                codes = self._node("Transpose", [codes], f"{wide}8", perm=list(_TO_NCHW))
            self._dequantise(codes, wide, _quantization(tensor))
        return wide

    def _window(self, op: Op, kernel: tuple[int, int] | None = None) -> dict[str, list[int]]:
        sizes = kernel or op.window
        _, height, width, _ = self.graph.input_of(op).shape
        pads = ((0, 0), (0, 0))
        if op.padding == "SAME":
            pads = (
                same_padding(height, extent(sizes[0], op.dilation[0]), op.stride[0]),
                same_padding(width, extent(sizes[1], op.dilation[1]), op.stride[1]),
            )
        (top, bottom), (left, right) = pads
        return {
            "kernel_shape": list(sizes),
            "strides": list(op.stride),
            **({} if op.dilation == (1, 1) else {"dilations": list(op.dilation)}),
            "pads": [top, left, bottom, right],
        }

    def _reshaped(self, source: Tensor, shape: tuple[int, ...], prefix: str = "") -> str:
        """Bring the codes of a tensor into NHWC order and this shape."""
        prefix = prefix or source.name
        value = f"{source.name}:int8"
        if len(source.shape) == 4:
            value = self._node("Transpose", [value], f"{prefix}:nhwc8", perm=list(_TO_NHWC))
        table = self._constant(f"{prefix}:shape", np.array(self._leading(shape), np.int64))
        return self._node("Reshape", [value, table], f"{prefix}:rows")

    def _to_nchw(self, value: str, output: Tensor) -> None:
        """Name codes in NHWC order as an activation."""
        if len(output.shape) == 4:
            self._node("Transpose", [value], f"{output.name}:int8", perm=list(_TO_NCHW))
        else:
            self._node("Identity", [value], f"{output.name}:int8")

    def _finish(self, op: Op, kind: str, operands: list[str], **attributes: Any) -> None:
        """Append an operator, its fused activation and the quantisation of its output."""
        name = op.outputs[0]
        value = self._node(kind, operands, f"{name}:float", **attributes)
        if self.rounding == "device":
            value = self._nudged(op, value)
        if op.activation == "RELU":
            value = self._node("Relu", [value], f"{name}:clamped")
        elif op.activation != "NONE":
            value = self._node("Clip", [value, *self._limits(op.activation)], f"{name}:clamped")
        self._quantise(value, name)

    def _limits(self, activation: Activation) -> list[str]:
        prefix = activation.lower()
        return [
            self._constant(f"{prefix}:{limit}", np.array(limit, np.float32))
            for limit in LIMITS[activation]
        ]

    def _nudged(self, op: Op, value: str) -> str:
        """Move a value so that rounding it once gives what TFLM's rounding gives.

        TFLM rounds an accumulator to 2**-n codes, then to codes, ties away from zero: values
        from half a step below a tie go outwards. Its average rounds codes, not what they stand
        for: ties go away from code 0.
        """
        name, output = op.outputs[0], self.graph.output_of(op)
        step, zero_point = float(_quantization(output).scale[0]), _quantization(output).zero_point
        if op.kind in WEIGHTED:
            scales = [self.graph.input_of(op), self.graph.constant_of(op)]
            source, weights = (_quantization(tensor).scale.astype(float) for tensor in scales)
            _, shift = fixed_point.quantize_multiplier(source * weights / step)
            sizes = np.where(shift < 0, step * 2.0 ** (shift - 1.0), 0)
            if len(output.shape) == 4:
                sizes = sizes.reshape(-1, 1, 1)
            centred = value
        elif op.kind == "AVERAGE_POOL_2D":
            # averages that are no ties are at least twice as far from one
            sizes = np.array(step / (4 * op.window[0] * op.window[1]))
            offset = self._constant(f"{name}:offset", np.array(step * zero_point, np.float32))
            centred = self._node("Add", [value, offset], f"{name}:centred")
        else:
            return value
        size = self._constant(f"{name}:nudge", sizes.astype(np.float32))
        sign = self._node("Sign", [centred], f"{name}:sign")
        nudge = self._node("Mul", [sign, size], f"{name}:outwards")
        return self._node("Add", [value, nudge], f"{name}:nudged")

    def _quantise(self, value: str, name: str) -> None:
        parameters = self._scale(f"{name}:int8", _quantization(self.graph.tensors[name]))
        self._node("QuantizeLinear", [value, *parameters], f"{name}:int8")

    def _real(self, name: str) -> str:
        """Return the dequantised value of an activation or constant operand."""
        result = f"{name}:real" if name in self.graph.inputs else name
        if name not in self.dequantised:
            self.dequantised.add(name)
            self._dequantise(f"{name}:int8", result, _quantization(self.graph.tensors[name]))
        return result

    def _dequantise(
        self,
        codes: str,
        result: str,
        quantization: Quantization,
        dtype: type[np.int8] | type[np.int32] = np.int8,
    ) -> str:
        parameters = self._scale(codes, quantization, dtype)
        attributes = {} if quantization.axis is None else {"axis": quantization.axis}
        return self._node("DequantizeLinear", [codes, *parameters], result, **attributes)

    def _scale(
        self,
        codes: str,
        quantization: Quantization,
        dtype: type[np.int8] | type[np.int32] = np.int8,
    ) -> list[str]:
        scale: npt.NDArray[np.float32] = quantization.scale.astype(np.float32)
        zero_point = np.full(scale.shape, quantization.zero_point, dtype)
        if quantization.axis is None:
            scale, zero_point = scale.reshape(()), zero_point.reshape(())
        return [
            self._constant(f"{codes}:scale", scale),
            self._constant(f"{codes}:zero_point", zero_point),
        ]

    def _constant(self, name: str, data: Array) -> str:
        self.constants[name] = data
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


_WRITTEN: Mapping[Kind, Callable[[_Writer, Op], None]] = each_kind(
    "export.onnx",
    {
        "CONV_2D": _Writer._convolution,
        "DEPTHWISE_CONV_2D": _Writer._convolution,
        "FULLY_CONNECTED": _Writer._fully_connected,
        "ADD": lambda writer, op: writer._joint(op, "Add"),
        "MUL": lambda writer, op: writer._joint(op, "Mul"),
        "PAD": _Writer._pad,
        "AVERAGE_POOL_2D": lambda writer, op: writer._simple(
            op, "AveragePool", **writer._window(op)
        ),
        "MAX_POOL_2D": lambda writer, op: writer._simple(op, "MaxPool", **writer._window(op)),
        "MEAN": _Writer._mean,
        "RESHAPE": _Writer._reshape,
        "SOFTMAX": lambda writer, op: writer._rows(op, "Softmax"),
        "CONCATENATION": _Writer._concatenation,
        "LOGISTIC": _Writer._logistic,
        "HARD_SWISH": lambda writer, op: writer._simple(op, "HardSwish"),
        "RELU": lambda writer, op: writer._simple(op, "Relu"),
        "RELU6": _Writer._relu6,
        "SUB": lambda writer, op: writer._joint(op, "Sub"),
        "SQUARED_DIFFERENCE": _Writer._squared_difference,
        "MAXIMUM": lambda writer, op: writer._joint(op, "Max"),
        "MINIMUM": lambda writer, op: writer._joint(op, "Min"),
        "PRELU": lambda writer, op: writer._joint(op, "PRelu"),
        "LEAKY_RELU": lambda writer, op: writer._simple(op, "LeakyRelu", alpha=op.alpha),
        "ELU": lambda writer, op: writer._simple(op, "Elu"),
        "TANH": lambda writer, op: writer._simple(op, "Tanh"),
        "ABS": lambda writer, op: writer._simple(op, "Abs"),
        "RSQRT": _Writer._inverse_root,
        "QUANTIZE": lambda writer, op: writer._simple(op, "Identity"),
        "LOG_SOFTMAX": lambda writer, op: writer._rows(op, "LogSoftmax"),
        "L2_NORMALIZATION": lambda writer, op: writer._rows(op, "LpNormalization", p=2),
    },
)


def _takes_batches(graph: Graph) -> bool:
    """Whether a leading 1 stays a leading 1 throughout, and no operator joins it to a constant."""
    activations = [*graph.inputs, *(name for op in graph.ops for name in op.outputs)]
    shapes = [graph.tensors[name].shape for name in activations]
    joined = [name for op in graph.ops if op.kind == "CONCATENATION" for name in op.inputs]
    return all(len(shape) > 1 and shape[0] == 1 for shape in shapes) and all(
        graph.tensors[name].data is None for name in joined
    )


def _codes(tensor: Tensor) -> Array:
    assert tensor.data is not None  # check_int8 has seen it
    return tensor.data


def _quantization(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization


def _check_logistic(op: Op, source: Tensor) -> None:
    """Refuse input steps from 16 on, where TFLM's int8 table holds 0 in place of sigmoid(0)."""
    quantization = source.quantization
    if quantization is not None and quantization.scale[0] >= _LARGEST_LOGISTIC_STEP:
        raise ExportError(
            f"the input step of LOGISTIC must be below {_LARGEST_LOGISTIC_STEP} for ONNX to agree "
            f"with TFLM, but {op.name!r} has {quantization.scale[0]:g}; calibrate with usual inputs"
        )
