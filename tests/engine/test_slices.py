"""Concatenations whose operands are written where they lie in the output."""

from dataclasses import replace
from pathlib import Path

import pytest

from micronas.engine.generate import generate
from micronas.engine.layout import Layout, best_layout
from micronas.graph.builder import Builder
from micronas.graph.ir import Graph, Op
from testing.engine import check_on_host
from testing.graphs import quantize_randomly
from testing.networks import random_network
from tests.cases import first


def joined(builder: Builder, name: str, parts: tuple[str, ...], axis: int) -> str:
    shape = list(builder.shape(parts[0]))
    shape[axis] = sum(builder.shape(part)[axis] for part in parts)
    return builder.append(Op("CONCATENATION", name, parts, (name,), axis=axis), tuple(shape))


def alike(graph: Graph) -> Graph:
    """Give all activations one scale, as concatenations ask for."""
    graph = quantize_randomly(graph, 3)
    shared = graph.tensors[graph.inputs[0]].quantization
    tensors = {
        name: each if each.constant else replace(each, quantization=shared)
        for name, each in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def stacked(axis: int) -> Graph:
    """Maps of three branches side by side, two of them concatenated before."""
    builder = Builder((6, 5, 3))
    maps = [builder.conv(builder.input, f"map{n}", 4, (3, 3)) for n in range(3)]
    both = joined(builder, "both", (maps[1], maps[0]), axis)
    builder.depthwise(both, "after", (3, 3))
    all_ = joined(builder, "all", (maps[2], "after", both), axis)
    return alike(builder.finish(builder.conv(all_, "y", 2)))


def test_rows_of_maps_are_written_in_place(tmp_path: Path) -> None:
    graph = stacked(axis=1)
    source, layout = generate(graph).source, best_layout(graph, None)
    assert "move(" not in source
    places = {name: layout.place_of(name) - layout.place_of("all") for name in layout.sliced}
    assert places == {"map2": 0, "after": 120, "both": 360, "map1": 360, "map0": 480}
    check_on_host(graph, tmp_path)


def test_channels_of_maps_are_copied(tmp_path: Path) -> None:
    graph = stacked(axis=3)
    assert not best_layout(graph, None).sliced
    check_on_host(graph, tmp_path)


@pytest.mark.parametrize("most", [None, 0])
def test_inputs_and_what_is_read_twice_are_copied(most: int | None, tmp_path: Path) -> None:
    builder = Builder((4, 4, 2))
    first = builder.conv(builder.input, "first", 2, (3, 3))
    once = joined(builder, "once", (builder.input, first, first), 1)
    second = builder.conv(once, "second", 2)
    y = joined(builder, "y", (second, once), 1)
    graph = alike(builder.finish(y))
    layout = best_layout(graph, most)
    assert {*layout.sliced} == {"second", "once"}
    check_on_host(graph, tmp_path, most=most)


@first("seed", [40, 63, 109, 134], 2)
def test_they_never_take_more_than_copies(seed: int, tmp_path: Path) -> None:
    graph = random_network(seed)
    assert best_layout(graph, None).plan.size <= Layout(graph, None).plan.size
    check_on_host(graph, tmp_path)
