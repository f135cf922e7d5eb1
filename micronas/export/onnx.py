"""Write an int8 graph as ONNX in the QDQ form, for runtimes other than TensorFlow Lite Micro.

Input and output are float in NCHW; in between every operator reads dequantised codes and its result
is quantised again, with the scales of the graph. Run exactly as written (optimisations off), each
operator is within one code of the device's: ONNX rounds once, half to even, TFLM twice. A network
amplifies such differences, so values can be nudged to round as in TFLM.
"""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from micronas.errors import ExportError
from micronas.export import onnx_maps, onnx_moves, onnx_recurrent
from micronas.export.onnx_writer import Rounding as Rounding
from micronas.export.onnx_writer import Writer
from micronas.graph.batches import keeps_examples
from micronas.graph.check import agree, check_int8
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.operators import each_kind


def to_onnx(graph: Graph, *, rounding: Rounding = "device") -> bytes:
    """Write an int8 graph as the bytes of an ``.onnx`` file (opset 17).

    Parameters
    ----------
    graph
        Complete int8 graph. int4 weights are written as int8, with the same values.
    rounding
        ``device`` adds a few operators between each convolution, dense layer or average and its
        QuantizeLinear, which repeat TFLM's rounding except for rare values that float32 moves
        across a tie. ``once`` is plain QDQ, which other tools fuse; it differs by 1 more often,
        and by 2 in some whole networks.

    Returns
    -------
    A model whose inputs and outputs keep their names, are float32 and, if of four dimensions, NCHW.
    A leading dimension of 1 may be any batch size, if it remains throughout the network. To compare
    codes, switch the runtime's graph optimisations off: they may fuse other kernels. Raises
    ExportError if the package onnx is missing, or an operator has no equivalent, and ModelError if
    the graph is not a complete int8 graph.
    """
    if find_spec("onnx") is None:
        raise ExportError(
            "writing ONNX needs the package onnx, which is not installed; pip install '.[onnx]'"
        )
    check_int8(graph)
    for op in graph.ops:
        if not agree(graph, op):
            raise ExportError(
                f"{op.kind} must read and write one scale to be written as ONNX, but {op.name!r} "
                "does not, and TFLM copies its codes; convert the model again"
            )
    return Writer(graph, rounding, _takes_batches(graph), _WRITTEN).write()


def _takes_batches(graph: Graph) -> bool:
    """Return whether a leading 1 stays so throughout, and no operator joins it to a constant."""
    joined = [name for op in graph.ops if op.kind == "CONCATENATION" for name in op.inputs]
    return all(keeps_examples(graph, op) for op in graph.ops) and all(
        graph.tensors[name].data is None for name in joined
    )


_WRITTEN: Mapping[Kind, Callable[[Writer, Op], None]] = each_kind(
    "export.onnx",
    {
        "CONV_2D": Writer.convolution,
        "DEPTHWISE_CONV_2D": Writer.convolution,
        "FULLY_CONNECTED": Writer.fully_connected,
        "ADD": lambda writer, op: writer.joint(op, "Add"),
        "MUL": lambda writer, op: writer.joint(op, "Mul"),
        "PAD": Writer.pad,
        "PADV2": onnx_moves.padded,
        "AVERAGE_POOL_2D": lambda writer, op: writer.simple(op, "AveragePool", **writer.window(op)),
        "MAX_POOL_2D": lambda writer, op: writer.simple(op, "MaxPool", **writer.window(op)),
        "MEAN": lambda writer, op: onnx_maps.reduced(writer, op, "ReduceMean"),
        "SUM": lambda writer, op: onnx_maps.reduced(writer, op, "ReduceSum"),
        "REDUCE_MAX": lambda writer, op: onnx_maps.reduced(writer, op, "ReduceMax"),
        "TRANSPOSE_CONV": onnx_maps.transposed,
        "RESIZE_NEAREST_NEIGHBOR": onnx_maps.resized_nearest,
        "RESIZE_BILINEAR": onnx_maps.resized_bilinear,
        "SPACE_TO_DEPTH": onnx_maps.in_blocks,
        "DEPTH_TO_SPACE": onnx_maps.in_blocks,
        "RESHAPE": Writer.reshape,
        "SOFTMAX": lambda writer, op: writer.rows(op, "Softmax"),
        "CONCATENATION": Writer.concatenation,
        "TRANSPOSE": onnx_moves.transposed,
        "SLICE": onnx_moves.cut,
        "STRIDED_SLICE": onnx_moves.cut,
        "GATHER": onnx_moves.gathered,
        "BROADCAST_TO": onnx_moves.broadcast,
        "BATCH_MATMUL": onnx_moves.batch_matmul,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": onnx_recurrent.lstm,
        "LOGISTIC": Writer.logistic,
        "HARD_SWISH": lambda writer, op: writer.simple(op, "HardSwish"),
        "RELU": lambda writer, op: writer.simple(op, "Relu"),
        "RELU6": Writer.relu6,
        "SUB": lambda writer, op: writer.joint(op, "Sub"),
        "SQUARED_DIFFERENCE": Writer.squared_difference,
        "MAXIMUM": lambda writer, op: writer.joint(op, "Max"),
        "MINIMUM": lambda writer, op: writer.joint(op, "Min"),
        "PRELU": lambda writer, op: writer.joint(op, "PRelu"),
        "LEAKY_RELU": lambda writer, op: writer.simple(op, "LeakyRelu", alpha=op.alpha),
        "ELU": lambda writer, op: writer.simple(op, "Elu"),
        "TANH": lambda writer, op: writer.simple(op, "Tanh"),
        "ABS": lambda writer, op: writer.simple(op, "Abs"),
        "RSQRT": Writer.inverse_root,
        "QUANTIZE": lambda writer, op: writer.simple(op, "Identity"),
        "LOG_SOFTMAX": lambda writer, op: writer.rows(op, "LogSoftmax"),
        "POSITIONS": Writer.positions,
        "TABLE": Writer.table,
        "L2_NORMALIZATION": lambda writer, op: writer.rows(op, "LpNormalization", p=2),
    },
    moved=onnx_moves.moved,
)
