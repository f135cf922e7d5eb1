"""Training elsewhere: no tensor is made in the wrong place, and no step waits for a value.

The meta device runs operators without values. Operators refuse tensors of two devices, and reading
a value back is an error: what runs there puts its tensors where they belong, and waits for none.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from micronas.errors import ConfigError
from micronas.nas.supernet.gates import Gates
from micronas.nas.supernet.supernet import SharedNetwork
from micronas.objectives.classes import temperature_scaled_loss
from micronas.space.space import Space
from micronas.train.average import Mean
from micronas.train.devices import describe_device, device_of, find_device, moved
from micronas.train.loop import fit, generator_for
from micronas.train.quantize import QuantizedNetwork
from micronas.train.recipe import Recipe
from tests.toy import SPACE, data

BATCH = 4
META = torch.device("meta")
LABELS = torch.zeros(BATCH, dtype=torch.long, device=META)
MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
"""Operators between devices; tensors may also be indexed by places on the CPU."""


class OneDevice(TorchDispatchMode):
    """Refuse operators on tensors of two devices, as accelerators do and meta kernels may not.

    Gradients that come back to the CPU are zeros, and counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.returned = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [
            each
            for each in tree_leaves((args, kwargs or {}))
            if isinstance(each, Tensor) and (each.ndim or each.device.type != "cpu")
        ]
        is_index = func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put)
        devices = {each.device.type for each in (tensors[:1] if is_index else tensors)}
        assert len(devices) < 2 or func in MOVES, f"{func} on {devices}"
        if func in MOVES and args[0].device == META and (kwargs or {}).get("device") != META:
            self.returned += 1
            return torch.zeros(args[0].shape, dtype=args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True, scope="module")
def kernels() -> Iterator[None]:
    """The one kernel that torch lacks for the meta device."""
    library = torch.library.Library("aten", "IMPL", "Meta")

    def rounded(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        return torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)

    library.impl("fake_quantize_per_channel_affine_cachemask", rounded)
    yield
    library._destroy()


@pytest.fixture(autouse=True)
def elsewhere() -> Iterator[OneDevice]:
    with OneDevice() as mode:
        yield mode


def inputs_of(space: Space) -> Tensor:
    height, width, channels = space.input
    return torch.empty(BATCH, channels, height, width, device=META)


def take_step(module: nn.Module, logits: Tensor) -> None:
    assert logits.device == META
    F.cross_entropy(logits, LABELS).backward()  # type: ignore[no-untyped-call]
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    assert gradients
    assert {each.device for each in gradients} == {META}


def test_mixed_devices_and_values_read_back_are_refused() -> None:
    here, there = torch.ones(3, 3), torch.ones(3, 3, device=META)
    for mixed in (lambda: here @ there, lambda: here + there, lambda: F.linear(there, here)):
        with pytest.raises((AssertionError, RuntimeError), match="cpu"):
            mixed()
    with pytest.raises(RuntimeError, match="meta"):
        there.sum().item()


@pytest.mark.parametrize(
    "name",
    [
        "matchboxnet",
        "resnet8",
        pytest.param("mobilenet_v2", marks=pytest.mark.long),
        "convolutions",
    ],
)
def test_a_float_and_a_quantised_step(name: str) -> None:
    space = Space.load(f"textbook/{name}")
    network = space.build(generator_for(0, "weights"))
    quantized = QuantizedNetwork(space.float_graph(network))
    height, width, channels = space.input
    quantized.calibrate([torch.randn(BATCH, channels, height, width)])
    quantized(torch.zeros(2, channels, height, width))
    for module in (network, quantized):
        module.to(META).train()
        take_step(module, module(inputs_of(space)))


@pytest.mark.parametrize("hard", [True, False])
def test_steps_of_weights_and_of_gates(hard: bool, elsewhere: OneDevice) -> None:
    supernet, gates = SharedNetwork(SPACE).to(META), Gates(SPACE.decisions)
    generator = generator_for(0, "gates")
    sample = gates.sample(1.0, generator, hard=hard)
    take_step(supernet, supernet.sliced(inputs_of(SPACE), gates.draw(generator)))
    assert elsewhere.returned == 0
    loss, _ = temperature_scaled_loss(supernet.masked(inputs_of(SPACE), sample), LABELS)
    loss.backward()  # type: ignore[no-untyped-call]
    # gates stay on the CPU, where they are read: what comes back is a gradient for each at most
    assert {each.grad.device.type for each in gates.logits if each.grad is not None} == {"cpu"}
    assert 0 < elsewhere.returned <= len(gates.logits)


def test_a_training_reads_its_losses_once_an_epoch(elsewhere: OneDevice) -> None:
    network, few = SPACE.architecture(SPACE.smallest()).build(generator_for(0, "w")), data().train
    steps = []
    network.register_forward_hook(lambda module, given, out: steps.append(out.device))
    # means end in statistics of batch norm, for which torch counts batches on the device
    recipe = Recipe(epochs=2, batch_size=40, mean=False)
    fit(network.to(META), few, recipe, seed=0)
    assert steps == [META] * 2 * recipe.steps(len(few.labels))
    assert elsewhere.returned == 2
    mean = Mean(network)
    for _ in range(2):
        mean.update()
    assert elsewhere.returned == 2


def test_a_training_ends_where_the_module_was() -> None:
    network = SPACE.architecture(SPACE.smallest()).build(generator_for(0, "w"))
    fit(network, data().train, Recipe(epochs=1, batch_size=8), seed=0, device=torch.device("cpu"))
    assert device_of(network).type == "cpu"
    assert device_of(nn.ReLU()).type == "cpu"
    (there,) = moved((torch.ones(2),), META)
    assert there.device == META


def test_a_device_that_is_not_here_is_refused_and_auto_says_what_it_took() -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ConfigError, match=rf"device must be one that torch finds here.*{absent}"):
        find_device(absent)  # type: ignore[arg-type]
    taken = find_device("auto")
    for given in (taken.type, taken):
        assert taken == find_device(given)  # type: ignore[arg-type]
    assert describe_device("auto").startswith("device: ")
