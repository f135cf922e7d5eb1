"""What `to_tflite` says of an int8 network beside float, and what it tries to come nearer."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import micronas
from micronas import to_tflite
from micronas.errors import ExportError
from micronas.export.verify import tflm_run
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from micronas.train.quantize import QuantizedNetwork
from tests.export.from_torch.cases import Case


def classifier() -> nn.Module:
    """Channels of two sizes, so that int8 without equalisation costs something."""
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 16, 1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)),
    ).eval()
    with torch.no_grad():
        for parameter in module[0].parameters():
            parameter[0] *= 20
    return module


def examples(module: nn.Module, count: int) -> tuple[Tensor, Tensor]:
    """Inputs, and labels that float has right but for every fourth."""
    inputs = torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = module(inputs).argmax(1)
    labels[::4] = (labels[::4] + 1) % 5
    return inputs, labels


def test_accuracies_are_those_of_torch_and_of_tflm() -> None:
    module = classifier()
    inputs, labels = examples(module, 64)
    batches = [(inputs[:40], labels[:40]), (inputs[40:], labels[40:])]
    model = to_tflite(module, inputs[:1], calibration=[inputs], check=batches)
    codes = tflm_run(model, quantize_inputs(read(model), inputs))
    on_device = float((codes.argmax(1) == labels.numpy()).mean())
    assert (model.check.examples, model.check.float_accuracy) == (64, 0.75)
    assert model.check.int8_accuracy == on_device
    assert str(model.check).startswith(f"float 75.00%, int8 {on_device:.2%}, ")
    assert bytes(model) == bytes(to_tflite(module, inputs[:1], calibration=[inputs]))


def test_outputs_are_compared_without_labels_and_without_asking_nothing_is() -> None:
    module = classifier()
    inputs, _ = examples(module, 16)
    model = to_tflite(module, inputs, calibration=inputs, check=[(inputs, None)])
    assert (model.check.float_accuracy, model.check.int8_accuracy) == (None, None)
    assert model.check.sqnr_db > 20
    assert to_tflite(module, inputs, calibration=inputs).check is None


def test_maps_are_checked_by_position() -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(3, 4, 3, padding=1).eval()
    inputs = torch.randn(8, 3, 6, 6)
    with torch.no_grad():
        labels = module(inputs).argmax(1)
    labels[:4] = (labels[:4] + 1) % 4
    check = to_tflite(module, inputs, calibration=inputs, check=[(inputs, labels)]).check
    assert check.float_accuracy == 0.5


def test_a_quantized_network_is_checked_too() -> None:
    module = classifier()
    inputs, labels = examples(module, 32)
    network = QuantizedNetwork(micronas.trace(module, inputs[:1]))
    network.calibrate([inputs])
    check = to_tflite(network.eval(), inputs[:1], check=[(inputs, labels)]).check
    assert check.float_accuracy == 0.75
    with pytest.raises(ExportError, match="but got tune as well"):
        to_tflite(network, inputs[:1], tune=True)


def test_tuning_comes_nearer_to_float() -> None:
    module = classifier()
    calibration, _ = examples(module, 64)
    unseen = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    decibels = []
    for tune in (False, True):
        model = to_tflite(
            module, calibration[:1], calibration=[calibration], tune=tune, check=[(unseen, None)]
        )
        decibels.append(model.check.sqnr_db)
    assert decibels[1] > decibels[0]


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (5, "must be batches, but is int"),
        ([], "at least one batch"),
        ([torch.zeros(2, 3, 16, 16)], "must be pairs of inputs and labels"),
        ([(torch.zeros(2, 3, 16, 16), torch.tensor([0, 5]))], "must be 0 to 4"),
        ([(torch.zeros(2, 3, 16, 16), torch.zeros(2))], r"are torch.float32 \[2\]"),
        ([(torch.zeros(2, 3, 16, 16), torch.zeros(3, dtype=torch.int64))], r"whole numbers \[2\]"),
        ([(torch.zeros(2, 3, 16, 16), [0, 1])], "are list"),
        ([(torch.zeros(2, 3, 8, 8), None)], "inputs"),
    ],
)
def test_what_cannot_be_checked_on_is_refused(check: Any, said: str) -> None:
    with pytest.raises(micronas.MicronasError, match=said):
        to_tflite(classifier(), torch.randn(4, 3, 16, 16), check=check)


@pytest.mark.long
def test_networks_with_an_lstm_are_tuned() -> None:
    """Channels of the convolutions in front of it are equalised."""
    torch.manual_seed(0)
    body = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 1, 1), nn.ReLU())
    )
    module = Case(
        lambda x, body, cell: cell(body(x).permute(0, 2, 1, 3).flatten(2))[0][:, -1],
        *(body, nn.LSTM(4 * 3, 6, batch_first=True)),
    )
    x = torch.randn(16, 1, 8, 6)
    model = to_tflite(module.eval(), x[:1], calibration=[x], tune=True, check=[(x, None)])
    assert model.check.sqnr_db > 15
