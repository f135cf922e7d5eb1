"""Bytes of code by operator, against images that a linker made."""

import pytest

from micronas.graph.operators import OPERATORS
from micronas.hardware.code import code_bytes, operators_of
from micronas.space.space import Space
from testing.graphs import ds_cnn, quantize_randomly

SMALL = ("AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "RESHAPE")
POOLED = ("AVERAGE_POOL_2D", "CONV_2D", "FULLY_CONNECTED")
LINKED = {
    SMALL: (61_170, 57_858),
    (*SMALL, "ADD", "PAD"): (70_206, 65_086),
    (*SMALL, "FULLY_CONNECTED"): (73_114, 64_654),
    (*SMALL, "ADD", "FULLY_CONNECTED", "PAD"): (82_254, 71_890),
    POOLED: (62_163, 55_295),
    (*POOLED, "ADD"): (68_290, 60_174),
    (*POOLED, "DEPTHWISE_CONV_2D"): (71_366, 63_154),
    (*POOLED, "ADD", "DEPTHWISE_CONV_2D"): (77_478, 67_986),
    (*POOLED, "CONV_2D/all", "DEPTHWISE_CONV_2D"): (88_806, 78_738),
}
"""Of nine networks' firmware, linked with GCC 14.2 and TFLM 90b983c2, less model and golden
tensors, in bytes at -O2 and at -Os."""


@pytest.mark.parametrize(("operators", "linked"), LINKED.items())
def test_predicted_code_is_that_of_a_linked_image_and_never_less(
    operators: tuple[str, ...], linked: tuple[int, int]
) -> None:
    """At most 1 % above."""
    assert linked[0] <= code_bytes(operators) <= 1.01 * linked[0]
    assert linked[1] <= code_bytes(operators, kernels="-Os") <= 1.01 * linked[1]


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
