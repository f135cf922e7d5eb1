"""The mean of recent weights: by hand, after a stop, and its batch norm against the batches."""

import torch
from torch import nn

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.train.average import averaged, recalibrated
from micronas.train.loop import fit, generator_for
from micronas.train.recipe import Recipe
from micronas.train.threads import threads
from tests.train.test_loop import QUICK, bright_corner, same_weights, small_network


def test_the_mean_by_hand() -> None:
    """The n-th step after the first pulls by 1 / (1 + (n + 1) / 10)."""
    module = nn.Linear(1, 1, bias=False)
    average = averaged(module)
    expected = 0.0
    for count, value in enumerate([3.0, 5.0, -2.0, 7.0]):
        nn.init.constant_(module.weight, value)
        average.update_parameters(module)
        expected = value if count == 0 else expected + (value - expected) / (1 + (count + 1) / 10)
    assert abs(average.module.weight.item() - expected) < 1e-6


def test_the_mean_survives_a_stop_and_leaves_the_training_alone() -> None:
    split, checkpoint = bright_corner(), Checkpoint()
    alone, whole = small_network(), averaged(small_network())
    fit(alone, split, QUICK, seed=3, average=whole)
    assert same_weights(alone, fit(small_network(), split, QUICK, seed=3))
    for until in (1, 3, 4):
        network = small_network(seed=until - 1)  # what counts is in the checkpoint
        part = averaged(network)
        fit(network, split, QUICK, seed=3, checkpoint=checkpoint, until=until, average=part)
    assert same_weights(part, whole)
    assert not same_weights(whole.module, alone)


def test_a_training_can_be_averaged_from_any_epoch_on() -> None:
    """Checkpoints of trainings without a mean go on with one that begins there."""
    split, checkpoint, network = bright_corner(), Checkpoint(), small_network()
    fit(network, split, QUICK, seed=3, checkpoint=checkpoint, until=2)
    average = averaged(network)
    fit(network, split, QUICK, seed=3, checkpoint=checkpoint, average=average)
    assert int(average.n_averaged) == 2 * QUICK.steps(len(split.labels))


def test_batch_norm_is_that_of_batches_of_the_training_part() -> None:
    """Of all of them where there are no more than twelve: the mean of the batches' means."""
    split = TensorSplit(torch.randn(40, 3, 4, 4) * 2 + 5, torch.zeros(40, dtype=torch.long))
    average = averaged(nn.Sequential(nn.BatchNorm2d(3)))
    recipe = Recipe(epochs=1, batch_size=8)
    found = recalibrated(average.module, split, recipe, generator_for(0))
    norm = found[0]  # type: ignore[index]
    assert not found.training
    assert torch.allclose(norm.running_mean, split.inputs.mean((0, 2, 3)), atol=1e-5)
    within = torch.stack([batch.var((0, 2, 3)) for batch in _batches(split, recipe)]).mean(0)
    assert torch.allclose(norm.running_var, within, atol=1e-5)


def test_statistics_are_the_same_on_any_number_of_cores() -> None:
    """A training alone, the last of a search for one, is not in a process of one thread."""
    inputs = torch.randn(64, 32, 32, 3).permute(0, 3, 1, 2)  # channels last, as networks have them
    split = TensorSplit(inputs, torch.zeros(64, dtype=torch.long))
    recipe, found = Recipe(epochs=1, batch_size=64), []
    for count in (1, 2):
        with threads(count):
            found.append(recalibrated(nn.BatchNorm2d(3), split, recipe, generator_for(0)))
    assert same_weights(*found)


def _batches(split: TensorSplit, recipe: Recipe) -> list[torch.Tensor]:
    order = torch.randperm(len(split.labels), generator=generator_for(0))
    return [split.inputs[index] for index in torch.split(order, recipe.batch_size)]
