"""Work of CMSIS-NN's kernels: counts in which their instructions are linear.

Each function returns the `Work` of one operator: its kernel, and how often that kernel does each
thing. The counts follow CMSIS-NN's code for cores with the DSP extension, as GCC compiles it.
Operators with a window are in convolutions.py, those that move values in copies.py, and those that
compute value by value or row by row in elements.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from micronas.arrays import Shape


@dataclass(frozen=True)
class Work:
    """Kernel that runs an operator, and the amount of each thing that it does."""

    kernel: str
    terms: Mapping[str, float]

    def of_bits(self, bits: int) -> "Work":
        """Return the work of the kernel for weights of `bits` bits."""
        return self if bits == 8 else Work(f"{self.kernel}_int{bits}", self.terms)


def dense(rows: int, source: int, out: int, *, per_channel: bool = False, bits: int = 8) -> Work:
    """Return the work of FULLY_CONNECTED on `rows` vectors."""
    terms = {
        "macs": rows * source * out,
        "outputs": rows * out,
        "left_over": rows * out * (source % 4),
        "odd_outputs": rows * source * (out % 2),
        "scaled_outputs": rows * out * per_channel,
        "rows": rows,
        "calls": 1,
    }
    return Work("dense", terms).of_bits(bits)


def matrix_product(outer: int, rows: int, depth: int, out: int, turned: Sequence[Shape]) -> Work:
    """Return the work of BATCH_MATMUL of `outer` matrices.

    Kernels compute two outputs at a time, with four values per step. Operands of the shapes
    `turned` are transposed first, so that rows meet rows.
    """
    vectors, paired, rest = outer * rows, out - out % 2, depth % 4
    terms = {
        "macs": vectors * (depth - rest) * paired,
        "outputs": vectors * paired,
        "left_over": vectors * rest * paired,
        "ends": vectors * (rest > 0) * paired,
        "odd_macs": vectors * (depth - rest) * (out % 2),
        "odd_left_over": vectors * rest * (out % 2),
        "odd_outputs": vectors * (out % 2),
        "rows": vectors,
        "matrices": outer,
        "turned": sum(math.prod(shape) for shape in turned),
        "turned_rows": sum(math.prod(shape) // shape[-2] for shape in turned),
        "turned_matrices": sum(math.prod(shape[:-2]) for shape in turned),
        "transposes": len(turned),
        "calls": 1,
    }
    return Work("batch_matmul", terms)


def lstm(steps: int, source: int, units: int) -> Work:
    """Return the work of UNIDIRECTIONAL_SEQUENCE_LSTM: four gates of input and last output."""
    gates, later = 4 * steps * units, 4 * (steps - 1) * units
    terms = {
        "input_macs": gates * source,
        "recurrent_macs": later * units,
        "left_over": gates * (source % 4) + later * (units % 4),
        "odd_units": 4 * (steps * source + (steps - 1) * units) * (units % 2),
        "units": steps * units,
        "later_units": (steps - 1) * units,
        "steps": steps,
        "calls": 1,
    }
    return Work("lstm", terms)


def elementwise(kernel: str, elements: int) -> Work:
    """Return the work of an operator that is proportional to its elements."""
    return Work(kernel, {"elements": elements, "outputs": 0, "calls": 1})
