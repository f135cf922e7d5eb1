"""Fit every shipped board's latency models to published measurements and write the YAML files.

Run from the checkout: ``python -m benchmarks.fit_boards`` prints every fit, with ``--write`` it
also writes ``latency_models/*.yaml``. Measurements are ``latency_models/published_latencies.csv``;
counts are the true ones of the networks in ``testing/published.py``.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from micronas import resources
from micronas.hardware.board import LatencyModel
from testing.boards import Row, board, measurements


def print_paper_lines(rows: Sequence[Row]) -> None:
    """Print ordinary least squares of latency on the paper's own operation counts."""
    groups = {"kws": ("KWS", "DSCNN"), "kws+ad": ("KWS", "DSCNN", "AD"), "vww": ("VWW",)}
    for label, words in groups.items():
        chosen = [row for row in rows if any(word in row["network"] for word in words)]
        chosen = [row for row in chosen if row["published_mops"]]
        if len(chosen) < 3:
            continue
        x, y = (
            np.array([float(row[key]) for row in chosen])
            for key in ("published_mops", "latency_ms")
        )
        slope, constant = np.polyfit(x, y, 1)
        r2 = np.corrcoef(x, y)[0, 1] ** 2
        print(
            f"  published Mops, {label}: {slope:.2f} ms/Mop + {constant:.0f} ms, "
            f"R2 {r2:.4f}, {len(x)} networks"
        )


def _line(model: LatencyModel) -> str:
    left_out = model.leave_one_out_percent
    errors = f"{left_out.mean:5.1f} / {left_out.worst:5.1f} %" if left_out else "            -"
    label = f"{model.form} {'+'.join(model.spaces)}"
    r2 = "-" if model.r2 is None else f"{model.r2:.3f}"
    return f"  {label:14} n {model.networks:2}  left out {errors}  R2 {r2:>6}  {_terms(model)}"


def _terms(model: LatencyModel) -> str:
    return ", ".join(f"{term} {value:.4g}" for term, value in model.coefficients.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write latency_models/*.yaml")
    arguments = parser.parse_args()
    for name, rows in measurements().items():
        result = board(name, rows)
        power = f", {result.power_mw} mW" if result.power_mw else ""
        print(f"{name}: {result.kernels}{power}; form {result.form}")
        for model in result.latency:
            print(_line(model))
        print_paper_lines(rows)
        if arguments.write:
            result.save(resources.folder("latency_models") / f"{name}.yaml")


if __name__ == "__main__":
    main()
