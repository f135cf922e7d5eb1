"""Graphs of one operator, made by hand, and what integer execution and TFLM make of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from micronas.export.verify import tflm_run
from micronas.graph import integer
from micronas.graph.ir import Graph, Kind, Op, Quantization, Tensor
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer


def quantization(scale: float, zero_point: int = 0) -> Quantization:
    return Quantization(np.array([scale], np.float32), zero_point)


def tensor(name: str, shape: tuple[int, ...], scale: float = 1.0, zero_point: int = 0) -> Tensor:
    return Tensor(name, shape, "int8", quantization=quantization(scale, zero_point))


def constant(tensor: Tensor, codes: npt.ArrayLike) -> Tensor:
    return replace(tensor, constant=True, data=np.array(codes, np.int8).reshape(tensor.shape))


def one(kind: Kind, *tensors: Tensor, **options: Any) -> Graph:
    """An operator on all tensors but the last, which it writes; the first one is the input."""
    op = Op(kind, "y", tuple(each.name for each in tensors[:-1]), (tensors[-1].name,), **options)
    named = {each.name: each for each in tensors}
    return Graph(named, (op,), (tensors[0].name,), (tensors[-1].name,))


def both(graph: Graph, codes: npt.ArrayLike) -> list[int]:
    """Run examples in integers; TFLM must agree, and a file keep the operators."""
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    inputs, model = np.array(codes, np.int8).reshape(-1, *shape), to_flatbuffer(graph)
    ours = integer.run(graph, inputs)
    np.testing.assert_array_equal(ours, tflm_run(model, inputs))
    assert [op.kind for op in read(model).ops] == [op.kind for op in graph.ops]
    return [int(code) for code in ours.ravel()]
