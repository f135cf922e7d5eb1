"""Memory at the peak of an export, beside the module, which belongs to the caller."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from micronas.export.from_torch.trace import trace

SCRIPT = """
import resource, sys, warnings
import torch
from torch import nn
from micronas import to_tflite

warnings.simplefilter("ignore")
is_normed = int(sys.argv[1])

def block(width):
    if is_normed:
        return nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    return nn.Linear(width, width), nn.ReLU()

def grown(width):
    layers = [layer for _ in range(8) for layer in block(width)]
    module, x = nn.Sequential(*layers).eval(), torch.randn(4, width, *[1, 1][:2 * is_normed])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    to_tflite(module, x)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

grown(8)
print(grown(2048))
"""


@pytest.mark.parametrize("is_normed", [False, True])
def test_weights_in_float32_are_not_copied(is_normed: bool) -> None:
    """Beside 128 MiB of them stand codes, the file, and what one layer is rounded in."""
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(int(is_normed))],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(output.stdout) < 0.9 * 8 * 4 * 2048**2


def test_export_starts_without_settings_and_schema() -> None:
    """They take time and 24 MB of a process that exports."""
    script = (
        "import sys; from micronas import to_tflite\n"
        "print({'pydantic', 'ai_edge_litert.schema_py_generated'} & {*sys.modules})"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert output.stdout.decode().strip() == "set()"


@pytest.mark.parametrize("width", [4, 4200])
def test_without_a_copy_large_folded_weights_follow_the_module(width: int) -> None:
    norm = nn.BatchNorm2d(width)
    nn.init.uniform_(norm.weight, 0.5, 2)
    module = nn.Sequential(nn.Conv2d(width, width, 1), norm, nn.Flatten(), nn.Linear(width, 2))
    x = torch.randn(1, width, 1, 1)
    own, shared = (trace(module.eval(), x, copy=copy) for copy in (True, False))
    for name, tensor in own.tensors.items():
        assert tensor.data is None or (tensor.data == shared.tensors[name].data).all()
    with torch.no_grad():
        module[0].weight.mul_(2)
        module[3].weight.mul_(2)
    factors = {"CONV_2D": 1 if width == 4 else 2, "FULLY_CONNECTED": 2}
    for op in own.ops:
        if op.learnt:
            before, after = (np.asarray(each.constant_of(op).data) for each in (own, shared))
            assert (factors[op.kind] * before == after).all()
