"""Errors of each form of latency model on networks left out of the fit, on the census.

Run from the checkout: ``python -m benchmarks.latency_forms``; with ``--figure PATH`` it also draws
instructions against operations, the MicroNets paper's figure remade (needs matplotlib).
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from micronas.hardware.features import INSTRUCTIONS
from micronas.hardware.forms import OPS, THREE_TERMS
from micronas.hardware.latency import fit, mean_worst_percent
from micronas.hardware.targets import CMSIS_NN
from testing.latency_forms import (
    COMPARED,
    Network,
    by_kernel,
    by_terms,
    errors,
    extra_operators,
    folded,
    networks,
    wrong_pairs,
)
from testing.published import CENSUS, NETWORKS

SPACES = ("kws", "ad", "vww")


def _print_row(label: str, values: Sequence[str]) -> None:
    print(f"{label:46}" + "".join(f"{value:>16}" for value in values))


def _percent(values: Sequence[float]) -> str:
    mean, worst = mean_worst_percent(values)
    return f"{mean:.1f} / {worst:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path, help="where to draw the figure, e.g. ops.svg")
    arguments = parser.parse_args()
    known = networks()
    extra = extra_operators()
    even = [network for network in known if not network.name.startswith("odd")]
    within = {space: [n for n in even if n.space == space] for space in SPACES}

    print("mean / worst error of a network's instructions, columns: the space that is predicted")
    _print_row("", [f"{space}, n={len(within[space])}" for space in SPACES])
    left_out = {
        space: fit(
            [n.features for n in within[space]], [n.instructions for n in within[space]], terms=OPS
        )
        for space in SPACES
    }
    _print_row(
        "ops, fitted to the space, network left out",
        [_percent(left_out[space].left_out or ()) for space in SPACES],
    )
    r2 = {space: _r2(within[space]) for space in SPACES}
    _print_row("ops, R2 of ordinary least squares", [f"{r2[space]:.3f}" for space in SPACES])
    for label, terms in COMPARED.items():
        row = []
        for space in SPACES:
            train = [network for network in even if network.space != space]
            row.append(_percent(errors(by_terms(terms, train, within[space]), within[space])))
        _print_row(f"{label}, space left out", row)
    row = []
    for space in SPACES:
        train = [network for network in known if network.space != space]
        row.append(_percent(errors(by_kernel(extra, train, within[space]), within[space])))
    _print_row("instructions, space left out", row)

    measured = {network.name: network.instructions for network in known}
    predicted = folded(known, extra)
    wrong, near = wrong_pairs(predicted, measured)
    unseen = [predicted[n.name] / n.instructions - 1 for n in known]
    print(f"\ninstructions, all {len(known)} networks, each tenth left out: {_percent(unseen)}")
    print(f"pairs within 20 % ordered wrongly: {wrong} of {near} ({100 * wrong / near:.1f} %)")
    for label, terms in (("ops", OPS), ("terms (3 coefficients)", THREE_TERMS)):
        of_all = by_terms(terms, known, known)
        wrong, near = wrong_pairs(dict(zip(measured, of_all, strict=True)), measured)
        print(f"  {label}, fitted to all: {wrong} of {near} ({100 * wrong / near:.1f} %)")

    print(f"\ninstructions of {len(CENSUS)} other networks, none in the fit")
    others = {name: CMSIS_NN.features(NETWORKS[name].graph)[INSTRUCTIONS] for name in CENSUS}
    off = {name: others[name] / CENSUS[name].instructions - 1 for name in CENSUS}
    for name, error in off.items():
        print(f"  {name:28}{others[name] / 1e6:8.2f} M {100 * error:+6.2f} %")
    print(f"  {_percent(list(off.values()))}")
    if arguments.figure:
        draw(within, r2, arguments.figure)


def _r2(of_space: Sequence[Network]) -> float:
    x, y = np.array([(n.features["ops"], n.instructions) for n in of_space]).T
    return float(np.corrcoef(x, y)[0, 1] ** 2)


def draw(within: Mapping[str, Sequence[Network]], r2: Mapping[str, float], path: Path) -> None:
    """Draw instructions against operations, a line a space, and against the count by kernel."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "micronas"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for space, of_space in within.items():
        taken = np.array([n.instructions for n in of_space]) / 1e6
        ops = np.array([n.features["ops"] for n in of_space]) / 1e6
        drawn = left.scatter(ops, taken, s=14, label=f"{space}, R² {r2[space]:.3f}")
        ends = np.array([ops.min(), ops.max()])
        left.plot(ends, np.polyval(np.polyfit(ops, taken, 1), ends), color=drawn.get_facecolor())
        counted = [n.features[INSTRUCTIONS] / 1e6 for n in of_space]
        right.scatter(counted, taken, s=14, label=space)
    left.set(xlabel="operations (2 x MACs), million", ylabel="instructions, million")
    right.set(xlabel="instructions by kernel, million", ylabel="instructions, million")
    for axes in (left, right):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
