"""Orders of operators: one by hand, and what any of them has to be."""

from pathlib import Path

from micronas.engine.generate import generate
from micronas.engine.layout import Layout, best_layout
from micronas.engine.order import reordered
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph
from testing.engine import check_on_host
from testing.graphs import ds_cnn, quantize_randomly
from testing.networks import random_network
from tests.cases import first


def two_branches() -> Graph:
    """Both maps of 8 x 8 x 32 are made before either is pooled."""
    builder = Builder((8, 8, 2))
    maps = [builder.conv(builder.input, f"map{n}", 32, (1, 1)) for n in range(2)]
    means = [builder.global_average(each, f"mean{n}") for n, each in enumerate(maps)]
    sums = builder.add(*means, "sum")
    return quantize_randomly(builder.finish(builder.dense(sums, "y", 4)))


def test_a_branch_ends_before_the_next_begins(tmp_path: Path) -> None:
    graph = two_branches()
    found = reordered(graph)
    assert [op.name for op in found.ops][:4] == ["map0", "mean0", "map1", "mean1"]
    # two maps at once; or one, with the input, the mean of the first, and work memory beside it
    assert Layout(graph, None).plan.size >= 2 * 2048
    assert best_layout(graph, None).plan.size < 2048 + 128 + 32 + 200
    check_on_host(graph, tmp_path)


def test_a_chain_has_one_order() -> None:
    graph = quantize_randomly(ds_cnn(8, 2))
    assert reordered(graph) is None
    assert generate(graph).arena == Layout(graph, None).plan.size


@first("seed", [13, 14, 28, 140, 161], 2)
def test_any_order_is_one_that_can_run_and_never_takes_more(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed)
    found = reordered(graph)
    assert sorted(op.name for op in found.ops) == sorted(op.name for op in graph.ops)
    known = {*graph.inputs} | {name for name, each in graph.tensors.items() if each.constant}
    variable = {name for name, each in graph.tensors.items() if each.variable}
    for op in found.ops:
        assert {*op.operands} <= known | variable
        known |= {*op.outputs}
    assert best_layout(graph, None).plan.size <= Layout(graph, None).plan.size
    check_on_host(graph, tmp_path)
