"""Search spaces: what the shipped ones hold, and what a choice means."""

import random
from pathlib import Path

import pytest

from micronas.errors import ConfigError
from micronas.graph.counts import count
from micronas.hardware.targets import plan
from micronas.resources import names
from micronas.space.blocks import Separable
from micronas.space.space import Space, Stem

SHIPPED = ("ad", "ad_small", "kws", "kws_mixed", "kws_small", "kws_strides", "vww", "vww_small")


def test_the_keyword_space_is_the_papers_and_uniform_networks_are_its_shares() -> None:
    """DS-CNN enlarged to nine blocks of up to 276 channels, any number of the last eight."""
    space = Space.load("kws")
    largest = space.architecture(space.largest())
    assert str(largest) == "276; 276@2 276 276 276 276 276 276 276 276"
    assert len(space.architecture(space.smallest()).blocks) == 1
    assert space.stem.stride == (1, 1)
    # uniform networks take the same share everywhere
    half = space.architecture(space.uniform(0.5, 0.5))
    assert str(half) == "140; 140@2 140 140 140 140"
    assert str(space.architecture(space.uniform(0.0, 0.0))) == "28; 28@2"


def test_the_visual_space_is_mobilenet_v2() -> None:
    space = Space.load("vww")
    largest = space.architecture(space.largest())
    widths = [block.width[0] for block in largest.blocks]
    assert widths == [16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 96, 96, 96, 160, 160, 160, 320]
    assert sum(block.has_residual for block in largest.blocks) == 10
    assert largest.head.width == (1280,)
    assert largest.stem.width == (32,)


def test_the_anomaly_space_narrows_the_map_to_4x4() -> None:
    space = Space.load("ad")
    graph = space.architecture(space.largest()).graph()
    pool = next(op for op in graph.ops if op.kind == "AVERAGE_POOL_2D")
    assert graph.input_of(pool).shape == (1, 4, 4, 276)
    assert len(space.architecture(space.smallest()).blocks) == 3


@pytest.mark.parametrize("name", SHIPPED)
def test_every_width_lies_on_the_grid(name: str) -> None:
    for decision in Space.load(name).decisions:
        if decision.kind == "width":
            assert all(width % 4 == 0 for width in decision.options)
            assert list(decision.options) == sorted(set(decision.options))


@pytest.mark.parametrize("name", SHIPPED)
def test_no_random_network_costs_less_than_the_smallest_or_more_than_the_largest(name: str) -> None:
    """Refusing a budget, and annealing one, rest on this."""
    space, source = Space.load(name), random.Random(0)
    low, high = (
        space.architecture(choice).graph() for choice in (space.smallest(), space.largest())
    )
    for _ in range(60):
        graph = space.architecture(space.random(source)).graph()
        for cost in (lambda g: count(g).macs, lambda g: plan(g).total):
            assert cost(low) <= cost(graph) <= cost(high)


def test_a_network_survives_its_file(tmp_path: Path) -> None:
    source = random.Random(1)
    spaces = [Space.load(name) for name in SHIPPED]
    published = [Space.load(f"published/{name}") for name in names("search_spaces/published")]
    for network in (*(space.architecture(space.random(source)) for space in spaces), *published):
        network.save(tmp_path / "network.yaml")
        assert Space.load(tmp_path / "network.yaml") == network


@pytest.mark.parametrize("given", [("a", "a"), ("block2", None), ("stem", None)])
def test_blocks_of_one_name_are_refused(given: tuple[str | None, ...]) -> None:
    """The tensors of the second took the place of the first's, so that costs were of neither."""
    blocks = tuple(Separable(width=8, name=name) for name in given)
    with pytest.raises(ConfigError, match=f"names of their own, .* several are {given[0]};"):
        Space(input=(49, 10, 1), classes=2, stem=Stem(width=8, kernel=(3, 3)), blocks=blocks)


def test_the_second_stride_comes_after_one_to_four_blocks_and_has_up_to_six_itself() -> None:
    space = Space.load("kws_strides")
    assert space.stem.stride == (1, 1)
    assert str(space.architecture(space.smallest())) == "8; 8@2 8@2"
    deepest = space.architecture(space.uniform(0.5))
    assert str(deepest) == "128; 128@2 128 128 128 128@2 128 128 128 128 128"
    halfway = deepest.model_copy(update={"blocks": deepest.blocks[:4]}).graph()
    shapes = [
        graph.input_of(op).shape
        for graph in (halfway, deepest.graph())
        for op in graph.ops
        if op.kind == "AVERAGE_POOL_2D"
    ]
    assert shapes == [(1, 25, 5, 128), (1, 13, 3, 128)]
