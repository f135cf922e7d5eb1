"""Fit the instruction counts of TFLM's CMSIS-NN kernels to the census and write their YAML file.

Run from the checkout: ``python -m benchmarks.fit_instructions`` prints every kernel's fit, with
``--write`` it also writes ``latency_models/kernels/cmsis_nn.yaml``.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable

import yaml

from benchmarks import census
from benchmarks.census import Measured
from micronas import resources
from micronas.files import write_atomically
from micronas.hardware.instructions import Kernel, Kernels
from micronas.hardware.kernels import Work
from micronas.hardware.latency import fit, mean_worst_percent

_SOURCE = (
    "TFLM 90b983c2 with CMSIS-NN 4ab83cc3, GCC 14.2 -O2, Cortex-M4 simulated by QEMU "
    "(mps2-an386): instructions of census_ops.csv and census_extra_ops.csv"
)
_DEPENDS_ON_DATA = "softmax"  # its price is an upper bound, not a fit


def fit_kernels(measured: Iterable[Measured]) -> dict[str, Kernel]:
    """Fit each kernel's coefficients to its operators, relative errors squared."""
    operators: dict[str, list[Measured]] = defaultdict(list)
    for each in measured:
        operators[each.work.kernel].append(each)
    return {
        name: _fit(of_kernel)
        for name, of_kernel in sorted(operators.items())
        if name != _DEPENDS_ON_DATA
    }


def predict(fitted: dict[str, Kernel], work: Work) -> float:
    """Return the instructions of work under kernels fitted here."""
    coefficients = fitted[work.kernel].instructions
    return sum(coefficients.get(term, 0.0) * amount for term, amount in work.terms.items())


def _fit(operators: list[Measured]) -> Kernel:
    amounts = [each.work.terms for each in operators]
    terms = [term for term in amounts[0] if any(amount[term] for amount in amounts)]
    taken = [each.instructions for each in operators]
    found = fit(amounts, taken, terms=terms)
    mean, worst = mean_worst_percent(found.errors)
    return Kernel(
        operators=len(operators),
        mean_percent=round(mean, 2),
        worst_percent=round(worst, 1),
        instructions={
            term: float(f"{value:.5g}")
            for term, value in found.model.coefficients.items()
            if value > 0
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write kernels/cmsis_nn.yaml")
    arguments = parser.parse_args()
    fitted = fit_kernels(census.operators())
    print(f"{'kernel':20} {'ops':>5} {'mean':>6} {'worst':>6}")
    for name, kernel in fitted.items():
        print(
            f"{name:20} {kernel.operators:5} {kernel.mean_percent:5.2f}% "
            f"{kernel.worst_percent:5.1f}%  {kernel.instructions}"
        )
    if arguments.write:
        library = Kernels(source=_SOURCE, kernels=fitted)
        text = _HEADER + yaml.safe_dump(library.model_dump(), sort_keys=False, width=98)
        path = resources.folder("latency_models") / "kernels" / "cmsis_nn.yaml"
        write_atomically(path, text.encode())


_HEADER = """\
# Written by benchmarks/fit_instructions.py. Instructions of each kernel for each thing it does;
# micronas/hardware/kernels.py says what the terms are. Errors are those of single operators.
"""


if __name__ == "__main__":
    main()
