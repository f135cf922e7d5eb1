"""A user's module as a supernet: its narrower networks are those that pruning and export give."""

import copy
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

import micronas
from micronas.errors import ConfigError, ExportError, FineTuneWarning
from micronas.export.from_torch.trace import trace
from micronas.export.verify import tflm_arena, verify
from micronas.graph.builder import Builder
from micronas.hardware.targets import CMSIS_NN
from micronas.nas.convert import SHARES, ConvertedSpace, convert
from micronas.nas.convert.channels import find_channels
from micronas.nas.custom_loop import SearchBudget, Supernet
from micronas.nas.member import Member
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from micronas.train.quantize import QuantizedNetwork
from tests.nas.own_networks import DSCNN, EXAMPLES, Plain, Reused, examples
from tests.nas.priced import arena_ratios, counted, mean_over_networks, priced

BOARD = micronas.Board.load("stm32f446re")


@lru_cache
def converted(name: str, shares: tuple[float, ...] = SHARES) -> ConvertedSpace:
    """Weights and statistics are drawn, so that nothing is as a fresh layer has it."""
    torch.manual_seed(0)
    module = EXAMPLES[name]()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (part.running_mean, part.bias):
                nn.init.normal_(tensor, 0, 0.3)
            for tensor in (part.running_var, part.weight):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return convert(module, examples(1, name), shares=shares)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_choice_computes_what_the_pruned_module_does(name: str) -> None:
    space, source, x = converted(name), random.Random(1), examples(6, name)
    supernet = Supernet(space)
    for _ in range(3):
        choice = space.random(source)
        gates = supernet.gates.one_hot(choice)
        for mode in (False, True):
            supernet.train(mode)
            theirs = space.chosen(choice, supernet.shared.module).train(mode)(x)
            before = copy.deepcopy(supernet.state_dict())
            torch.testing.assert_close(
                supernet.shared.sliced(x, choice), theirs, rtol=1e-4, atol=1e-5
            )
            torch.testing.assert_close(
                supernet.shared.masked(x, gates), theirs, rtol=1e-4, atol=1e-5
            )
            supernet.load_state_dict(before)  # statistics follow the batches in training


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_widest_choice_is_the_module_itself(name: str) -> None:
    torch.manual_seed(2)
    module, x = EXAMPLES[name]().eval(), examples(3, name)
    space = convert(module, x)
    widest, supernet = space.largest(), Supernet(space).eval()
    assert torch.equal(space.chosen(widest, None)(x), module(x))
    torch.testing.assert_close(supernet(x), supernet.shared.sliced(x, supernet.choice()))
    torch.testing.assert_close(supernet.shared.sliced(x, widest), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EXAMPLES)
def test_certain_gates_cost_what_the_exported_network_counts(name: str) -> None:
    space, source = converted(name), random.Random(3)
    choice = space.random(source)
    graph = trace(space.chosen(choice, None), examples(1, name))
    assert space.resolve(choice) == graph
    found = priced(space, Gates(space.decisions).one_hot(choice))
    assert found == pytest.approx(counted(space, choice), rel=1e-12)


def test_sequences_are_also_taken_as_data_sets_hold_them() -> None:
    space, x = converted("series"), examples(3, "series")
    network = space.architecture(space.smallest()).build().eval()
    assert torch.equal(network(x.unsqueeze(-1)), network(x))
    assert trace(network, x) == space.resolve(space.smallest())


def test_a_space_says_how_much_there_is_to_choose_and_a_network_that_it_must_be_tuned() -> None:
    supernet = Supernet(converted("plain"))
    said = f"<Plain with 1 widths to choose: {supernet.space.count():,} networks>"
    assert repr(supernet.space) == said
    with pytest.warns(FineTuneWarning, match="Plain served networks of all widths"):
        supernet.choose(SearchBudget(micronas.Budget(), BOARD, steps=1))
    text = supernet.space.architecture(supernet.choice()).text()
    assert text.startswith("# Weights cut from the module must be fine-tuned")


@pytest.mark.parametrize("name", ["residual", "plain"])
def test_exact_costs_are_those_of_the_file(name: str) -> None:
    """Of `plain` the file would have a MEAN beside its pool: averages are finer by default."""
    space = converted(name)
    choice = space.random(random.Random(4))
    labels = [str(number) for number in range(space.outputs)]
    model = micronas.to_tflite(
        space.chosen(choice, None),
        examples(8, name),
        averages="pool",
        metadata=describe(classes=labels, meaning={}),
    )
    costs = Member(space, BOARD, micronas.Budget()).costs(choice)
    assert costs.flash_bytes == len(model)
    assert costs.host_arena_bytes == tflm_arena(model).total


@pytest.mark.parametrize("name", ["joined", "residual", "same"])
def test_uncertain_gates_cost_the_mean_over_all_networks(name: str) -> None:
    """By enumeration, one operator reading and writing the same decision included."""
    space = converted(name, shares=(0.5, 1.0))
    torch.manual_seed(5)
    gates = {
        each.name: torch.rand(len(each.options)).double().softmax(0) for each in space.decisions
    }
    assert priced(space, gates) == pytest.approx(mean_over_networks(space, gates), rel=1e-9)


@pytest.mark.parametrize("name", EXAMPLES)
def test_smooth_stand_ins_follow_the_exact_costs(name: str) -> None:
    """Close in bytes, and always by about the same factor, which a search corrects."""
    space, source = converted(name), random.Random(6)
    ratios = arena_ratios(space, [space.random(source) for _ in range(20)])
    assert max(ratios) / min(ratios) < 1.25


def test_every_option_has_a_gradient_of_the_loss_and_of_every_cost() -> None:
    space = converted("ds_cnn")
    supernet = Supernet(space)
    sample = supernet.gates.one_hot(tuple(1 for _ in space.decisions))
    leaves = {name: gate.requires_grad_() for name, gate in sample.items()}
    costs = expected(space, leaves, target=CMSIS_NN)
    loss = F.cross_entropy(supernet.shared.masked(examples(4), leaves), torch.arange(4))
    for value in (loss, costs.features["macs"], costs.features["instructions"], costs.flash):
        slopes = torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
        for decision, slope in zip(space.decisions, slopes, strict=True):
            differences = slope.diff()
            assert bool((differences != 0).all()), decision.name


def test_channels_that_must_agree_are_one_decision() -> None:
    """By hand: the residual's sum ties the stem to the last layer of the branch."""
    space = converted("residual")
    assert [decision.name for decision in space.decisions] == ["stem", "wide", "down"]
    assert space.values((0, 1, 2)) == {"stem": 4, "wide": 8, "down": 12}
    narrow = space.chosen((0, 1, 2), None)
    shapes = {name: list(value.shape[:2]) for name, value in narrow.named_parameters()}
    layers = ("stem", "wide", "narrow", "down", "classifier")
    assert [shapes[f"{name}.weight"] for name in layers] == [
        [4, 1],
        [8, 4],
        [4, 8],
        [12, 4],
        [5, 48],
    ]
    assert shapes["before.weight"] == [4]


@pytest.mark.parametrize(
    ("name", "searched"),
    [
        ("shuffled", ["last"]),
        ("halves", ["branch.0", "last"]),
        ("tokens", ["patches", "hidden", "rows"]),
    ],
)
def test_channels_that_would_come_in_another_order_stay(name: str, searched: list[str]) -> None:
    assert [decision.name for decision in converted(name).decisions] == searched


def test_the_strongest_channels_stay_in_their_order() -> None:
    """Filters of L1 norm 9 w |gamma| by hand; 4 of 8 stay: those of norm 8, 7, 6 and 5."""
    module = Plain()
    norms = torch.tensor([1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0])
    with torch.no_grad():
        module.first.weight.copy_(torch.full((8, 1, 3, 3), -0.5))
        module.norm.weight.copy_(norms)
        module.norm.running_var.fill_(0.25)
    kept = convert(module, examples(1), shares=(0.5, 1.0)).chosen((0,), None)
    assert kept.norm.weight.tolist() == [8.0, 7.0, 6.0, 5.0]
    assert kept.norm.num_features == kept.first.out_channels == kept.last.in_features == 4
    assert torch.equal(kept.last.weight, module.last.weight[:, [1, 3, 5, 7]])
    assert module.first.out_channels == 8


def test_names_in_keep_keep_their_channels() -> None:
    space = convert(DSCNN(), examples(1), keep=("stem.*", "blocks.1.pointwise"))
    assert [each.name for each in space.decisions] == ["blocks.0.pointwise"]


def written(forward: Callable[[Any, Tensor], Tensor], **layers: Any) -> nn.Module:
    """`Plain` with other layers, and a forward pass of its own."""
    module = type("Written", (Plain,), {"forward": forward})()
    for name, layer in layers.items():
        setattr(module, name, layer)
    return module


def functional() -> nn.Module:
    weight = nn.Parameter(torch.randn(8, 1, 3, 3))
    return written(lambda my, x: my.last(F.conv2d(x, my.weight).mean((2, 3))), weight=weight)


def hard_coded() -> nn.Module:
    return written(lambda my, x: my.last(my.norm(my.first(x)).relu().mean((2, 3)).view(-1, 8)))


class Unsupported(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.sort(self.first(x), 1).values.mean((2, 3)))


def halved() -> nn.Module:
    return written(lambda my, x: my.last((0.5 * my.first(x)).relu().mean((2, 3))))


def grouped() -> nn.Module:
    return written(Plain.forward, norm=nn.GroupNorm(2, 8))


def stacked() -> nn.Module:
    def forward(my: Any, x: Tensor) -> Tensor:
        x = my.first(x)
        return my.last(torch.stack([x, my.more(x)], 1).sum(1).mean((2, 3)))

    return written(forward, more=nn.Conv2d(8, 8, 1))


def twice_normed() -> nn.Module:
    """Two batch norms in a row, whose markers in a trace add up to that of no other."""
    return written(
        lambda my, x: my.last(my.more(my.norm(my.first(x))).relu().mean((2, 3))),
        more=nn.BatchNorm2d(8),
    )


def halved_groups() -> nn.Module:
    def forward(my: Any, x: Tensor) -> Tensor:
        x = 0.5 * my.groups(my.first(x).relu())
        return my.last(my.mix(x).relu().mean((2, 3)))

    return written(forward, mix=nn.Conv2d(8, 8, 1), groups=nn.Conv2d(8, 8, 1, groups=2))


def parametrised() -> nn.Module:
    module = Plain()
    nn.utils.parametrizations.weight_norm(module.first)
    return module


def sharing_weights() -> nn.Module:
    layers = [nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)]
    layers[2].weight = layers[1].weight
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(800, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (functional, r"layer that is called once, but CONV_2D 'conv2d' is not"),
        (Reused, r"layer that is called once, but CONV_2D 'again_1' is not"),
        (grouped, r"but DEPTHWISE_CONV_2D 'norm_1' is of GroupNorm; use a BatchNorm"),
        (stacked, r"may go, as RESHAPE 'sum.reshape' takes all .* by \+ in place of torch.stack"),
        (hard_coded, r"work at every width .* Written raises RuntimeError: .* or name the layers"),
        (Unsupported, r"aten.sort.* in test_convert.py:\d+: "),
        (parametrised, r"that of 'first' in CONV_2D 'first' is computed from others"),
        (halved, r"compute what its layers do, but first is scaled, shifted or re-ordered"),
        (twice_normed, r"Written raises RuntimeError: running_mean should contain"),
        (halved_groups, r"compute what its layers do, but Written is scaled"),
        (sharing_weights, r"that of '2' in CONV_2D '2' is used twice"),
        (lambda: "network", r"convert takes a torch.nn.Module, but got str"),
    ],
)
def test_what_cannot_be_narrowed_is_named(make: type[nn.Module], message: str) -> None:
    torch.manual_seed(0)  # by some weights all that tells a wrong network is negative before a ReLU
    with pytest.raises((ExportError, ConfigError), match=message) as error:
        convert(make(), examples(1))
    assert "\n" not in str(error.value)


def test_settings_and_examples_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"between its layers .* of its 1 layers none"):
        convert(nn.Sequential(nn.Flatten(), nn.Linear(144, 3)), examples(1))
    for shares in ((0, 2), 0.5, ("half",)):
        with pytest.raises(ConfigError, match=r"shares must be numbers above 0, up to 1, but are"):
            convert(Plain(), examples(1), shares=shares)
    for step in (0, 2.5, "4"):  # widths were multiples of 2.5
        with pytest.raises(ConfigError, match=f"step must be .* at least 1, but is {step!r}"):
            convert(Plain(), examples(1), step=step)
    for keep in (("stem",), "stem"):
        with pytest.raises(ConfigError, match=r"'stem' matches none; the layers are first, last"):
            convert(Plain(), examples(1), keep=keep)
    for odd in (None, (None,), 5):
        with pytest.raises(ConfigError, match=r"keep must name layers, but (None|5) matches none"):
            convert(Plain(), examples(1), keep=odd)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"must run on its example input \[1, 3, 12, 12\]"):
        convert(Plain(), torch.randn(1, 3, 12, 12))


def stripes(count: int, side: int, channels: int) -> tuple[Tensor, Tensor]:
    """Two classes: rows or columns of period 4, in noise."""
    labels = torch.randint(2, (count,))
    wave = (torch.arange(side) % 4 < 2).float() * 2 - 1
    patterns = torch.stack([wave[:, None].expand(side, side), wave[None].expand(side, side)])
    noise = 0.5 * torch.randn(count, channels, side, side)
    return patterns[labels][:, None] + noise, labels


def search(supernet: Supernet, budget: SearchBudget, *, side: int, channels: int) -> nn.Module:
    optimizer = torch.optim.Adam(supernet.parameter_groups(), lr=2e-3)
    for _ in range(budget.steps):
        inputs, labels = stripes(16, side, channels)
        loss = F.cross_entropy(supernet(inputs), labels) + budget.penalty(supernet)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return supernet.choose()


def train(module: nn.Module, steps: int, *, side: int, channels: int) -> None:
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-3)
    module.train()
    for _ in range(steps):
        inputs, labels = stripes(32, side, channels)
        optimizer.zero_grad()
        F.cross_entropy(module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    module.eval()


def check_on_tflm(model: bytes, inputs: Tensor) -> None:
    checked = verify(model, quantize_inputs(read(model), inputs))
    assert checked.mismatches == 0
    assert checked.bytes_compared == 2 * len(inputs)


@pytest.mark.long
def test_ds_cnn_searched_trained_quantised_and_exported() -> None:
    """The whole way; the trained network is right on most of what it has not seen."""
    torch.manual_seed(7)
    supernet = Supernet(convert(DSCNN(classes=2), examples(1)))
    budget = SearchBudget(micronas.Budget(latency="1.6 ms", sram="5 KB"), BOARD, steps=60)
    module = search(supernet, budget, side=12, channels=1)
    used = budget.used(supernet, supernet.choice())
    assert 0.9 <= max(used.values()) <= 1
    train(module, 60, side=12, channels=1)
    quantized = QuantizedNetwork(trace(module, examples(1)))
    quantized.calibrate([stripes(64, 12, 1)[0]])
    train(quantized, 10, side=12, channels=1)
    inputs, labels = stripes(200, 12, 1)
    assert float((quantized(inputs).argmax(1) == labels).float().mean()) > 0.9
    check_on_tflm(micronas.to_tflite(quantized, examples(1)), inputs[:16])


@pytest.mark.slow
def test_mobilenet_v2_searched_and_exported() -> None:
    torch.manual_seed(8)
    module, example = mobilenet_v2(width_mult=0.35, num_classes=2), torch.randn(1, 3, 96, 96)
    supernet = Supernet(convert(module, example))
    budget = SearchBudget(micronas.Budget(latency="200 ms", sram="112 KB"), BOARD, steps=12)
    found = search(supernet, budget, side=96, channels=3)
    assert isinstance(found, type(module))
    choice = supernet.choice()
    used = budget.used(supernet, choice)
    assert 0.9 <= max(used.values()) <= 1
    graph = trace(found, example)
    assert graph == supernet.space.resolve(choice)
    costs = priced(supernet.space, supernet.gates.one_hot(choice))
    assert costs == pytest.approx(CMSIS_NN.features(graph), rel=1e-12)
    inputs = stripes(4, 96, 3)[0]
    check_on_tflm(micronas.to_tflite(found, example, calibration=[inputs]), inputs)


def test_a_network_of_two_outputs_is_refused_in_words() -> None:
    builder = Builder((8, 8, 3))
    trunk = builder.conv(builder.input, "trunk", 8, (3, 3))
    graph = builder.finish(trunk, builder.dense(trunk, "classes", 4))
    with pytest.raises(ConfigError, match=r"takes 1 \(input\) and gives 2 \(trunk, classes\)"):
        find_channels(graph, strengths={}, orders={}, kept=(), shares=(1.0,), step=4)
