"""Fine-tuning with rounding in the loop: what it keeps, what it reaches, that it can be resumed."""

import copy
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.graph import integer
from micronas.tflite.writer import to_flatbuffer
from micronas.train.codes import quantize_inputs
from micronas.train.loop import Epoch, evaluate, generator_for, predict
from micronas.train.network import Network
from micronas.train.quantize import QuantizedNetwork, Ranges
from micronas.train.recipe import Recipe
from testing.graphs import ds_cnn
from tests.train.imitation import calibrated, differences, float_network, random_batch
from tests.train.test_loop import bright_corner, same_weights, small_network
from tests.training import cached, finetune, fit

pytestmark = pytest.mark.usefixtures("device")


@cached
def trained() -> Network:
    """Every test takes the same network, which fine-tuning leaves as it was."""
    recipe = Recipe(epochs=8, batch_size=16, learning_rate=1e-2)
    return fit(small_network(), bright_corner(), recipe, seed=0)


class TestTraining:
    recipe = Recipe(epochs=3, batch_size=20, learning_rate=2e-3, warmup=0.1)

    @pytest.mark.parametrize("ranges", ["gradient", "average"])
    @pytest.mark.parametrize("bits", [8, 4])
    def test_integers_are_as_accurate_as_floats(self, ranges: Ranges, bits: int) -> None:
        network, test = trained(), bright_corner(400, seed=1)
        quantized = finetune(
            network, bright_corner(), self.recipe, seed=0, ranges=ranges, bits=bits
        )
        assert not quantized.training
        graph = quantized.graph()
        codes = integer.run(graph, quantize_inputs(graph, test.inputs))
        accuracy = (codes.reshape(400, -1).argmax(1) == test.labels.numpy()).mean()
        before = evaluate(network, test).accuracy
        assert before > 0.9
        assert accuracy == pytest.approx(before, abs=0.02)
        assert evaluate(quantized, test).accuracy == pytest.approx(accuracy, abs=0.01)
        steps = differences(quantized, test.inputs, local=False)[graph.outputs[0]]
        assert (steps <= 1).mean() > 0.98
        assert len(to_flatbuffer(graph)) > 0

    def test_training_recovers_what_few_bits_cost(self) -> None:
        split = bright_corner()
        network = trained()
        plain = QuantizedNetwork(network.graph(), bits=4)
        plain.calibrate([split.inputs])
        tuned = finetune(network, split, self.recipe, seed=0, bits=4)
        before, after = (
            F.cross_entropy(
                predict(module, split), split.labels, label_smoothing=self.recipe.label_smoothing
            )
            for module in (plain, tuned)
        )
        assert after < before - 0.005

    def test_gradient_reaches_weights_biases_and_scales(self) -> None:
        network = calibrated(float_network(3, "mobilenet").graph()).train()
        network(random_batch(network.graph(), 8)).square().sum().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad.abs().sum() > 0, name

    def test_average_ranges_follow_training_only(self) -> None:
        graph = float_network(0, "ds_cnn").graph()
        network = calibrated(graph, ranges="average")
        before = network.ranges["input"].span.clone()
        x = 50 * random_batch(graph, 4)
        network(x)
        assert torch.equal(network.ranges["input"].span, before)
        network.train()(x)
        expected = before + 0.01 * (torch.stack([x.min(), x.max()]) - before)
        torch.testing.assert_close(network.ranges["input"].span, expected)
        scale = (expected[1] - expected[0]) / 255
        torch.testing.assert_close(network.ranges["input"].scale, scale)
        assert not any(
            name.endswith("log2_scale") and parameter.requires_grad
            for name, parameter in network.named_parameters()
        )

    def test_interrupted_run_ends_in_the_same_weights_and_leaves_the_first_ones(
        self, tmp_path: Path
    ) -> None:
        network, split = trained(), bright_corner()
        before, path = copy.deepcopy(network), tmp_path / "checkpoint.pt"

        def stop(epoch: Epoch) -> None:
            if epoch.number == 2:
                raise KeyboardInterrupt

        def tuned(
            ranges: Ranges, checkpoint: Checkpoint | None, **stopping: Any
        ) -> QuantizedNetwork:
            return finetune(
                network,
                split,
                self.recipe,
                seed=1,
                ranges=ranges,
                section=ranges,
                checkpoint=checkpoint,
                **stopping,
            )

        kinds: tuple[Ranges, ...] = ("gradient", "average")
        for ranges in kinds:
            with pytest.raises(KeyboardInterrupt):
                tuned(ranges, Checkpoint(path), progress=stop)
            resumed, alone = (tuned(ranges, kept) for kept in (Checkpoint(path), None))
            assert same_weights(resumed, alone)
            assert same_weights(network, before)


@pytest.mark.data
def test_keywords_lose_less_than_a_point() -> None:
    """A 32-channel DS-CNN on 40 spoken words, trained for 8 epochs."""
    data = np.load(Path(os.environ["MICRONAS_DATA"]) / "tinyml" / "kws40_mfcc.npz")
    clips = torch.tensor(data["x_train"][0].astype(np.float32))
    mean, spread = clips.mean((0, 1)), clips.std((0, 1))

    def noise(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.3 * torch.randn(x.shape, generator=generator)

    train, validation = (
        TensorSplit(
            ((torch.tensor(x.astype(np.float32)) - mean) / spread)[:, None],
            torch.tensor(y.astype(np.int64)),
            augment=noise,
        )
        for x, y in ((data["x_train"][0], data["y_train"]), (data["x_val"], data["y_val"]))
    )
    start = Network(ds_cnn(32, 4, 40), generator=generator_for(0, "initial"))
    network = fit(start, train, Recipe(epochs=8), seed=0)
    quantized = finetune(network, train, seed=0)
    graph = quantized.graph()
    codes = integer.run(graph, quantize_inputs(graph, validation.inputs))
    accuracy = (codes.argmax(1) == validation.labels.numpy()).mean()
    before = evaluate(network, validation).accuracy
    assert before > 0.7
    assert accuracy > before - 0.01
    assert (predict(quantized, validation).argmax(1).numpy() == codes.argmax(1)).mean() > 0.97
