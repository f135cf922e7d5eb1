"""Instructions of kernels' work on a Cortex-M4 with TFLM and CMSIS-NN.

The coefficients of ``latency_models/kernels/cmsis_nn.yaml`` are fitted to exact counts on a
simulated core (``benchmarks/fit_instructions.py``). Operators that were not measured are priced
high and said to be extrapolated. Instructions are not cycles: a board's latency model says what a
million of them takes there.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat

from micronas import resources
from micronas.hardware.kernels import Work
from micronas.settings import Settings, read_settings

ASSUMED: dict[str, dict[str, float]] = {
    # one exponential and three Newton steps an element; softmax's exponential takes 433
    "logistic": {"elements": 900.0, "calls": 1000.0},
    # three fixed-point products an element; ADD, which has three as well, takes 75
    "hard_swish": {"elements": 300.0, "calls": 1000.0},
    # one fixed-point product an element; broadcasting is a reference kernel that works out two
    # indices of four dimensions for each
    "mul": {"elements": 75.0, "calls": 1000.0},
    "mul_broadcast": {"elements": 200.0, "calls": 1000.0},
    # three fixed-point products an element; the reference kernel is not inlined as ADD's is
    "sub": {"elements": 150.0, "calls": 1000.0},
    "add_broadcast": {"elements": 200.0, "calls": 1000.0},
    "sub_broadcast": {"elements": 200.0, "calls": 1000.0},
    "squared_difference": {"elements": 150.0, "calls": 1000.0},
    "squared_difference_broadcast": {"elements": 200.0, "calls": 1000.0},
    "maximum": {"elements": 30.0, "calls": 1000.0},
    # two loops over four dimensions, and one fixed-point product
    "prelu": {"elements": 150.0, "calls": 1000.0},
    "table": {"elements": 15.0, "calls": 1000.0},
    # five Newton steps of five products each
    "inverse_root": {"elements": 900.0, "calls": 1000.0},
    # SOFTMAX with a logarithm a row, which takes less than the exponential of one more element
    "log_softmax": {"elements": 900.0, "calls": 1000.0},
    # a square and a fixed-point product an element, and a root a row
    "l2_normalization": {"elements": 100.0, "calls": 2000.0},
    # rows are copied, but a join along the channels copies a few bytes at a time
    "concatenation": {"elements": 50.0, "calls": 1000.0},
    # four products of indices and strides an element
    "transpose": {"elements": 40.0, "calls": 2000.0},
    # loops over five axes, and an offset of five products an element
    "slice": {"elements": 40.0, "rows": 100.0, "calls": 2000.0},
    "strided_slice": {"elements": 40.0, "rows": 100.0, "calls": 3000.0},
    # one copy a row, of a few instructions a byte where rows are short
    # as FULLY_CONNECTED, with a zero point to add to each weight; copies as of TRANSPOSE
    "batch_matmul": {"macs": 6.0, "outputs": 100.0, "copied": 60.0, "calls": 5000.0},
    "gather": {"elements": 5.0, "rows": 150.0, "calls": 1000.0},
    "broadcast_to": {"elements": 60.0, "calls": 5000.0},
    "relu": {"elements": 75.0, "calls": 1000.0},
    # the kernel of one group, whose rows are written further apart, with a third on top
    "convolution_grouped": {
        "macs_by_4": 2.2,
        "left_over_macs": 4.0,
        "outputs": 60.0,
        "im2col_bytes": 4.0,
        "im2col_taps": 45.0,
        "padded_taps": 12.0,
        "left_over_bytes": 1.1,
        "kernel_rows": 25.0,
        "positions": 170.0,
        "odd_positions": 3.6,
        "odd_outputs": 0.7,
        "calls": 1500.0,
    },
    # the convolution's kernel on a map it enlarges while it copies, and the filters turned around
    "transposed_turned": {
        "macs_by_4": 2.2,
        "left_over_macs": 4.0,
        "outputs": 60.0,
        "im2col_bytes": 4.0,
        "im2col_taps": 45.0,
        "padded_taps": 12.0,
        "left_over_bytes": 1.1,
        "kernel_rows": 25.0,
        "positions": 170.0,
        "odd_positions": 3.6,
        "odd_outputs": 0.7,
        "weights": 5.0,
        "calls": 1500.0,
    },
    # products one by one, sums read and written, and a fixed-point product an output
    "transposed": {"macs": 8.0, "sums": 30.0, "outputs": 80.0, "calls": 5000.0},
    # as MEAN, the same loop over one index of all dimensions, which takes 130 an element
    "sum": {"elements": 150.0, "outputs": 60.0, "calls": 2500.0},
    "reduce_max": {"elements": 150.0, "outputs": 60.0, "calls": 2500.0},
    # a division in float32 and a copy of the channels for each position
    "resize_nearest": {"positions": 200.0, "elements": 2.0, "calls": 2000.0},
    # four offsets and four products of 64 bits for each element
    "resize_bilinear": {"positions": 200.0, "elements": 300.0, "calls": 2000.0},
    # two offsets of four dimensions for each element
    "space_to_depth": {"elements": 100.0, "calls": 2000.0},
    "depth_to_space": {"elements": 100.0, "calls": 2000.0},
    # plain C, as where a channel has several outputs, which took up to 26 instructions a MAC
    "depthwise_dilated": {
        "valid_macs": 20.0,
        "outputs": 200.0,
        "source_positions": 60.0,
        "calls": 5000.0,
    },
    # the slowest reference kernel of 29 networks took 37 instructions a MAC
    "unknown_convolution": {"macs": 37.0, "calls": 5000.0},
}
"""Kernels nobody counted, priced from above."""
SOFTMAX = {"elements": 459.0, "calls": 246.0}
"""Depends on the data: 26 an element and 433 for each that is not negligible; here all are."""
_INT4_FACTOR = 2.5
"""No int4 kernel took more, compared with int8; for those that were not measured."""


class Kernel(Settings):
    """Instructions of one kernel for each thing it does, and how well that fits."""

    operators: int
    """How many measured ones it was fitted to."""
    mean_percent: float
    worst_percent: float
    """In sample, of single operators."""
    instructions: Annotated[dict[str, NonNegativeFloat], Field(min_length=1)]


class Kernels(Settings):
    """A library of kernels, as a YAML file describes it."""

    source: str
    kernels: dict[str, Kernel]


@dataclass(frozen=True)
class Price:
    """Instructions of one operator."""

    kernel: str
    instructions: float
    extrapolated: bool
    """No operator of this kind was counted: a guess from above."""


def instructions(work: Work) -> Any:
    """Return the instructions of work: a number, or a tensor of expectations."""
    coefficients = _coefficients(work.kernel)
    return sum(coefficients.get(term, 0.0) * amount for term, amount in work.terms.items())


def priced(work: Work) -> Price:
    """Return the price of work that is known in numbers."""
    extrapolated = work.kernel in ASSUMED or work.kernel not in _measured()
    return Price(work.kernel, float(instructions(work)), extrapolated and work.kernel != "softmax")


@lru_cache
def _measured() -> dict[str, dict[str, float]]:
    path = resources.folder("latency_models") / "kernels" / "cmsis_nn.yaml"
    library = read_settings(path, Kernels)
    return {name: kernel.instructions for name, kernel in library.kernels.items()}


@lru_cache
def _coefficients(kernel: str) -> dict[str, float]:
    known = _measured() | ASSUMED | {"softmax": SOFTMAX}
    if kernel in known:
        return known[kernel]
    slower = known[kernel.removesuffix("_int4")]
    return {term: _INT4_FACTOR * cost for term, cost in slower.items()}
