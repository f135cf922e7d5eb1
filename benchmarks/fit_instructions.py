"""Fit the instruction counts of TFLM's CMSIS-NN kernels to the census and write their YAML file.

Run from the checkout: ``python -m benchmarks.fit_instructions`` prints every kernel's fit, with
``--write`` it also writes ``latency_models/kernels/cmsis_nn.yaml``.
"""

import argparse

import yaml

from micronas import resources
from micronas.files import write_atomically
from micronas.hardware.instructions import Kernels
from testing import census
from testing.kernel_fits import fit_kernels, left_out_percent

_SOURCE = (
    "TFLM 90b983c2 with CMSIS-NN 4ab83cc3, GCC 14.2 -O2, Cortex-M4 simulated by QEMU "
    "(mps2-an386): instructions of census_ops.csv, census_extra_ops.csv and census_operators.csv"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write kernels/cmsis_nn.yaml")
    arguments = parser.parse_args()
    measured = census.operators()
    fitted = fit_kernels(measured)
    print(f"{'':30}{'errors':>14} {'left out':>14}")
    print(f"{'kernel':24} {'ops':>5} {'mean':>6} {'worst':>6} {'mean':>7} {'worst':>6}")
    for name, kernel in fitted.items():
        mean, worst = left_out_percent([each for each in measured if each.work.kernel == name])
        print(
            f"{name:24} {kernel.operators:5} {kernel.mean_percent:5.2f}% "
            f"{kernel.worst_percent:5.1f}% {mean:6.2f}% {worst:5.1f}%  {kernel.instructions}"
        )
    if arguments.write:
        library = Kernels(source=_SOURCE, kernels=fitted)
        text = _HEADER + yaml.safe_dump(library.model_dump(), sort_keys=False, width=98)
        path = resources.folder("latency_models") / "kernels" / "cmsis_nn.yaml"
        write_atomically(path, text.encode())


_HEADER = """\
# Written by benchmarks/fit_instructions.py. Instructions of each kernel for each thing it does;
# micronas/hardware/ says what the terms are: kernels.py, convolutions.py, elements.py, copies.py.
# Errors are those of single operators.
"""


if __name__ == "__main__":
    main()
