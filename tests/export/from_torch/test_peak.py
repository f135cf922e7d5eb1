"""Memory at the peak of an export, beside the module, which belongs to the caller."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from micronas.export.from_torch.trace import trace
from tests.cases import first

SCRIPT = """
import sys
from micronas import to_tflite
print({'pydantic', 'ai_edge_litert.schema_py_generated'} & {*sys.modules}, flush=True)

import os, resource, warnings
import torch
from torch import nn

warnings.simplefilter("ignore")

def block(width, is_normed):
    if is_normed:
        return nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
    return nn.Linear(width, width), nn.ReLU()

def grown(width, is_normed):
    layers = [layer for _ in range(8) for layer in block(width, is_normed)]
    module, x = nn.Sequential(*layers).eval(), torch.randn(4, width, *[1, 1][:2 * is_normed])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    to_tflite(module, x)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

for is_normed in (False, True):
    if os.fork() == 0:  # what the first took is not there for the second
        grown(8, is_normed)
        print(grown(WIDTH, is_normed), flush=True)
        os._exit(0)
    os.wait()
"""
WIDTH = 1536


@pytest.fixture(scope="module")
def said() -> list[str]:
    """What a process that exports twice prints of the modules it loaded and of its growth."""
    script = SCRIPT.replace("WIDTH", str(WIDTH))
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.mark.long
@pytest.mark.parametrize("is_normed", [False, True])
def test_weights_in_float32_are_not_copied(is_normed: bool, said: list[str]) -> None:
    """Beside 72 MiB of them stand codes, the file, and what one layer is rounded in."""
    assert int(said[1 + is_normed]) < 0.9 * 8 * 4 * WIDTH**2


@pytest.mark.long
def test_export_starts_without_settings_and_schema(said: list[str]) -> None:
    """They take time and 24 MB of a process that exports."""
    assert said[0] == "set()"


@first("width", [4, 4200], 1)
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
