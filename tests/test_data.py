import math
import re
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from micronas.data import DataSet, Split, TensorSplit
from micronas.errors import DataError
from micronas.evaluation.files import evaluate
from micronas.export.from_torch.trace import trace
from micronas.objectives.classes import class_numbers
from micronas.tasks.arrays.loaders import as_data_set
from micronas.train.finetune import finetune
from micronas.train.loop import fit
from micronas.train.recipe import Recipe
from tests import toy

INPUTS = torch.zeros(6, 1, 2, 2)
PAIRS = torch.tensor([0, 1, 0, 1, 0, 1])


class Own(Split):
    """A split of a user's own class, which nothing has checked."""

    def __init__(self, labels: Tensor) -> None:
        self.labels, self.groups = labels, torch.arange(len(labels))

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.ones(len(index), 1, 2, 2)


@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0.1, 0.7, 0.2, 1.5, 2.0, 0.0]), torch.eye(6).long(), torch.zeros(6, 1).long()],
)
def test_targets_that_number_no_classes_are_refused(labels: Tensor) -> None:
    split = TensorSplit(INPUTS, labels)
    with pytest.raises(DataError, match=r"whole numbers \[N\].*Regression.*Labels"):
        DataSet(split, split, None, ("a", "b"), (2, 2, 1))


def test_labels_out_of_range_and_a_class_alone_are_refused() -> None:
    with pytest.raises(DataError, match="0 or more, but are -1 to 1"):
        class_numbers(PAIRS - (torch.arange(6) == 0).long())
    good, three = TensorSplit(INPUTS, PAIRS), TensorSplit(INPUTS, PAIRS + 1)
    with pytest.raises(DataError, match="0 to 1, but are 1 to 2"):
        DataSet(good, three, None, ("a", "b"), (2, 2, 1))
    with pytest.raises(DataError, match="0 to 1, but are 1 to 2"):
        DataSet(good, good, None, ("a", "b"), (2, 2, 1), final=three)
    with pytest.raises(DataError, match="at least two classes to tell apart, but there is 1"):
        DataSet(good, good, None, ("all",), (2, 2, 1))
    words = np.array(["no", "up", "yes"])
    with pytest.raises(DataError, match="but 'yes' has none"):
        DataSet(good, good, None, tuple(words), (2, 2, 1))
    with pytest.raises(DataError, match="classes must have different names, but are a, a"):
        DataSet(good, good, None, ("a", "a"), (2, 2, 1))
    for odd in ("", " ", "b\n", "\ud83d"):
        with pytest.raises(DataError, match=r"half characters, but one is '.*; rename"):
            DataSet(good, good, None, ("a", odd), (2, 2, 1))
    alone = TensorSplit(INPUTS, torch.ones(6).long())
    with pytest.raises(DataError, match="all of 6 are of 'b'"):
        DataSet(alone, good, None, ("a", "b"), (2, 2, 1))
    assert DataSet(good, alone, None, ("a", "b"), (2, 2, 1)).validation is alone


def test_a_class_that_nothing_trains_is_refused() -> None:
    # labels from 1, of which a torch data set makes a class 0
    shifted = TensorDataset(INPUTS, PAIRS + 1)
    with pytest.raises(DataError, match=r"each of the 3 classes .* but '0' has none.* from 0"):
        as_data_set([shifted, shifted])
    good, rare = TensorSplit(INPUTS, PAIRS), TensorSplit(INPUTS, PAIRS * 2)
    with pytest.raises(DataError, match="but 'c', 'd' has none"):
        DataSet(good, rare, None, ("a", "b", "c", "d"), (2, 2, 1))
    # a part of the data may lack a class
    whole = DataSet(good, good, None, ("a", "b"), (2, 2, 1))
    part = TensorSplit(INPUTS[:2], torch.zeros(2, dtype=torch.long))
    assert replace(whole, train=part).objective == whole.objective


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_inputs_that_are_not_finite_are_refused_before_anything_trains(value: float) -> None:
    inputs = INPUTS.clone()
    inputs[2, 0, 1, 0] = inputs[4, 0, 0, 0] = value
    with pytest.raises(DataError, match=r"finite, but 2 of 6 examples .* them inputs\[2\]"):
        TensorSplit(inputs, PAIRS)
    with pytest.raises(DataError, match="finite"):
        as_data_set([TensorDataset(inputs, PAIRS), TensorDataset(INPUTS, PAIRS)])


@pytest.mark.parametrize(
    ("sizes", "offset", "said"),
    [
        ((1, 1), 0, None),
        ((1, 0), 0, None),  # a constant channel says nothing anyway
        ((1, 1e4), 0, r"channel 0 deviates by 1, less than the .* by which 8 bits tell inputs of"),
        ((1, 1), 1e4, "channel 0 deviates by 1, less than the 39 .* of 0 to 1e.04 apart"),
        ((1e-6, 1e-6), 0, "they deviate by 1e-06, which batch norm takes for nothing"),
    ],
)
def test_inputs_that_rounding_or_norms_lose_are_in_doubt(
    sizes: tuple[float, float], offset: float, said: str | None
) -> None:
    """Networks stayed at chance without a word."""
    signs = 1.0 - 2 * (torch.arange(48).reshape(6, 2, 2, 2) % 2)
    inputs = offset + torch.tensor(sizes)[:, None, None] * signs
    split = TensorSplit(inputs, PAIRS)
    found = DataSet(split, split, None, ("a", "b"), (2, 2, 2)).doubt()
    assert (found is None) == (said is None)
    assert said is None or re.search(said, found or "")


def test_a_split_of_ones_own_is_refused_where_it_is_trained_or_judged_on() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    recipe = Recipe(epochs=1, batch_size=2)
    for labels, rule in ((PAIRS.float(), "whole numbers"), (PAIRS + 1, "0 to 1, but are 1 to 2")):
        with pytest.raises(DataError, match=rule):
            fit(network, Own(labels), recipe, seed=0)
        with pytest.raises(DataError, match=rule):
            evaluate(network, Own(labels))
    alone = nn.Sequential(nn.Flatten(), nn.Linear(4, 1))
    for act in (lambda split: fit(alone, split, recipe, seed=0), lambda s: evaluate(alone, s)):
        with pytest.raises(DataError, match="every network would be right"):
            act(Own(PAIRS * 0))


@pytest.mark.parametrize(
    "given",
    [
        TensorDataset(INPUTS, PAIRS),
        SimpleNamespace(labels=PAIRS, groups=PAIRS, batch=lambda index, generator: INPUTS[index]),
    ],
)
def test_a_data_set_of_torch_is_no_split(given: object) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    good, recipe = TensorSplit(INPUTS, PAIRS), Recipe(epochs=1)
    for act in (
        lambda each: fit(network, each, recipe, seed=0),
        lambda each: finetune(trace(network.eval(), INPUTS[:1]), each, recipe, seed=0),
        lambda each: evaluate(network, each),
        lambda each: DataSet(good, each, None, ("a", "b"), (2, 2, 1)),
    ):
        with pytest.raises(DataError, match=r"(TensorDataset|Namespace) has not; .*TensorSplit\("):
            act(given)


def test_arrays_are_tensors() -> None:
    arrays = TensorSplit(INPUTS.numpy(), PAIRS.numpy(), groups=np.arange(6) // 2)
    assert torch.equal(arrays.labels, PAIRS)
    assert arrays.groups.tolist() == [0, 0, 1, 1, 2, 2]
    mirrored = INPUTS.numpy()[..., ::-1].astype(">f4")[..., ::-1]
    mirrored.flags.writeable = False  # as of a mapped file
    assert not TensorSplit(INPUTS.clone().requires_grad_(), PAIRS).inputs.requires_grad
    assert torch.equal(TensorSplit(mirrored, PAIRS).inputs, INPUTS)
    for names in ({"labels": np.array(["a"] * 6)}, {"groups": ["p"] * 6}):
        with pytest.raises(DataError, match=f"{next(iter(names))} must be a tensor or an array"):
            TensorSplit(INPUTS, **{"labels": PAIRS, **names})  # type: ignore[arg-type]


def test_whole_numbers_of_any_type_are_labels() -> None:
    for kind in (torch.uint8, torch.int32, torch.bool):
        assert torch.equal(class_numbers(PAIRS.to(kind)), PAIRS)
    assert toy.data().train.labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (lambda x, _: x[:1], r"float32 \(2, 1, 2, 2\), but it returned float32 \(1, 1, 2, 2\)"),
        (lambda x, _: x.double(), r"returned float64 \(2, 1, 2, 2\)"),
        (lambda x, _: None, "returned NoneType"),
    ],
)
def test_an_augmentation_that_changes_shapes_is_refused(
    augment: Callable[[Tensor, torch.Generator], Any], said: str
) -> None:
    with pytest.raises(DataError, match=f"augment must return inputs of the shape .*{said}"):
        TensorSplit(INPUTS, PAIRS, augment=augment)


def test_an_augmentation_may_work_in_place() -> None:
    split = TensorSplit(INPUTS.clone(), PAIRS, augment=lambda x, _: x.add_(1))
    assert torch.equal(split.batch(torch.arange(6), None), INPUTS)
    with pytest.raises(DataError, match=r"one for each example, but got groups \(5,\)"):
        TensorSplit(INPUTS, PAIRS, groups=torch.arange(5))


def test_groups_are_whole_numbers_of_any_type() -> None:
    assert TensorSplit(INPUTS, PAIRS, groups=np.arange(6.0)).groups.tolist() == [*range(6)]
    for wrong in (1.5, math.nan, math.inf):
        with pytest.raises(DataError, match=f"groups must be whole numbers, but one is {wrong}"):
            TensorSplit(INPUTS, PAIRS, groups=np.array([0, 0, 1, 1, 2, wrong]))


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"mixup": -1.0}, "mixup must be a number of at least 0, but is -1.0"),
        ({"mixup": math.nan}, "mixup must be a number of at least 0, but is nan"),
        ({"mixup": "0.2"}, "mixup must be a number of at least 0, but is '0.2'"),
        ({"augment": 3}, "augment must be a function of inputs and a generator, but is int"),
    ],
)
def test_odd_settings_of_a_split_are_refused(odd: dict[str, Any], said: str) -> None:
    """A mixup below 0 or of NaN mixed nothing in silence."""
    with pytest.raises(DataError, match=said):
        TensorSplit(INPUTS, PAIRS, **odd)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"input": (12, 12)}, r"input must be height, width and channels, .* is \(12, 12\)"),
        ({"input": (12, 12.5, 1)}, r"three whole numbers, but is \(12, 12.5, 1\)"),
        ({"input": 12}, "three whole numbers, but is 12"),
        ({"classes": 4}, "classes must be names, but are 4"),
        ({"classes": "no"}, "classes must be names, but are 'no'"),
        ({"train": None}, "must have labels, groups and batch, .* but NoneType has not"),
    ],
)
def test_odd_fields_of_a_data_set_are_refused(odd: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        replace(toy.few(), **odd)
