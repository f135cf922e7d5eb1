"""The supernet: masked and sliced passes agree, and every option has a gradient."""

import random

import pytest
import torch
from torch import Tensor

from micronas.errors import ConfigError
from micronas.nas.supernet.gates import Gates, Sample, is_one_hot
from micronas.nas.supernet.masked import MaskedPass
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.space.decisions import Choice
from micronas.space.space import Space
from micronas.train.network import Network
from tests.toy import space_of

CHAIN = space_of("""
name: chain
input: [13, 10, 1]
classes: 5
stem: {width: [8, 12, 16], kernel: [5, 3]}
blocks:
- {type: separable, width: [8, 16], stride: [2, 2], kernel: [3x3, 5x5]}
- {type: separable, width: {min: 8, max: 24, step: 8}, repeat: 3, skip: true, kernel: [3x3, 5x5]}
- {type: separable, width: [12, 20], stride: [2, 2]}
""")
RESIDUAL = space_of("""
name: residual
input: [16, 16, 1]
classes: 3
activation: relu6
stem: {width: [4, 8], kernel: [3, 3], stride: [2, 2]}
blocks:
- {type: bottleneck, width: [8, 12], expansion: [8, 16], stride: [2, 2]}
- type: bottleneck
  width: [8, 12, 16]
  expansion: [12, 24]
  repeat: 2
  residual: true
  skip: true
  kernel: [3x3, 5x5]
head: {width: [16, 32], classifier: conv}
""")
MIXED = space_of("""
name: mixed
input: [13, 10, 2]
classes: 4
stem: {width: [8, 12], kernel: [3, 3], stride: [2, 2], bits: [4, 8]}
blocks:
- {type: separable, width: [8, 16], bits: 4}
- type: bottleneck
  width: [8, 12]
  expansion: [12, 24]
  repeat: 2
  residual: true
  skip: true
  kernel: [3x3, 5x5]
  bits: [4, 8]
head: {width: [16, 32], bits: [4, 8]}
""")
TURNS = space_of("""
name: turns
input: [9, 10, 2]
classes: 4
stem: {width: [20, 36], kernel: [3, 3]}
blocks:
- {type: bottleneck, width: [8, 20, 36], expansion: [12, 40], repeat: 2, residual: true, skip: true}
- {type: separable, width: [20, 40], repeat: 3, skip: true}
- {type: bottleneck, width: [8, 24], expansion: [24, 52]}
- {type: separable, width: [8, 16], kernel: [3x3, 5x5]}
""")
"""Stages of both kinds after each other, wider than a vector of channels."""
GATED = space_of("""
name: gated
input: [9, 10, 2]
classes: 4
stem: {width: [20, 36], kernel: [3, 3]}
blocks:
- {type: residual, width: [20, 36], squeeze: [4, 8, 20], stride: 2}
- {type: bottleneck, expansion: [24, 52], squeeze: [4, 20], width: [8, 24]}
- {type: bottleneck, expansion: [12, 40], squeeze: 8, fused: true}
""")
"""Squeeze-and-excite gates, vectors of channels beside maps."""
SPACES = pytest.mark.parametrize(
    "space", [CHAIN, RESIDUAL, MIXED, TURNS, GATED], ids=lambda space: str(space.name)
)


def inputs(space: Space, count: int = 6) -> Tensor:
    height, width, channels = space.input
    return torch.randn(
        count, channels, height, width, generator=torch.Generator().manual_seed(count)
    )


def supernet(space: Space) -> SharedNetwork:
    torch.manual_seed(3)
    net = SharedNetwork(space)
    for name, parameter in net.named_parameters():  # norms away from identity: masks must show
        if name.endswith(("scale", "shift")):
            torch.nn.init.uniform_(parameter, 0.2, 1.5)
    return net


def masked(net: SharedNetwork, sample: Sample, *, plain: bool) -> Tensor:
    space = net.space
    return MaskedPass(space.choices, net.by_name, sample, plain=plain).run(inputs(space))


@SPACES
def test_passes_equal_the_stand_alone_network_with_the_weights_it_is_handed(space: Space) -> None:
    """The network that is exported computes what the supernet computed with its weights."""
    net, gates, x, source = supernet(space), Gates(space.decisions), inputs(space), random.Random(1)
    for _ in range(10):
        choice = space.random(source)
        network, handed = (Network(space.architecture(choice).graph()).train() for _ in range(2))
        copy_weights(net, network)
        net.hand_down(handed, choice)
        wanted = network.state_dict()
        for name, found in handed.state_dict().items():
            assert torch.equal(found, wanted[name]), name
        sliced = net.sliced(x, choice)
        torch.testing.assert_close(network(x), sliced, rtol=1e-4, atol=1e-5)
        masked = net.masked(x, gates.one_hot(choice))
        torch.testing.assert_close(masked, sliced, rtol=1e-4, atol=1e-5)


def copy_weights(net: SharedNetwork, network: Network) -> None:
    """Cut the shared weights by hand, independently of the supernet's own slicing.

    A layer has one name, in the supernet and in every network.
    """
    with torch.no_grad():
        for key, unit in network.units.items():
            weight, shared = unit.weight, net.units[key]
            kernel = weight.shape[2:]
            cut = shared.weight[: weight.shape[0], : weight.shape[1]]
            if kernel:
                rows, columns = ((cut.shape[2 + i] - kernel[i]) // 2 for i in (0, 1))
                cut = cut[:, :, rows : rows + kernel[0], columns : columns + kernel[1]]
            weight.copy_(cut)
            if unit.bias is not None:
                unit.bias.copy_(shared.bias[: len(weight)])
                continue
            unit.norm.weight.copy_(shared.scale[: len(weight)])
            unit.norm.bias.copy_(shared.shift[: len(weight)])


@SPACES
def test_one_hot_gates_give_every_option_its_own_gradient(space: Space) -> None:
    """A mask in the wrong place leaves wider options without gradient: a shrink-only ratchet."""
    net, gates = supernet(space), Gates(space.decisions)
    for parameter in gates.parameters():
        parameter.data.zero_()
    smallest = gates.one_hot(tuple(int(decision.kind == "depth") for decision in space.decisions))
    sample = {name: (weights + 0.0).requires_grad_() for name, weights in smallest.items()}
    labels = torch.arange(6) % space.classes
    torch.nn.functional.cross_entropy(net.masked(inputs(space), sample), labels).backward()
    for decision in space.decisions:
        gradient = sample[decision.name].grad
        if hidden(decision.name, space):
            continue
        wider = gradient[1:] - gradient[0] if len(gradient) > 1 else gradient
        assert (wider.abs() > 1e-6).all(), decision.name
        assert len(set(gradient.tolist())) == len(decision.options), decision.name


def hidden(name: str, space: Space) -> bool:
    """Blocks beyond the chosen depth of 1 have no say."""
    beyond = {"chain": ("block3.", "block4."), "turns": ("block4.", "block5.")}
    return name.startswith(beyond.get(space.name, ("none",)))


def test_a_block_of_a_plain_chain_is_dropped_only_from_the_end() -> None:
    """Free skips without a residual break weight sharing; the space cannot express them."""
    source = random.Random(2)
    stem_and_first = 1
    for _ in range(50):
        choice = CHAIN.random(source)
        values = CHAIN.values(choice)
        depth = values["block2-4.depth"]
        widths = [values[f"block{number}.width"] for number in range(2, 2 + depth)]
        blocks = CHAIN.architecture(choice).blocks
        assert [block.width[0] for block in blocks[stem_and_first : 1 + depth]] == widths
        assert len(blocks) == depth + 2


def test_gates_need_a_decision() -> None:
    fixed = CHAIN.architecture(CHAIN.largest())
    with pytest.raises(ConfigError, match="leaves nothing to choose; train it by `micronas train`"):
        Gates.of(fixed)


def test_what_may_not_be_skipped_has_no_gate() -> None:
    """A logit pushed far down is no way to forbid an option: Adam walks it back."""
    depths = [decision.name for decision in CHAIN.decisions if decision.kind == "depth"]
    assert depths == ["block2-4.depth"]
    assert all(len(decision.options) > 1 for decision in CHAIN.decisions)
    assert "block5.kernel" not in {decision.name for decision in CHAIN.decisions}


@SPACES
@pytest.mark.parametrize("temperature", [0.5, 5.0])
def test_one_hot_pass_equals_masked_pass_in_values_and_gradients(
    space: Space, temperature: float
) -> None:
    """What is left out for the zeros in masks changes nothing, for gates and weights alike."""
    net, gates = supernet(space), Gates(space.decisions)
    labels = torch.arange(6) % space.classes
    for seed in range(2):
        sample = gates.sample(temperature, torch.Generator().manual_seed(seed))
        results = []
        for plain in (True, False):
            logits = masked(net, sample, plain=plain)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            given = [*gates.parameters(), *net.parameters()]
            found = torch.autograd.grad(loss, given, retain_graph=True, allow_unused=True)
            gradients = [
                torch.zeros_like(own) if gradient is None else gradient
                for own, gradient in zip(given, found, strict=True)
            ]
            results.append((logits.detach(), gradients))
        (plain, wanted), (quick, got) = results
        torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)
        for mine, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


def test_only_what_a_sample_shows_is_kept_for_the_backward_pass() -> None:
    """Gates are trained for less memory than the largest network takes, whatever they show."""
    net, gates = supernet(TURNS), Gates(TURNS.decisions)
    net.requires_grad_(False)

    def kept(gates: Sample, *, plain: bool = False) -> int:
        sizes = {}

        def pack(saved: Tensor) -> Tensor:
            sizes[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            _logits = masked(net, gates, plain=plain)
        return sum(sizes.values())

    def sample(choice: Choice) -> Sample:
        return {name: each.requires_grad_() for name, each in gates.one_hot(choice).items()}

    largest, smallest = sample(TURNS.largest()), sample(TURNS.smallest())
    whole = kept(largest, plain=True)
    assert kept(largest) < 1.05 * whole
    assert kept(smallest) < 0.6 * whole


def test_certain_and_sampled_gates_are_one_hot_and_soft_ones_are_not() -> None:
    gates, generator = Gates(CHAIN.decisions), torch.Generator().manual_seed(0)
    hard, soft = (gates.sample(0.7, generator, hard=each) for each in (True, False))
    for weights in (*hard.values(), *soft.values()):
        assert float(weights.detach().sum()) == pytest.approx(1, abs=1e-6)
    assert is_one_hot(hard)
    assert is_one_hot(gates.one_hot(CHAIN.largest()))
    assert all(float(weights.detach().max()) < 1 for weights in soft.values())
    assert not is_one_hot(soft)
    assert not is_one_hot(gates.probabilities())
    assert not is_one_hot({"width": torch.tensor([1.0, 1.0, 0.0])})
    assert not is_one_hot({"width": torch.tensor([2.0, 0.0])})


def test_soft_gates_mix_all_options_and_pass_on_a_gradient_to_each() -> None:
    """A numeric derivative along each option's weight, through masks of no zero."""
    net, gates = supernet(CHAIN).double(), Gates(CHAIN.decisions)
    generator = torch.Generator().manual_seed(1)
    sample = {
        name: weights.detach().double().requires_grad_()
        for name, weights in gates.sample(1.0, generator, hard=False).items()
    }
    x = inputs(CHAIN).double()
    weights = sample["block2.width"]
    net.masked(x, sample).square().sum().backward()  # type: ignore[no-untyped-call]
    for option in range(len(weights)):
        ends = []
        for step in (1e-6, -1e-6):
            moved = {name: each.detach().clone() for name, each in sample.items()}
            moved["block2.width"][option] += step
            ends.append(net.masked(x, moved).square().sum().item())
        assert float(weights.grad[option]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)
