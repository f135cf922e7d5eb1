import hashlib
import math
import random

import pytest
import torch
from torch import Tensor, nn

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.errors import ConfigError, DataError, MicronasError
from micronas.graph.builder import Builder
from micronas.objectives.classes import temperature_scaled_loss
from micronas.train.loop import Epoch, evaluate, generator_for, predict, source_for
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from tests.training import fit

pytestmark = pytest.mark.usefixtures("device")

QUICK = Recipe(epochs=4, batch_size=16, learning_rate=1e-2)


def bright_corner(count: int = 200, seed: int = 0) -> TensorSplit:
    """Noise with one bright corner of four: the class. Augmented by more noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (count,), generator=generator)
    inputs = torch.randn(count, 1, 6, 6, generator=generator)
    for corner in range(4):
        row, column = divmod(corner, 2)
        inputs[labels == corner, :, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 1.5

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=generator)

    return TensorSplit(inputs, labels, augment=augment)


def small_network(seed: int = 0) -> Network:
    builder = Builder((6, 6, 1))
    hidden = builder.conv(builder.input, "stem", 8, (3, 3), stride=(2, 2), activation="RELU")
    hidden = builder.depthwise(hidden, "block/dw", (3, 3), activation="RELU")
    graph = builder.finish(builder.dense(hidden, "classifier", 4))
    return Network(graph, generator=generator_for(seed, "initial"))


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    left, right = first.state_dict(), second.state_dict()
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


class TestGeneratorFor:
    def test_seed_is_a_sha256_of_the_names(self) -> None:
        digest = hashlib.sha256(b"7\0train\x003").digest()
        expected = int.from_bytes(digest[:8], "little", signed=True)
        assert generator_for(7, "train", 3).initial_seed() == expected % 2**64

    def test_purposes_do_not_run_into_each_other(self) -> None:
        names = [(1, 23), (12, 3), (123,), (1, "2", 3), (1, "train"), (1, "quantize")]
        assert len({generator_for(*name).initial_seed() for name in names}) == len(names)


def test_python_draws_by_the_words_of_seed_and_purpose() -> None:
    assert source_for(7, "draw").random() == random.Random("7 draw").random()


class TestFit:
    def test_learns(self) -> None:
        reports: list[Epoch] = []
        network = fit(
            small_network(),
            bright_corner(),
            QUICK.model_copy(update={"epochs": 8}),
            seed=0,
            progress=reports.append,
        )
        assert not network.training
        assert evaluate(network, bright_corner(seed=1)).accuracy > 0.9
        assert [report.number for report in reports] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert {report.epochs for report in reports} == {8}
        assert reports[-1].loss < reports[0].loss / 2

    def test_seed_and_section_decide_the_weights(self) -> None:
        split = bright_corner()
        first, again, other, elsewhere = (
            fit(small_network(), split, QUICK, seed=seed, section=section)
            for seed, section in ((3, "a"), (3, "a"), (4, "a"), (3, "b"))
        )
        assert same_weights(first, again)
        assert not same_weights(first, other)
        assert not same_weights(first, elsewhere)

    @pytest.mark.parametrize("more", [(), (nn.Dropout(),)])
    def test_going_on_after_a_stop_changes_nothing(self, more: tuple[nn.Module, ...]) -> None:
        split = bright_corner()
        checkpoint = Checkpoint()
        epochs: list[int] = []
        for until in (1, 3, None):
            # Other weights than at the start: what counts is in the checkpoint.
            part = fit(
                nn.Sequential(small_network(seed=0 if until == 1 else 9), *more),
                split,
                QUICK,
                seed=3,
                checkpoint=checkpoint,
                until=until,
                progress=lambda epoch: epochs.append(epoch.number),
            )
        assert epochs == [1, 2, 3, 4]
        state, whole = torch.get_rng_state(), nn.Sequential(small_network(), *more)
        assert same_weights(part, fit(whole, split, QUICK, seed=3))
        assert torch.equal(torch.get_rng_state(), state)

    def test_until_zero_and_beyond_the_end_and_once_more(self) -> None:
        split, checkpoint = bright_corner(), Checkpoint()
        untouched = fit(small_network(), split, QUICK, seed=3, until=0)
        assert same_weights(untouched, small_network())
        beyond = fit(small_network(), split, QUICK, seed=3, until=99, checkpoint=checkpoint)
        assert same_weights(beyond, fit(small_network(), split, QUICK, seed=3))
        loaded = fit(small_network(seed=9), split, QUICK, seed=3, checkpoint=checkpoint)
        assert same_weights(beyond, loaded)

    def test_saved_state_does_not_follow_later_training(self) -> None:
        split, checkpoint = bright_corner(), Checkpoint()
        fit(small_network(), split, QUICK, seed=3, checkpoint=checkpoint, until=2)
        saved = {name: value.clone() for name, value in checkpoint.load("train")["module"].items()}
        moments = checkpoint.load("train")["optimizer"]["state"][0]["exp_avg"].clone()
        kept = Checkpoint()
        kept.save("train", checkpoint.load("train"))
        fit(small_network(), split, QUICK, seed=3, checkpoint=checkpoint)
        assert all(torch.equal(kept.load("train")["module"][name], saved[name]) for name in saved)
        assert torch.equal(kept.load("train")["optimizer"]["state"][0]["exp_avg"], moments)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"seed": 4}, r"seed=4 \(saved: 3\)"),
            (
                {"recipe": Recipe(epochs=5, batch_size=16, learning_rate=1e-2)},
                r"epochs=5 \(saved: 4\)",
            ),
            ({"split": bright_corner(150)}, r"examples=150 \(saved: 200\)"),
        ],
    )
    def test_checkpoint_of_another_training_is_refused(
        self, change: dict[str, object], message: str
    ) -> None:
        checkpoint = Checkpoint()
        fit(small_network(), bright_corner(), QUICK, seed=3, checkpoint=checkpoint, until=1)
        arguments = {"split": bright_corner(), "recipe": QUICK, "seed": 3} | change
        with pytest.raises(ConfigError, match=message):
            fit(small_network(), checkpoint=checkpoint, **arguments)

    def test_weights_decay_but_not_biases(self) -> None:
        class Still(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.ones(1, 1))
                self.bias = nn.Parameter(torch.ones(1))
                self.scale = nn.Parameter(torch.tensor(1.0))

            def forward(self, x: Tensor) -> Tensor:
                return 0 * (self.weight * self.bias * self.scale) * x.flatten(1)[:, :1]

        recipe = Recipe(
            epochs=1, batch_size=50, learning_rate=0.1, weight_decay=0.5, warmup=0, mean=False
        )
        module = fit(Still(), bright_corner(200), recipe, seed=0, loss=lambda y, labels, x: y.sum())
        # Four steps, at 0, 1/4, 1/2 and 3/4 of a cosine.
        rates = [0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
        expected = math.prod(1 - rate * 0.5 for rate in rates)
        assert module.weight.item() == pytest.approx(expected, rel=1e-6)
        assert module.bias.item() == 1
        assert module.scale.item() == 1

    def test_batches(self) -> None:
        """Whole batches only, different order each epoch, or one batch of all."""
        seen: list[Tensor] = []

        def record(logits: Tensor, labels: Tensor, inputs: Tensor) -> Tensor:
            seen.append(inputs[:, 0, 0, 0].clone())
            return logits.sum()

        inputs = torch.arange(10.0).reshape(10, 1, 1, 1).expand(10, 1, 6, 6)
        split = TensorSplit(inputs, torch.zeros(10).long())
        recipe = Recipe(epochs=2, batch_size=4)
        fit(small_network(), split, recipe, seed=0, loss=record)
        assert [len(batch) for batch in seen] == [4, 4, 4, 4]
        epochs = torch.cat(seen[:2]), torch.cat(seen[2:])
        assert all(len(epoch.unique()) == 8 for epoch in epochs)
        assert not torch.equal(*epochs)
        seen.clear()
        fit(small_network(), split, Recipe(epochs=1, batch_size=64), seed=0, loss=record)
        assert [sorted(batch.tolist()) for batch in seen] == [list(range(10))]

    def test_training_augments_and_evaluation_does_not(self) -> None:
        calls: list[int] = []

        def augment(x: Tensor, generator: torch.Generator) -> Tensor:
            calls.append(len(x))
            return x

        split = TensorSplit(torch.zeros(8, 1, 6, 6), torch.zeros(8).long(), augment=augment)
        network = fit(small_network(), split, Recipe(epochs=1, batch_size=4), seed=0)
        # once on two, to see that it keeps shapes, then steps, then statistics of batch norm
        assert calls == [2, 4, 4, 4, 4]
        evaluate(network, split)
        assert calls == [2, 4, 4, 4, 4]

    def test_label_smoothing_by_hand(self) -> None:
        reports: list[Epoch] = []
        split = TensorSplit(torch.tensor([2.0, 0.0]).expand(4, 1, 1, 2), torch.zeros(4).long())
        same = nn.Linear(2, 2)
        same.load_state_dict({"weight": torch.eye(2), "bias": torch.zeros(2)})
        recipe = Recipe(epochs=1, label_smoothing=0.2)
        fit(nn.Sequential(nn.Flatten(), same), split, recipe, seed=0, progress=reports.append)
        right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
        assert reports[0].loss == pytest.approx(0.9 * right + 0.1 * wrong, rel=1e-6)

    def test_loss_that_is_not_finite_names_the_way_out(self) -> None:
        split = bright_corner()
        split.inputs[7] = math.nan
        with pytest.raises(
            MicronasError, match=r"loss=nan in epoch 1, .*lower learning_rate=0\.01"
        ):
            fit(small_network(), split, QUICK, seed=0)
        # NaN of an example, or a last step too large, was the accuracy of class 0
        with pytest.raises(MicronasError, match="those for 1 of 200 examples are NaN; lower"):
            evaluate(small_network(), split)

    def test_empty_split_is_refused(self) -> None:
        split = TensorSplit(torch.zeros(0, 1, 6, 6), torch.zeros(0).long())
        with pytest.raises(DataError, match="examples=0"):
            fit(small_network(), split, QUICK, seed=0)
        with pytest.raises(DataError, match="examples=0"):
            evaluate(small_network(), split)


class TestEvaluate:
    def split(self) -> TensorSplit:
        logits = torch.tensor([[2.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 3, 0]])
        return TensorSplit(logits.reshape(4, 1, 1, 3), torch.tensor([0, 1, 1, 1]))

    def test_scores_by_hand(self) -> None:
        scores = evaluate(nn.Flatten(), self.split())
        assert scores.accuracy == 0.75
        assert scores.per_class[:2] == (1.0, pytest.approx(2 / 3))
        assert math.isnan(scores.per_class[2])
        terms = [math.log(2 + math.exp(x)) - y for x, y in ((2, 2), (1, 1), (1, 0), (3, 3))]
        assert scores.loss == pytest.approx(sum(terms) / 4, rel=1e-6)

    def test_index_selects_examples(self) -> None:
        assert evaluate(nn.Flatten(), self.split(), index=torch.tensor([2])).accuracy == 0
        assert predict(nn.Flatten(), self.split(), index=torch.tensor([3, 0])).tolist() == [
            [0, 3, 0],
            [2, 0, 0],
        ]

    def test_batch_size_changes_nothing(self) -> None:
        network, split = small_network().eval(), bright_corner(50)
        whole, parts = predict(network, split), predict(network, split, batch_size=7)
        torch.testing.assert_close(whole, parts)

    def test_runs_in_eval_mode_and_restores_the_mode(self) -> None:
        network = small_network().train()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        logits = predict(network, bright_corner(20))
        assert network.training
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
        assert torch.equal(logits, predict(network.eval(), bright_corner(20)))
        assert not network.training


class TestTemperatureScaledLoss:
    @pytest.mark.parametrize("factor", [2.0, 0.5])
    def test_recovers_the_temperature_and_takes_it_as_given(self, factor: float) -> None:
        """Three of four labels are 0: the best logit difference is ln 3; here it is another."""
        logits = torch.tensor([[factor * math.log(3), 0.0]] * 4, requires_grad=True)
        loss, temperature = temperature_scaled_loss(logits, torch.tensor([0, 0, 0, 1]))
        assert temperature == factor
        entropy = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
        assert loss.item() == pytest.approx(entropy, rel=1e-6)
        loss.backward()
        # (softmax - one hot) / temperature / examples, with softmax [3/4, 1/4].
        expected = torch.tensor([[-0.25, 0.25]] * 3 + [[0.75, -0.75]]) / temperature / 4
        torch.testing.assert_close(logits.grad, expected)

    def test_no_sharper_than_asked(self) -> None:
        logits = torch.tensor([[0.1, 0.0]])
        loss, temperature = temperature_scaled_loss(logits, torch.tensor([0]), sharpest=1.0)
        assert temperature == 1.0
        assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.1)), rel=1e-6)

    def test_order_does_not_depend_on_the_size_of_logits(self) -> None:
        logits = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
        labels = logits.argmax(1)
        labels[::4] = 0
        losses = [
            temperature_scaled_loss(size * logits, labels)[0].item() for size in (0.5, 1.0, 2.0)
        ]
        assert losses == pytest.approx(losses[:1] * 3, rel=1e-6)
