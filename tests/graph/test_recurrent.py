"""UNIDIRECTIONAL_SEQUENCE_LSTM: curves, steps by hand, states, and what a file may hold."""

from dataclasses import replace

import numpy as np
import pytest

from micronas.errors import ModelError
from micronas.export.verify import tflm_interpreter, tflm_run
from micronas.graph import integer, recurrent
from micronas.graph.check import check_int8
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Tensor
from micronas.hardware.targets import CMSIS_NN, HOST, plan
from micronas.tflite.writer import to_flatbuffer
from testing.recurrent import lstm
from tests.graph.made import both, quantization

KIND = "UNIDIRECTIONAL_SEQUENCE_LSTM"


def by_hand(steps: int) -> Graph:
    """One feature, one unit; the cell gate reads x / 2, the others are half open."""
    tensors = {"x": Tensor("x", (1, steps, 1), "int8", quantization=quantization(1 / 16))}
    op = lstm("x", "y", (1, 1), tensors)
    for name in op.learnt:
        shape, bias = tensors[name].shape, name in op.biases
        weight = 64 if name == "y/cell/weights" else 0
        tensors[name] = Tensor(
            name,
            shape,
            "int32" if bias else "int8",
            True,
            quantization(1 / 128 / 16 if bias else 1 / 128),
            np.full(shape, weight, np.int32 if bias else np.int8),
        )
    hidden, cells = op.inputs[-2:]
    tensors[hidden] = replace(tensors[hidden], dtype="int8", quantization=quantization(1 / 128, 5))
    tensors[cells] = replace(tensors[cells], quantization=quantization(2.0**-12))
    tensors["y"] = Tensor("y", (1, steps, 1), "int8", quantization=quantization(1 / 128, 5))
    return Graph(tensors, (op,), ("x",), ("y",))


def test_curves_are_the_real_ones_within_a_step() -> None:
    codes = np.arange(-(2**15), 2**15, dtype=np.int64)
    x = codes / 4096
    np.testing.assert_allclose(recurrent.sigmoid(codes) / 2**15, 1 / (1 + np.exp(-x)), atol=2e-4)
    for power in (-12, -11, -14):
        real = np.tanh(codes * 2.0**power)
        np.testing.assert_allclose(
            recurrent.tanh(codes, recurrent.gate_factor(2.0**power)) / 2**15, real, atol=3e-4
        )


def test_two_steps_by_hand() -> None:
    graph = by_hand(2)
    # cells: tanh(1) / 2 = 0.3808, then half of that and 0.3808 again; outputs tanh(cell) / 2
    cells = np.tanh(1) / 2 * np.array([1, 1.5])
    expected = np.rint(np.tanh(cells) / 2 * 128) + 5
    assert both(graph, [32, 32]) == expected.tolist()  # of 2.0
    assert count(graph).macs == 2 * 4 * (1 + 1)


def test_tflm_goes_on_from_its_states_and_examples_start_at_rest() -> None:
    graph = by_hand(1)
    interpreter = tflm_interpreter(to_flatbuffer(graph))
    example = np.array([32], np.int8).reshape(1, 1, 1)
    outputs = []
    for _ in range(2):
        interpreter.set_input(example, 0)
        interpreter.invoke()
        outputs.append(int(interpreter.get_output(0).item()))
    assert outputs == integer.run(by_hand(2), np.repeat(example, 2, 1)).ravel().tolist()
    alone = tflm_run(to_flatbuffer(graph), np.repeat(example, 2, 0))
    assert alone.ravel().tolist() == [outputs[0]] * 2


def test_states_lie_in_the_tail() -> None:
    """32 bytes of outputs, 64 of cells; CMSIS-NN keeps eight sums of weights for each unit."""
    tensors = {"x": Tensor("x", (1, 5, 4))}
    op = lstm("x", "y", (4, 32), tensors)
    tensors["y"] = Tensor("y", (1, 5, 32))
    graph = Graph(tensors, (op,), ("x",), ("y",))
    smaller = {
        name: replace(tensor, shape=(1, 16)) if tensor.variable else tensor
        for name, tensor in tensors.items()
    }
    for target in (HOST, CMSIS_NN):
        found, less = plan(graph, target), plan(replace(graph, tensors=smaller), target)
        assert found.tail - less.tail == 16 + 32
        assert found.head == 32 + 160 + {"host": 4, "cmsis_nn": 3}[target.name] * 64
    names = {buffer.name for buffer in plan(graph).buffers}
    assert names == {"x", "y", "y/scratch"}


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("y/cells", {"quantization": quantization(0.001)}, "a power of two"),
        ("y/cells", {"dtype": "int8"}, "cells of 16 bits"),
        ("y/hidden", {"quantization": quantization(1 / 64)}, "as it writes it"),
        ("y/cell/weights", {"quantization": quantization(1 / 64, 3)}, "symmetric weights"),
        ("y/cell/bias", {"dtype": "int8"}, "int32 biases"),
        ("y/cell/weights", {"dtype": "int16"}, "every tensor must be quantised"),
    ],
)
def test_rules(name: str, fields: dict[str, object], message: str) -> None:
    graph = by_hand(2)
    tensor = replace(graph.tensors[name], **fields)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        check_int8(replace(graph, tensors={**graph.tensors, name: tensor}))
