"""bfloat16 as an option: which convolutions take part, and that networks still learn."""

from functools import partial

import pytest
import torch
from torch import nn

from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.train.convolutions import mixed_precision, same_conv2d
from micronas.train.loop import evaluate
from micronas.train.recipe import Recipe
from tests.nas.brief import brief
from tests.toy import SPACE, few, split
from tests.training import finetune, fit, search

pytestmark = pytest.mark.usefixtures("device")


@pytest.mark.parametrize(
    ("kernel", "stride", "depthwise", "wanted"),
    [
        (1, 1, False, torch.bfloat16),
        (5, 2, False, torch.bfloat16),
        (3, 1, True, torch.bfloat16),
        (3, 2, True, torch.float32),
        (5, 1, True, torch.float32),
        (7, 1, True, torch.float32),
    ],
)
def test_slow_depthwise_kernels_stay_in_float32(
    kernel: int, stride: int, depthwise: bool, wanted: torch.dtype
) -> None:
    """Checked on what a convolution computes: bfloat16 keeps 8 bits of its products."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 9, 9, generator=generator)
    weight = torch.randn(8, 1 if depthwise else 8, kernel, kernel, generator=generator)
    convolve = partial(
        same_conv2d, weight=weight, stride=(stride, stride), groups=8 if depthwise else 1
    )
    exact = convolve(x)
    with mixed_precision("bf16"):
        y, again = convolve(x.bfloat16()), convolve(x)
    assert y.dtype == wanted
    assert torch.equal(again, exact) == (wanted == torch.float32)
    torch.testing.assert_close(again.float(), exact, rtol=0.05, atol=0.1)
    with mixed_precision(None):
        assert torch.equal(convolve(x), exact)


def test_a_training_step_runs_depthwise_5x5_in_float32_and_the_rest_in_bfloat16() -> None:
    """Seen by the batch norms that follow the convolutions of a network."""
    network = SPACE.architecture(SPACE.largest()).build().train()
    seen = {}

    def note(unit: nn.Module, given: tuple[torch.Tensor, ...], _: object) -> None:
        seen[unit] = given[0].dtype

    for unit in network.units.values():
        unit.norm.register_forward_hook(note)
    with mixed_precision("bf16"):
        network(torch.randn(4, 1, 12, 12))
    kinds = {unit.op.kind: unit for unit in network.units.values()}
    assert kinds["DEPTHWISE_CONV_2D"].weight.shape[-1] == 5
    assert seen[kinds["DEPTHWISE_CONV_2D"].norm] == torch.float32
    assert seen[kinds["CONV_2D"].norm] == torch.bfloat16


def test_a_network_learns_in_bfloat16() -> None:
    torch.manual_seed(0)
    network = SPACE.architecture(SPACE.uniform(0.7)).build()
    recipe = Recipe(epochs=5, batch_size=32, learning_rate=1e-2, amp="bf16")
    fit(network, split(400, 0), recipe, seed=0)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    assert evaluate(network, split(120, 1)).accuracy > 0.8


def test_training_with_quantisation_refuses_bfloat16() -> None:
    network = SPACE.architecture(SPACE.smallest()).build()
    with pytest.raises(ConfigError, match=r"must compute in float32, .* amp=bf16; leave quantize"):
        finetune(network, split(20, 0), Recipe(epochs=1, amp="bf16"), seed=0)


def test_both_passes_of_the_supernet_agree_in_bfloat16() -> None:
    torch.manual_seed(0)
    net, choice = SharedNetwork(SPACE), SPACE.uniform(0.5)
    gates = Gates(SPACE.decisions).one_hot(choice)
    x = split(32, 0).inputs
    with mixed_precision("bf16"):
        sliced, masked = net.sliced(x, choice), net.masked(x, gates)
    torch.testing.assert_close(masked.float(), sliced.float(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(sliced.float(), net.sliced(x, choice), rtol=0.1, atol=0.1)


@pytest.mark.long
def test_a_search_in_bfloat16_learns_and_repeats() -> None:
    trial = Recipe(epochs=1, batch_size=32)
    given = {"steps": 20, "warmup": 100, "batch_size": 32, "candidates": 2, "finalists": 0}
    settings = brief("dnas", **given, amp="bf16", trial=trial)
    board, budget = Board.load("stm32f446re"), Budget(macs="60000")
    first, again = (
        search(SPACE, few(), board=board, budget=budget, settings=settings) for _ in range(2)
    )
    assert first == again
    losses = [record["loss"] for record in first.history]
    assert losses[-1] < 0.8 * losses[0]
