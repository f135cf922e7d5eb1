"""Writer of an ONNX graph: values, constants and operators.

Values of activations are NCHW where they have four dimensions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from micronas._version import VERSION
from micronas.errors import ExportError
from micronas.graph import fixed_point
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
from micronas.graph.kernels.codes import data as integers
from micronas.graph.operators import WEIGHTED

Rounding = Literal["once", "device"]

_OPSET = 17
_IR_VERSION = 8  # the lowest with opset 17, so that older runtimes take the file
TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)
_LARGEST_LOGISTIC_STEP = 16
"""Input step from which TFLM's int8 table has 0 in place of sigmoid(0)."""


@dataclass
class Writer:
    """Writer of one ONNX graph.

    Each activation has up to three values: `name:float` before it is quantised, `name:int8`, and
    `name`, dequantised (`name:real` for an input, whose name is the caller's).
    """

    graph: Graph
    rounding: Rounding
    batched: bool
    operators: "Mapping[Kind, Callable[[Writer, Op], None]]"
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    dequantised: set[str] = field(default_factory=set)

    def write(self) -> bytes:
        from onnx import ModelProto, helper, numpy_helper

        for name in self.graph.inputs:
            self.quantise(name, name)
        for op in self.graph.ops:
            assert op.kind != "UNKNOWN", op  # refused by check_int8
            self.operators[op.kind](self, op)
        for name in self.graph.outputs:
            self.real(name)
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
        ordered = tuple(shape[axis] for axis in TO_NCHW) if len(shape) == 4 else shape
        return helper.make_tensor_value_info(
            name,
            TensorProto.FLOAT,
            ["batch" if size == -1 else size for size in self.leading(ordered)],
        )

    def leading(self, shape: tuple[int, ...]) -> list[int]:
        """Return a shape whose leading 1 may be any batch size, if the graph allows it."""
        return [-1, *shape[1:]] if self.batched and shape[0] == 1 else list(shape)

    def simple(self, op: Op, kind: str, **attributes: Any) -> None:
        """Write an operator of one operand as one of ONNX."""
        self.finish(op, kind, [self.real(op.inputs[0])], **attributes)

    def joint(self, op: Op, kind: str, **attributes: Any) -> None:
        """Write an operator of several operands as one of ONNX."""
        rank = len(self.graph.output_of(op).shape)
        self.finish(op, kind, [self.operand(name, rank) for name in op.operands], **attributes)

    def pad(self, op: Op) -> None:
        table = np.asarray(self.graph.constant_of(op).data, np.int64)
        if len(table) == 4:
            table = table[list(TO_NCHW)]
        amounts = self.constant(f"{op.outputs[0]}:pads", table.T.reshape(-1))
        self.finish(op, "Pad", [self.real(op.inputs[0]), amounts])

    def reshape(self, op: Op) -> None:
        source, output = self.graph.input_of(op), self.graph.output_of(op)
        self.to_nchw(self.reshaped(source, output.shape, output.name), output)

    def concatenation(self, op: Op) -> None:
        is_map = len(self.graph.output_of(op).shape) == 4
        self.joint(op, "Concat", axis=TO_NCHW.index(op.axis) if is_map else op.axis)

    def logistic(self, op: Op) -> None:
        step = _quantization(self.graph.input_of(op)).scale[0]
        if step >= _LARGEST_LOGISTIC_STEP:
            raise ExportError(
                f"the input step of LOGISTIC must be below {_LARGEST_LOGISTIC_STEP} for ONNX to "
                f"agree with TFLM, but {op.name!r} has {step:g}; calibrate with usual inputs"
            )
        self.simple(op, "Sigmoid")

    def relu6(self, op: Op) -> None:
        self.finish(op, "Clip", [self.real(op.inputs[0]), *self.limits("RELU6")])

    def rows(self, op: Op, kind: str, **attributes: Any) -> None:
        """Write an operator along the last dimension, which is channels in a map."""
        axis = 1 if len(self.graph.input_of(op).shape) == 4 else -1
        self.simple(op, kind, axis=axis, **attributes)

    def squared_difference(self, op: Op) -> None:
        name, rank = op.outputs[0], len(self.graph.output_of(op).shape)
        operands = [self.operand(each, rank) for each in op.operands]
        difference = self.node("Sub", operands, f"{name}:difference")
        self.finish(op, "Mul", [difference, difference])

    def positions(self, op: Op) -> None:
        wide = self.node("Cast", [f"{op.inputs[0]}:int8"], f"{op.outputs[0]}:code", to=6)  # int32
        least = self.constant("positions:128", np.array(128, np.int32))
        self.node("Add", [wide, least], op.outputs[0])

    def table(self, op: Op) -> None:
        data = integers(self.graph.constant_of(op)).astype(np.int8)
        table = self.constant(f"{op.outputs[0]}:table", data)
        self.node("Gather", [table, op.inputs[0]], f"{op.outputs[0]}:int8", axis=0)

    def inverse_root(self, op: Op) -> None:
        root = self.node("Sqrt", [self.real(op.inputs[0])], f"{op.outputs[0]}:root")
        self.finish(op, "Reciprocal", [root])

    def convolution(self, op: Op) -> None:
        weights = self.graph.constant_of(op)
        depthwise = op.kind == "DEPTHWISE_CONV_2D"
        axes = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
        data = np.transpose(integers(weights), axes)
        group = self.graph.input_of(op).shape[3] if depthwise else self.graph.groups_of(op)
        operands = [self.real(op.inputs[0]), *self.parameters(op, data)]
        window = self.window(op, (weights.shape[1], weights.shape[2]))
        self.finish(op, "Conv", operands, group=group, **window)

    def fully_connected(self, op: Op) -> None:
        source, output = self.graph.input_of(op), self.graph.output_of(op)
        data: Array = integers(self.graph.constant_of(op))
        features, depth = data.shape
        if len(source.shape) == 4 and source.shape[0] == 1 and source.elements == depth:
            # The map is flattened in NCHW order; the columns follow it.
            data = data.reshape(features, *source.shape[1:])
            data = np.transpose(data, TO_NCHW).reshape(features, depth)
            rows = self.node("Flatten", [f"{source.name}:int8"], f"{op.outputs[0]}:rows")
        else:
            rows = self.reshaped(source, (-1, depth), op.outputs[0])
        real = self.dequantise(rows, f"{rows}:real", _quantization(source))
        operands = [real, *self.parameters(op, data)]
        if len(output.shape) == 2:
            self.finish(op, "Gemm", operands, transB=1)
            return
        product = self.node("Gemm", operands, f"{output.name}:product", transB=1)
        shape = self.constant(f"{output.name}:nhwc", np.array(self.leading(output.shape), np.int64))
        value = self.node("Reshape", [product, shape], f"{output.name}:wide")
        if len(output.shape) == 4:
            self.finish(op, "Transpose", [value], perm=list(TO_NCHW))
        else:
            self.finish(op, "Identity", [value])

    def parameters(self, op: Op, data: Array, axis: int = 0) -> list[str]:
        """Dequantise weights, whose output channels are dimension `axis`, and the bias."""
        weights, scale = self.graph.constant_of(op), _quantization(self.graph.input_of(op)).scale
        quantization = _quantization(weights)
        several = len(quantization.scale) > 1
        per_channel = Quantization(quantization.scale, 0, axis if several else None)
        # Named after the operator, since others may read the same constant in another order.
        names = [f"{op.outputs[0]}:weights", f"{op.outputs[0]}:bias"]
        code = self.constant(f"{names[0]}:int8", data.astype(np.int8))
        found = [self.dequantise(code, names[0], per_channel)]
        for name in op.learnt[1:]:
            bias = np.asarray(self.graph.tensors[name].data, np.int32)
            code = self.constant(f"{names[1]}:int32", bias)
            product = Quantization(scale * quantization.scale, 0, 0 if several else None)
            found.append(self.dequantise(code, names[1], product, np.int32))
        return found

    def operand(self, name: str, rank: int) -> str:
        """Return an operand of this rank; a constant is written at its first use."""
        tensor = self.graph.tensors[name]
        if tensor.data is None:
            return self.real(name) if len(tensor.shape) == rank else self.widened(tensor, rank)
        data = tensor.data.reshape((1,) * (rank - len(tensor.shape)) + tensor.shape)
        data = np.transpose(data, TO_NCHW) if rank == 4 else data
        self.constant(f"{name}:int8", data.astype(np.int8))
        return self.real(name)

    def widened(self, tensor: Tensor, rank: int) -> str:
        """Return the dequantised value of an activation with more dimensions before its own."""
        wide = f"{tensor.name}:{rank}d"
        if wide not in self.dequantised:
            self.dequantised.add(wide)
            shape = (1,) * (rank - len(tensor.shape)) + tensor.shape
            codes = self.reshaped(tensor, shape, wide)
            if rank == 4:
                codes = self.node("Transpose", [codes], f"{wide}8", perm=list(TO_NCHW))
            self.dequantise(codes, wide, _quantization(tensor))
        return wide

    def window(self, op: Op, kernel: tuple[int, int] | None = None) -> dict[str, list[int]]:
        sizes = kernel or op.window
        pads = [(0, 0), (0, 0)]
        if op.padding == "SAME":
            reach = map(extent, sizes, op.dilation)
            pads = [*map(same_padding, self.graph.input_of(op).shape[1:3], reach, op.stride)]
        (top, bottom), (left, right) = pads
        return {
            "kernel_shape": list(sizes),
            "strides": list(op.stride),
            **({} if op.dilation == (1, 1) else {"dilations": list(op.dilation)}),
            "pads": [top, left, bottom, right],
        }

    def in_graph_order(self, source: Tensor, prefix: str) -> str:
        """Bring the codes of a map into NHWC order."""
        value = f"{source.name}:int8"
        if len(source.shape) != 4:
            return value
        return self.node("Transpose", [value], f"{prefix}:nhwc8", perm=list(TO_NHWC))

    def reshaped(self, source: Tensor, shape: tuple[int, ...], prefix: str) -> str:
        """Bring the codes of a tensor into NHWC order and this shape."""
        value = self.in_graph_order(source, prefix)
        table = self.constant(f"{prefix}:shape", np.array(self.leading(shape), np.int64))
        return self.node("Reshape", [value, table], f"{prefix}:rows")

    def to_nchw(self, value: str, output: Tensor) -> None:
        """Name codes in NHWC order as an activation."""
        if len(output.shape) == 4:
            self.node("Transpose", [value], f"{output.name}:int8", perm=list(TO_NCHW))
        else:
            self.node("Identity", [value], f"{output.name}:int8")

    def finish(self, op: Op, kind: str, operands: list[str], **attributes: Any) -> None:
        """Append an operator, its fused activation and the quantisation of its output."""
        name = op.outputs[0]
        value = self.node(kind, operands, f"{name}:float", **attributes)
        if self.rounding == "device":
            value = self._nudged(op, value)
        if op.activation == "RELU":
            value = self.node("Relu", [value], f"{name}:clamped")
        elif op.activation != "NONE":
            value = self.node("Clip", [value, *self.limits(op.activation)], f"{name}:clamped")
        self.quantise(value, name)

    def limits(self, activation: Activation) -> list[str]:
        prefix = activation.lower()
        return [
            self.constant(f"{prefix}:{limit}", np.array(limit, np.float32))
            for limit in LIMITS[activation]
        ]

    def _nudged(self, op: Op, value: str) -> str:
        """Move a value so that rounding it once gives TFLM's result.

        TFLM rounds an accumulator to 2**-n codes, then to codes, ties away from zero: values
        from half a step below a tie go outwards. Its average rounds codes, not their real values:
        ties go away from code 0.
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
        elif op.kind in ("AVERAGE_POOL_2D", "RESIZE_BILINEAR"):
            # averages that are no ties are at least twice as far from one, as are interpolated
            # pixels where a map grows by a small power of two
            parts = 4096 if op.kind == "RESIZE_BILINEAR" else 4 * op.window[0] * op.window[1]
            sizes = np.array(step / parts)
            offset = self.constant(f"{name}:offset", np.array(step * zero_point, np.float32))
            centred = self.node("Add", [value, offset], f"{name}:centred")
        else:
            return value
        size = self.constant(f"{name}:nudge", sizes.astype(np.float32))
        sign = self.node("Sign", [centred], f"{name}:sign")
        nudge = self.node("Mul", [sign, size], f"{name}:outwards")
        return self.node("Add", [value, nudge], f"{name}:nudged")

    def quantise(self, value: str, name: str) -> None:
        parameters = self._scale(f"{name}:int8", _quantization(self.graph.tensors[name]))
        self.node("QuantizeLinear", [value, *parameters], f"{name}:int8")

    def real(self, name: str) -> str:
        """Return the dequantised value of an activation or constant operand."""
        result = f"{name}:real" if name in self.graph.inputs else name
        if name not in self.dequantised:
            self.dequantised.add(name)
            self.dequantise(f"{name}:int8", result, _quantization(self.graph.tensors[name]))
        return result

    def dequantise(
        self, codes: str, result: str, quantization: Quantization, dtype: npt.DTypeLike = np.int8
    ) -> str:
        parameters = self._scale(codes, quantization, dtype)
        attributes = {} if quantization.axis is None else {"axis": quantization.axis}
        return self.node("DequantizeLinear", [codes, *parameters], result, **attributes)

    def _scale(
        self, codes: str, quantization: Quantization, dtype: npt.DTypeLike = np.int8
    ) -> list[str]:
        scale: npt.NDArray[np.float32] = quantization.scale.astype(np.float32)
        zero_point = np.full(scale.shape, quantization.zero_point, dtype)
        if quantization.axis is None:
            scale, zero_point = scale.reshape(()), zero_point.reshape(())
        return [
            self.constant(f"{codes}:scale", scale),
            self.constant(f"{codes}:zero_point", zero_point),
        ]

    def constant(self, name: str, data: Array) -> str:
        self.constants[name] = data
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def _quantization(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization
