"""The mean of recent weights: by hand, after a stop, and its batch norm against the batches."""

import torch
from torch import Tensor, nn

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.train.average import Mean, recalibrate
from micronas.train.loop import evaluate, generator_for
from micronas.train.recipe import Recipe
from micronas.train.threads import threads
from tests.train.test_loop import QUICK, bright_corner, same_weights, small_network
from tests.training import fit


def test_the_mean_by_hand() -> None:
    """The n-th step after the first pulls by 1 / (1 + (n + 1) / 10)."""
    module = nn.Linear(1, 1, bias=False)
    mean = Mean(module)
    expected = 0.0
    for count, value in enumerate([3.0, 5.0, -2.0, 7.0]):
        nn.init.constant_(module.weight, value)
        mean.update()
        expected = value if count == 0 else expected + (value - expected) / (1 + (count + 1) / 10)
    with mean.applied():
        assert abs(module.weight.item() - expected) < 1e-6
    assert module.weight.item() == 7.0
    mean.apply()
    assert abs(module.weight.item() - expected) < 1e-6


def test_a_trained_network_is_the_mean_of_its_weights() -> None:
    """Those before each step, as a loss sees them, and those after the last, as saved."""
    split, network, checkpoint = bright_corner(), small_network(), Checkpoint()
    seen = list[Tensor]()

    def loss(outputs: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
        seen.append(network.get_parameter("units.stem.weight").detach().clone())
        return nn.functional.cross_entropy(outputs, labels)

    fit(network, split, QUICK, seed=3, loss=loss, checkpoint=checkpoint, until=3)
    assert len(seen) == 3 * QUICK.steps(len(split.labels))
    _, mean, *others = seen
    for count, weight in enumerate(
        [*others, checkpoint.load("train")["module"]["units.stem.weight"]], start=1
    ):
        mean = mean + (weight - mean) / (1 + (count + 1) / 10)
    assert torch.allclose(network.get_parameter("units.stem.weight"), mean, atol=1e-6)
    assert not torch.allclose(others[-1], mean, atol=1e-3)


def test_what_is_watched_is_the_mean_and_the_training_goes_on_without_it() -> None:
    """A stop, which returns the mean, and scores after each epoch change nothing."""
    split, checkpoint, scores = bright_corner(), Checkpoint(), list[float | None]()
    whole = fit(small_network(), split, QUICK, seed=3)
    for until in (1, 3, 4):
        part = fit(
            small_network(seed=until - 1),  # what counts is in the checkpoint
            split,
            QUICK,
            seed=3,
            checkpoint=checkpoint,
            until=until,
            validation=split,
            progress=lambda epoch: scores.append(epoch.validation_loss),
        )
        assert scores[-1] == evaluate(part, split).loss
        assert same_weights(part, fit(small_network(), split, QUICK, seed=3, until=until))
    assert same_weights(part, whole)


def test_batch_norm_is_that_of_batches_of_the_training_part() -> None:
    """Of all of them where there are no more than twelve: the mean of the batches' means."""
    split = TensorSplit(torch.randn(40, 3, 4, 4) * 2 + 5, torch.zeros(40, dtype=torch.long))
    norm, recipe = nn.BatchNorm2d(3), Recipe(epochs=1, batch_size=8)
    recalibrate(norm, split, recipe, generator_for(0))
    assert not norm.training
    assert torch.allclose(norm.running_mean, split.inputs.mean((0, 2, 3)), atol=1e-5)
    order = torch.randperm(40, generator=generator_for(0))
    batches = [split.inputs[index] for index in torch.split(order, recipe.batch_size)]
    within = torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_var, within, atol=1e-5)


def test_statistics_are_the_same_on_any_number_of_cores() -> None:
    """A training alone, the last of a search for one, is not in a process of one thread."""
    inputs = torch.randn(64, 32, 32, 3).permute(0, 3, 1, 2)  # channels last, as networks have them
    split = TensorSplit(inputs, torch.zeros(64, dtype=torch.long))
    recipe, found = Recipe(epochs=1, batch_size=64), []
    for count in (1, 2):
        with threads(count):
            found.append(nn.BatchNorm2d(3))
            recalibrate(found[-1], split, recipe, generator_for(0))
    assert same_weights(*found)
