"""Bytes of code by operator, against images that a linker made."""

import pytest

from micronas.graph.operators import OPERATORS
from micronas.hardware.code import code_bytes, operators_of
from micronas.space.space import Space
from testing.graphs import ds_cnn, quantize_randomly

# of firmware linked with GCC 14.2 and TFLM 90b983c2, less model and golden tensors; at -O2 and -Os
SMALL = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE")
LINKED = {SMALL: (61_154, 57_858), (*SMALL, "ADD", "PAD"): (70_190, 65_086)}


@pytest.mark.parametrize(("operators", "linked"), LINKED.items())
def test_predicted_code_is_that_of_a_linked_image_and_never_less(
    operators: tuple[str, ...], linked: tuple[int, int]
) -> None:
    """At most 5 % above."""
    assert linked[0] <= code_bytes(operators) <= 1.05 * linked[0]
    assert linked[1] <= code_bytes(operators, kernels="-Os") <= 1.05 * linked[1]


def test_code_grows_with_operators_and_none_is_unmeasured() -> None:
    alone = {kind: code_bytes([kind]) for kind in OPERATORS if kind != "UNKNOWN"}
    assert min(alone.values()) > code_bytes([])
    assert code_bytes(["ADD", "MUL"]) < alone["ADD"] + alone["MUL"] - code_bytes([])
    assert code_bytes(["CONV_2D/all"]) > alone["CONV_2D"]  # kernels for other types too


def test_an_operator_with_int4_weights_takes_the_kernel_for_all_types() -> None:
    graph = quantize_randomly(ds_cnn(4, 1))
    assert "CONV_2D" in operators_of(graph)
    mixed = Space.load("kws_mixed")
    graph = mixed.resolve(mixed.smallest())
    assert any(name.endswith("/all") for name in operators_of(graph))
