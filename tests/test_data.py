import math
import re
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


GOOD = TensorSplit(INPUTS, PAIRS)
FIELDS = {
    "train": GOOD,
    "validation": GOOD,
    "test": None,
    "classes": ("a", "b"),
    "input": (2, 2, 1),
}


def labelled(labels: Tensor) -> TensorSplit:
    return TensorSplit(INPUTS, labels)


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        *(
            ({"train": labelled(each)}, r"whole numbers \[N\].*Regression.*Labels")
            for each in (PAIRS + 0.1, torch.eye(6).long(), torch.zeros(6, 1).long())
        ),
        ({"validation": labelled(PAIRS + 1)}, "0 to 1, but are 1 to 2"),
        ({"final": labelled(PAIRS + 1)}, "0 to 1, but are 1 to 2"),
        ({"classes": ("all",)}, "at least two classes to tell apart, but there is 1"),
        ({"classes": tuple(np.array(["no", "up", "yes"]))}, "but none is of 'yes'"),
        (
            {"classes": ("a", "b", "c", "d"), "validation": labelled(PAIRS * 2)},
            "none is of 'c', 'd'",
        ),
        ({"classes": ("a", "a")}, "classes must have different names, but are a, a"),
        *(
            ({"classes": ("a", each)}, r"half characters, but one is '.*; rename")
            for each in ("", " ", "b\n", "\ud83d")
        ),
        ({"classes": 4}, "classes must be names, but are 4"),
        ({"classes": "no"}, "classes must be names, but are 'no'"),
        ({"train": labelled(PAIRS * 0 + 1)}, "all of 6 are of 'b'"),
        ({"train": None}, "must have labels, groups and batch, .* but NoneType has not"),
        ({"input": (12, 12)}, r"input must be height, width and channels, .* is \(12, 12\)"),
        ({"input": (12, 12.5, 1)}, r"three whole numbers, but is \(12, 12.5, 1\)"),
        ({"input": 12}, "three whole numbers, but is 12"),
    ],
)
def test_odd_fields_of_a_data_set_are_refused(odd: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        DataSet(**{**FIELDS, **odd})


def test_a_part_of_the_data_may_lack_a_class() -> None:
    whole = DataSet(**{**FIELDS, "validation": labelled(PAIRS * 0 + 1)})  # type: ignore[arg-type]
    part = TensorSplit(INPUTS[:2], torch.zeros(2, dtype=torch.long))
    assert replace(whole, train=part).objective == whole.objective


def test_labels_of_a_torch_data_set_begin_at_0() -> None:
    """From 1 on it makes a class 0."""
    shifted = TensorDataset(INPUTS, PAIRS + 1)
    with pytest.raises(DataError, match=r"each of the 3 classes .* but none is of '0'.* from 0"):
        as_data_set([shifted, shifted])


def spoilt(value: float) -> Tensor:
    """Inputs two of which are not finite."""
    inputs = INPUTS.clone()
    inputs[2, 0, 1, 0] = inputs[4, 0, 0, 0] = value
    return inputs


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        *(
            ({"inputs": spoilt(each)}, r"finite, but 2 of 6 examples .* them inputs\[2\]")
            for each in (math.nan, math.inf, -math.inf)
        ),
        *(
            ({"mixup": each}, f"mixup must be a number of at least 0, but is {each!r}")
            for each in (-1.0, math.nan, "0.2")  # which mixed nothing in silence
        ),
        ({"labels": np.array(["a"] * 6)}, "labels must be a tensor or an array"),
        ({"groups": ["p"] * 6}, "groups must be a tensor or an array"),
        ({"groups": torch.arange(5)}, r"one for each example, but got groups \(5,\)"),
        *(
            ({"groups": np.array([0, 0, 1, 1, 2, each])}, f"whole numbers, but one is {each}")
            for each in (1.5, math.nan, math.inf)
        ),
        ({"augment": 3}, "augment must be a function of inputs and a generator, but is int"),
        *(
            ({"augment": augment}, f"augment must return inputs of the shape .*{said}")
            for augment, said in (
                (lambda x, _: x[:1], r"float32 \(2, 1, 2, 2\), but it .* float32 \(1, 1, 2, 2\)"),
                (lambda x, _: x.double(), r"returned float64 \(2, 1, 2, 2\)"),
                (lambda x, _: None, "returned NoneType"),
            )
        ),
    ],
)
def test_odd_fields_of_a_split_are_refused(odd: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        TensorSplit(**{"inputs": INPUTS, "labels": PAIRS, **odd})


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
    arrays = TensorSplit(INPUTS.numpy(), PAIRS.numpy(), groups=np.arange(6.0) // 2)
    assert torch.equal(arrays.labels, PAIRS)
    assert arrays.groups.tolist() == [0, 0, 1, 1, 2, 2]
    mirrored = INPUTS.numpy()[..., ::-1].astype(">f4")[..., ::-1]
    mirrored.flags.writeable = False  # as of a mapped file
    assert not TensorSplit(INPUTS.clone().requires_grad_(), PAIRS).inputs.requires_grad
    assert torch.equal(TensorSplit(mirrored, PAIRS).inputs, INPUTS)


def test_whole_numbers_of_any_type_are_labels() -> None:
    for kind in (torch.uint8, torch.int32, torch.bool):
        assert torch.equal(class_numbers(PAIRS.to(kind)), PAIRS)
    with pytest.raises(DataError, match="0 or more, but are -1 to 1"):
        class_numbers(PAIRS - (torch.arange(6) == 0).long())
    assert toy.data().train.labels.dtype == torch.int64


def test_an_augmentation_may_work_in_place() -> None:
    split = TensorSplit(INPUTS.clone(), PAIRS, augment=lambda x, _: x.add_(1))
    assert torch.equal(split.batch(torch.arange(6), None), INPUTS)
