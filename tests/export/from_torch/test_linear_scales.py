"""Linear layers with a scale for each output: TFLM's bytes, arena and file, and what is gained."""

from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
import torch
from torch import nn

from micronas import to_tflite
from micronas.errors import ExportError
from micronas.export.firmware.project import write_project
from micronas.export.verify import tflm_arena, verify
from micronas.graph.ir import Tensor
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from micronas.train.post_training import sqnr_db

_OUTPUTS = 8


def layer(inputs: int = 24) -> nn.Linear:
    """Rows of weights from 1 to 1/128."""
    torch.manual_seed(0)
    module = nn.Linear(inputs, _OUTPUTS).eval()
    with torch.no_grad():
        module.weight.mul_(2.0 ** -torch.arange(_OUTPUTS).unsqueeze(1))
    return module


def weights(model: bytes) -> Tensor:
    """Weights of the one linear layer."""
    graph = read(model)
    (op,) = (each for each in graph.ops if each.kind == "FULLY_CONNECTED")
    return graph.constant_of(op)


def ratio_of_smallest(model: bytes, module: nn.Linear) -> float:
    """SQNR of the smallest row of weights."""
    written = weights(model)
    values = written.data * written.quantization.scale.reshape(-1, 1)
    return sqnr_db(module.weight.detach().numpy()[-1], values[-1])


@pytest.mark.parametrize("inputs", [23, 24])
def test_an_output_with_small_weights_has_fine_steps(inputs: int) -> None:
    module, x = layer(inputs), torch.randn(64, inputs)
    one = to_tflite(module, x[:1], calibration=[x])
    several = to_tflite(module, x[:1], calibration=[x], linear_scales="output")
    assert ratio_of_smallest(one, module) < 10
    assert ratio_of_smallest(several, module) > 40
    graph = read(several)
    checked = verify(several, quantize_inputs(graph, x))
    assert checked.mismatches == 0
    assert tflm_arena(several).total == plan(graph, HOST).total
    assert 0 < len(several) - len(one) <= 16 * _OUTPUTS + 16
    codes = schema.ModelT.InitFromPackedBuf(several, 0).operatorCodes
    assert [each.version for each in codes if each.builtinCode == 9] == [12]


def test_one_output_and_weights_of_4_bits_have_one_scale() -> None:
    x = torch.randn(16, 24)
    for module, bits in ((nn.Linear(24, 1).eval(), 8), (layer(), 4)):
        model = to_tflite(module, x, calibration=x, bits=bits, linear_scales="output")  # type: ignore[arg-type]
        assert not weights(model).per_channel


def test_a_sketch_is_refused_where_its_kernels_would_be_wrong(tmp_path: Path) -> None:
    x = torch.randn(16, 24)
    model = to_tflite(layer(), x, calibration=x, linear_scales="output")
    golden = np.zeros((1, 24), np.int8)
    with pytest.raises(ExportError, match=r"linear layer, but .* has 8; export the network with"):
        write_project(model, tmp_path / "sketch", golden_input=golden, kind="arduino")
    assert not (tmp_path / "sketch").exists()
    write_project(model, tmp_path / "project", golden_input=golden)
    assert (tmp_path / "project" / "CMakeLists.txt").is_file()
