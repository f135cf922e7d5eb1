"""Memory at the peak of an export, beside the module, which belongs to the caller."""

import subprocess
import sys

import torch
from torch import nn

from micronas.export.from_torch.trace import trace

SCRIPT = """
import resource, warnings
import torch
from torch import nn
from micronas import to_tflite

warnings.simplefilter("ignore")

def grown(width):
    layers = [layer for _ in range(8) for layer in (nn.Linear(width, width), nn.ReLU())]
    module, x = nn.Sequential(*layers).eval(), torch.randn(4, width)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    to_tflite(module, x)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024

grown(8)
print(grown(2048))
"""


def test_weights_without_a_norm_are_not_copied() -> None:
    """Beside 128 MiB of them stand codes, the file, and what one layer is rounded in."""
    output = subprocess.run(
        [sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True
    )
    assert int(output.stdout) < 1.2 * 8 * 4 * 2048**2


def test_export_starts_without_settings_and_schema() -> None:
    """They take time and 24 MB of a process that exports."""
    script = (
        "import sys; from micronas import to_tflite\n"
        "print({'pydantic', 'ai_edge_litert.schema_py_generated'} & {*sys.modules})"
    )
    output = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert output.stdout.decode().strip() == "set()"


def test_without_a_copy_folded_weights_are_the_graphs_own() -> None:
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight, 0.5, 2)
    module = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Flatten(), nn.Linear(4, 2)).eval()
    own, shared = (trace(module, torch.randn(1, 3, 1, 1), copy=copy) for copy in (True, False))
    for name, tensor in own.tensors.items():
        assert tensor.data is None or (tensor.data == shared.tensors[name].data).all()
    with torch.no_grad():
        module[0].weight.mul_(2)
        module[3].weight.mul_(2)
    weights = [
        {op.kind: graph.constant_of(op).data for op in graph.ops if op.learnt}
        for graph in (own, shared)
    ]
    assert (weights[0]["CONV_2D"] == weights[1]["CONV_2D"]).all()
    assert (2 * weights[0]["FULLY_CONNECTED"] == weights[1]["FULLY_CONNECTED"]).all()
