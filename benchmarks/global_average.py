"""Global averages as a pool, as a pool of parts with MEAN behind it, and as MEAN.

    python -m benchmarks.global_average [NETWORK ...]

For networks of the zoo: SQNR of the int8 network against float in dB, over sixteen normal inputs,
and instructions of the whole network on a Cortex-M4 with CMSIS-NN in millions. Ranges are the
extremes of 32 other inputs.
"""

import argparse
from typing import get_args

import numpy as np
import torch

from benchmarks.zoo.networks import NETWORKS
from micronas.export.from_torch.check import int8_outputs
from micronas.export.from_torch.trace import trace
from micronas.graph.averages import Average, is_global, with_averages
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN
from micronas.text import table
from micronas.train.post_training import sqnr_db
from micronas.train.quantize import QuantizedNetwork

_WAYS: tuple[Average, ...] = get_args(Average)
_USUAL = (
    *("DS-CNN", "ResNet-8", "MobileNetV1", "L2 embedding", "SE", "YOLO head", "two heads"),
    *("torchvision/mobilenet_v2", "torchvision/resnet18", "torchvision/mnasnet0_5"),
    *("torchvision/squeezenet1_1", "torchvision/regnet_x_400mf"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=_USUAL, metavar="NETWORK")
    rows = [row for name in parser.parse_args().names if (row := _measured(name))]
    heads = [f"{way} {unit}" for way in _WAYS for unit in ("dB", "M insn")]
    print(table(["network", "maps", *heads], rows))


def _measured(name: str) -> list[str]:
    entry = NETWORKS[name]
    module, (calibration,), (inputs,) = (
        entry.module(),
        entry.inputs(32, seed=5),
        entry.inputs(16, seed=6),
    )
    graph = trace(module, calibration[:1])
    found = [op for op in graph.ops if is_global(graph, op)]
    if len(graph.outputs) > 1 or not found:
        return []
    with torch.no_grad():
        wanted = module(inputs).numpy()
    row = [name, ", ".join(f"{op.window[0]}x{op.window[1]}" for op in found)]
    for way in _WAYS:
        changed = with_averages(graph, way)
        got = _run(changed, calibration, inputs)
        cost = CMSIS_NN.features(changed)["instructions"] / 1e6
        row += [f"{sqnr_db(wanted, got.reshape(wanted.shape)):.1f}", f"{cost:.2f}"]
    return row


def _run(graph: Graph, calibration: torch.Tensor, inputs: torch.Tensor) -> np.ndarray:
    network = QuantizedNetwork(graph)
    network.calibrate([calibration], method="minmax")
    (found,) = int8_outputs(network.graph(), inputs).values()
    return found


if __name__ == "__main__":
    main()
