"""Training a composition on a toy data set, end to end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Split, TensorSplit
from micronas.errors import BudgetError, ConfigError
from micronas.export.verify import verify
from micronas.graph.counts import count
from micronas.hardware.board import Board
from micronas.router.decision import GENERAL
from micronas.router.device.compose import (
    Composed,
    Outputs,
    Relabelled,
    compose,
    input_codes,
    parts,
)
from micronas.space.blocks import Separable
from micronas.space.space import Space, Stem
from micronas.tflite.writer import to_flatbuffer
from micronas.train.loop import Epoch
from micronas.train.recipe import Recipe
from tests import toy

RECIPE = Recipe(epochs=4, batch_size=32)
QUANTIZE = Recipe(epochs=1, batch_size=32, learning_rate=1e-3)
CATEGORIES = {"lines": ("rows", "columns"), "others": ("flat", "checks")}


class Hidden:
    """A part that nobody may look at."""

    labels = torch.zeros(3, dtype=torch.long)
    groups = torch.arange(3)

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        raise AssertionError("the final parts are not for choices")


def data() -> DataSet:
    hidden: Split = Hidden()
    return replace(toy.data(), validation=hidden, test=hidden)


def network(width: int, *, side: int = 12) -> Space:
    return Space(
        name=f"toy {width}",
        input=(side, side, 1),
        classes=2,
        stem=Stem(width=width, kernel=(3, 3), stride=(2, 2)),
        blocks=(Separable(width=width),),
    )


def composed(
    *,
    categories: int | dict[str, tuple[str, ...]] = 2,
    outputs: Outputs = "category",
    general: Space | None = None,
    macs: float | None = None,
    checkpoint: Checkpoint | None = None,
    progress: list[tuple[str, Epoch]] | None = None,
) -> Composed:
    return compose(
        data(),
        router=network(4),
        expert=network(8),
        general=general,
        categories=categories,
        outputs=outputs,
        seed=3,
        recipe=RECIPE,
        quantize=QUANTIZE,
        macs=macs,
        checkpoint=checkpoint,
        progress=None if progress is None else lambda *told: progress.append(told),
    )


@pytest.fixture(scope="module")
def found() -> Composed:
    return composed(categories=CATEGORIES)


def held() -> Split:
    return parts(data(), held_out=0.2, seed=3)[1]


def test_it_has_learnt_and_knows_how_much(found: Composed) -> None:
    composition, examples = found.composition, held()
    codes, labels = input_codes(composition.router, examples), examples.labels.numpy()
    outcome = composition.predict(codes)
    assert (outcome.labels == labels).mean() == found.threshold.accuracy > 0.7
    assert composition.shares == composition.shares_of(outcome)
    # by brute force: no threshold is better, and equally good ones cost no less
    others = [replace(composition, threshold=code).predict(codes) for code in range(-128, 128, 3)]
    assert max((other.labels == labels).mean() for other in others) <= found.threshold.accuracy
    costs = composition.costs(Board.load("stm32f446re"))
    assert costs.macs == pytest.approx(found.threshold.macs)


def test_all_networks_are_those_of_tflm(found: Composed) -> None:
    codes = input_codes(found.composition.router, held())[:20]
    for graph in found.composition.graphs:
        assert verify(to_flatbuffer(graph), codes).mismatches == 0


def test_experts_tell_their_categories_apart(found: Composed) -> None:
    composition = found.composition
    assert composition.categories == CATEGORIES
    assert composition.expert_of == {"lines": "lines", "others": "others", GENERAL: GENERAL}
    labels = {expert.name: expert.labels for expert in composition.experts}
    assert labels == {**CATEGORIES, GENERAL: toy.CLASSES}


def test_the_same_seed_gives_the_same_bytes_also_from_a_checkpoint(found: Composed) -> None:
    checkpoint, told = Checkpoint(), list[tuple[str, Epoch]]()
    first = composed(categories=CATEGORIES, checkpoint=checkpoint, progress=told)
    names = ["router", "start", "expert lines", "expert others", GENERAL]
    assert list(dict.fromkeys(name for name, _ in told)) == names
    told.clear()
    again = composed(categories=CATEGORIES, checkpoint=checkpoint, progress=told)
    assert told == []
    for each in (first, again):
        assert each.threshold == found.threshold
        files = [to_flatbuffer(graph) for graph in each.composition.graphs]
        assert files == [to_flatbuffer(graph) for graph in found.composition.graphs]


def test_categories_are_found_and_experts_may_keep_all_classes() -> None:
    composition = composed(outputs="all").composition
    sizes = [len(labels) for labels in composition.categories.values()]
    assert sizes == [2, 2]
    assert all(expert.labels == toy.CLASSES for expert in composition.experts)


def test_a_larger_general_network_is_used_as_far_as_macs_allow() -> None:
    general, trained = network(32), Checkpoint()

    def limited(macs: float | None) -> Composed:
        return composed(categories=CATEGORIES, general=general, macs=macs, checkpoint=trained)

    rich = limited(None)
    networks = [count(graph).macs for graph in rich.composition.graphs]
    assert networks[3] > 4 * networks[1]
    limit = networks[0] + networks[1] + 0.1 * (networks[3] - networks[1])
    poor = limited(limit)
    assert poor.threshold.macs <= limit
    assert poor.composition.shares[GENERAL] <= 0.1 + 1e-3
    assert rich.threshold.accuracy >= poor.threshold.accuracy


def test_a_budget_below_any_composition_is_refused_before_training() -> None:
    told: list[tuple[str, Epoch]] = []
    with pytest.raises(BudgetError, match=r"router and the smallest expert: limit=1000, smallest="):
        composed(categories=CATEGORIES, macs=1000, progress=told)
    assert told == []


def test_parts_share_no_group() -> None:
    kept, examples = parts(data(), held_out=0.25, seed=1)
    assert not set(kept.groups.tolist()) & set(examples.groups.tolist())
    assert len(kept.labels) + len(examples.labels) == len(data().train.labels)
    assert len(examples.labels) == pytest.approx(100, abs=4)


def test_relabelled_examples_keep_their_inputs() -> None:
    split = TensorSplit(torch.arange(4.0)[:, None, None, None], torch.tensor([0, 1, 2, 1]))
    some = Relabelled(split, torch.tensor([3, 0, 3]), torch.tensor([5, 7, 9]))
    assert some.labels.tolist() == [7, 5, 7]
    assert some.batch(torch.tensor([1, 2]), None).flatten().tolist() == [0, 3]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"expert": network(8, side=10)}, r"'toy 8' takes \(10, 10, 1\) and the data is"),
        ({"general": network(8, side=10)}, "must take the data set's input"),
        ({"categories": 3}, "categories=3 for 4 classes"),
        ({"categories": {"a": ("rows",), "b": toy.CLASSES}}, r"\['rows'\] stand in none or"),
        ({"categories": {"a": toy.CLASSES[:1], "b": toy.CLASSES[1:]}}, r"\['a'\] are too small"),
        ({"held_out": 1.0}, "held_out=1.0"),
    ],
)
def test_mistakes_are_said_before_anything_is_trained(change: dict[str, object], said: str) -> None:
    told: list[object] = []
    arguments = {"router": network(4), "expert": network(8), "categories": CATEGORIES, **change}
    with pytest.raises(ConfigError, match=said):
        compose(data(), seed=0, progress=lambda *now: told.append(now), **arguments)  # type: ignore[arg-type]
    assert told == []


def test_input_codes_are_those_of_one_batch(found: Composed) -> None:
    codes = input_codes(found.composition.router, toy.split(300, 5))
    assert codes.shape == (300, 12, 12, 1)
    assert np.array_equal(codes[:7], input_codes(found.composition.router, toy.split(300, 5))[:7])
