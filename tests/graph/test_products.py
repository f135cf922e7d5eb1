"""BATCH_MATMUL: what its operands cost, its rules, and what of them a batch allows."""

import numpy as np
import pytest

from micronas.graph.batches import keeps_examples
from micronas.graph.check import broken_rule
from micronas.graph.counts import count
from micronas.graph.ir import Graph, Op, Quantization, Tensor
from micronas.hardware.targets import CMSIS_NN, HOST, plan

Shape = tuple[int, ...]


def product(
    left: Shape,
    right: Shape,
    output: Shape,
    *,
    transposed: tuple[bool, bool] = (False, False),
    data: np.ndarray | None = None,
) -> Graph:
    """x of zero point 1 times w of zero point -2, steps 0.5 and 0.25, to steps of 0.125."""
    scales = [Quantization(np.array([s], np.float32), z) for s, z in ((0.5, 1), (0.25, -2))]
    tensors = {
        "x": Tensor("x", left, "int8", quantization=scales[0]),
        "w": Tensor("w", right, "int8", data is not None, scales[1], data),
        "y": Tensor("y", output, "int8", quantization=Quantization(np.array([0.125], np.float32))),
    }
    op = Op("BATCH_MATMUL", "y", ("x", "w"), ("y",), transposed=transposed)
    return Graph(tensors, (op,), ("x",), ("y",))


def test_an_operand_that_lies_the_other_way_is_copied_for_good() -> None:
    """A constant whose rows are those of the product costs no RAM: what exporters should write."""
    sizes = {}
    for turned in (False, True):
        shape = (64, 256) if turned else (256, 64)
        data = np.zeros(shape, np.int8)
        graph = product((1, 4, 256), shape, (1, 4, 64), transposed=(False, turned), data=data)
        sizes[turned] = [plan(graph, target).tail for target in (HOST, CMSIS_NN)]
        assert count(graph).macs == 4 * 64 * 256
    for copied, plain in zip(sizes[False], sizes[True], strict=True):
        assert 64 * 256 <= copied - plain <= 64 * 256 + 64


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (product((1, 2, 3), (2, 4), (1, 2, 4)), "fit each other"),
        (product((1, 2, 2, 3), (3, 3, 4), (1, 2, 2, 4)), "fit each other"),
        (product((1, 1, 1, 2, 3), (3, 4), (1, 1, 1, 2, 4)), "2 to 4 dimensions"),
    ],
)
def test_rules(graph: Graph, message: str) -> None:
    rule = broken_rule(graph, graph.ops[0])
    assert message in rule


@pytest.mark.parametrize(
    ("graph", "kept"),
    [
        (product((1, 2, 3), (1, 3, 4), (1, 2, 4)), True),
        (product((1, 3), (3, 4), (1, 4), data=np.zeros((3, 4), np.int8)), True),
        (product((1, 3), (1, 4), (3, 4), transposed=(True, False)), False),
        (product((1, 3), (1, 3), (1, 1), transposed=(False, True)), False),
    ],
)
def test_examples_of_a_batch_stay_apart(graph: Graph, kept: bool) -> None:
    assert keeps_examples(graph, graph.ops[0]) == kept
