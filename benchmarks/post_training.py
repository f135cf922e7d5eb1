"""What a network gains after training, before and after it is rounded to int8.

    python -m benchmarks.post_training [NETWORK ...]

For networks of the zoo: SQNR in dB of the int8 network, run in integers, against float, over
sixteen normal inputs; everything is fitted to 32 others. The first row of a network has its ranges
by each method and by search, the second with equalised channels; each cell without and with
corrected biases. `spoilt` is a DS-CNN whose channels were given sizes of 1/16 to 16 of theirs.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from benchmarks.zoo.networks import NETWORKS
from micronas.export.from_torch.check import int8_outputs
from micronas.export.from_torch.trace import trace
from micronas.graph.ir import Graph
from micronas.text import table
from micronas.train.calibration import Method
from micronas.train.post_training import correct_biases, equalised, search_ranges, sqnr_db
from micronas.train.quantize import QuantizedNetwork
from micronas.train.scaling import scalable_pairs, with_factors

_USUAL = ("DS-CNN", "spoilt", "ResNet-8", "MobileNetV1")
_METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=_USUAL, metavar="NETWORK")
    rows = [row for name in parser.parse_args().names for row in _measured(name)]
    print(table(["network", "channels", *_METHODS, "search"], rows))


def _measured(name: str) -> list[list[str]]:
    entry = NETWORKS["DS-CNN" if name == "spoilt" else name]
    module = entry.module()
    (calibration,), (inputs,) = entry.inputs(32, seed=5), entry.inputs(16, seed=6)
    graph = trace(module, calibration[:1])
    if name == "spoilt":
        graph = _spoilt(graph)
    with torch.no_grad():
        wanted = module(inputs).numpy()
    rows = []
    for kind, changed in (("as trained", graph), ("equalised", equalised(graph, [calibration]))):
        cells = []
        for method in (*_METHODS, "search"):
            network = QuantizedNetwork(changed)
            if method == "search":
                search_ranges(network, [calibration])
            else:
                network.calibrate([calibration], method=method)
            plain = sqnr_db(wanted, _run(network, inputs).reshape(wanted.shape))
            correct_biases(network, [calibration])
            corrected = sqnr_db(wanted, _run(network, inputs).reshape(wanted.shape))
            cells.append(f"{plain:.1f} / {corrected:.1f}")
        rows.append([name, kind, *cells])
    return rows


def _spoilt(graph: Graph) -> Graph:
    """Give channels other sizes, so that the network computes the same."""
    rng = np.random.default_rng(0)
    for pair in scalable_pairs(graph):
        sizes = np.exp2(rng.uniform(-4, 4, graph.output_of(pair.source).shape[-1]))
        graph = with_factors(graph, pair, sizes)
    return graph


def _run(network: QuantizedNetwork, inputs: Tensor) -> np.ndarray:
    (found,) = int8_outputs(network.graph(), inputs).values()
    return found


if __name__ == "__main__":
    main()
