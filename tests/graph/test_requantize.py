"""Fixed scales joined with others, and what is left alone."""

import numpy as np
import pytest

from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Kind, Op
from micronas.graph.requantize import requantized


def joined(kinds: tuple[Kind, ...], *, bound: float | None = None) -> Graph:
    """Functions of one input, concatenated; or the first of them with a constant upper bound."""
    builder = Builder((2, 2, 3))
    parts = tuple(
        builder.append(Op(kind, kind, (builder.input,), (kind,)), (1, 2, 2, 3)) for kind in kinds
    )
    if bound is not None:
        limit = builder.constant("limit", np.array([bound], np.float32))
        op = Op("MINIMUM", "y", (parts[0], limit), ("y",))
        return builder.finish(builder.append(op, (1, 2, 2, 3)))
    op = Op("CONCATENATION", "y", parts, ("y",), axis=3)
    return builder.finish(builder.append(op, (1, 2, 2, 3 * len(parts))))


@pytest.mark.parametrize(
    ("kinds", "read"),
    [
        (("LOGISTIC", "HARD_SWISH"), ("y/quantize", "HARD_SWISH")),
        (("HARD_SWISH", "TANH"), ("HARD_SWISH", "y/quantize")),
        (("TANH", "LOGISTIC"), ("y/quantize", "y/quantize1")),
    ],
)
def test_a_fixed_scale_is_left_before_it_meets_another(
    kinds: tuple[Kind, ...], read: tuple[str, ...]
) -> None:
    graph = requantized(joined(kinds))
    assert graph.ops[-1].inputs == read
    inserted = [op for op in graph.ops if op.kind == "QUANTIZE"]
    assert [op.outputs[0] for op in inserted] == [name for name in read if "/" in name]
    assert {graph.output_of(op).shape for op in inserted} == {(1, 2, 2, 3)}
    assert requantized(graph) is graph


@pytest.mark.parametrize(
    "graph",
    [
        joined(("HARD_SWISH", "ELU")),
        joined(("LOGISTIC", "SOFTMAX")),
        joined(("LOGISTIC",), bound=0.5),
        joined(("HARD_SWISH",), bound=9.0),
    ],
)
def test_what_can_share_a_scale_is_left_alone(graph: Graph) -> None:
    assert requantized(graph) is graph


def test_a_constant_beyond_a_fixed_range_counts_as_another_scale() -> None:
    graph = requantized(joined(("LOGISTIC",), bound=1.5))
    assert [op.kind for op in graph.ops] == ["LOGISTIC", "QUANTIZE", "MINIMUM"]
