"""Ranges and biases after training: what each way gains on inputs that chose nothing.

    python -m benchmarks.ranges [--calibration 32] [--examples 200] [NETWORK ...]

For networks of the zoo, those made by hand if none is named: SQNR in dB of int8, imitated in
float32, against float, of the worst output over so many normal inputs, after calibration on others.
Printed is what each way gains over ranges of all that was seen with biases as they are; of the last
linear layers have a scale for each output.
"""

import argparse
from statistics import fmean, median

import torch
from torch import Tensor

from benchmarks.zoo.networks import NETWORKS
from micronas.errors import ExportError
from micronas.export.from_torch.trace import trace
from micronas.graph.averages import with_averages
from micronas.text import table
from micronas.train.calibration import Method
from micronas.train.inputs import by_input
from micronas.train.post_training import calibrated, sqnr_db
from micronas.train.quantize import QuantizedNetwork, float_outputs

_METHODS: tuple[Method, ...] = ("minmax", "percentile", "mse")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NETWORK")
    parser.add_argument("--calibration", type=int, default=32)
    parser.add_argument("--examples", type=int, default=200)
    given = parser.parse_args()
    names = given.names or [name for name in NETWORKS if "/" not in name]
    gains: dict[str, list[float]] = {}
    for name in names:
        for way, gain in _gains(name, given.calibration, given.examples).items():
            gains.setdefault(way, []).append(gain)
    rows = [
        [way, str(len(all_)), *(f"{of(all_):+.2f}" for of in (fmean, median, min, max))]
        for way, all_ in gains.items()
    ]
    print(table(["ranges", "networks", "mean, dB", "median", "worst", "best"], rows))


@torch.no_grad()
def _gains(name: str, calibration: int, examples: int) -> dict[str, float]:
    entry = NETWORKS[name]
    module = entry.module()
    try:
        graph = with_averages(trace(module, entry.inputs(1, seed=5)), "parts")
    except ExportError:
        return {}
    seen, unseen = (
        by_input(graph, inputs if len(inputs) > 1 else inputs[0])
        for inputs in (entry.inputs(calibration, seed=5), entry.inputs(examples, seed=6))
    )
    found = {}
    wanted = float_outputs(QuantizedNetwork(graph), unseen)
    for method in _METHODS:
        for is_corrected in (False, True):
            network = calibrated(graph, [seen], method=method, is_corrected=is_corrected).eval()
            way = f"{method}, biases" if is_corrected else method
            found[way] = _ratio(network, unseen, wanted)
    network = calibrated(graph, [seen], method="mse", linear_scales="output").eval()
    found["mse, biases, scales"] = _ratio(network, unseen, wanted)
    return {way: ratio - found["minmax"] for way, ratio in found.items()}


def _ratio(network: QuantizedNetwork, given: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    answers = network(given)
    answers = answers if isinstance(answers, tuple) else (answers,)
    pairs = zip(wanted.values(), answers, strict=True)
    return min(sqnr_db(one.numpy(), other.numpy()) for one, other in pairs)


if __name__ == "__main__":
    main()
