"""Instructions of kernels' work on a Cortex-M4 with TFLM and CMSIS-NN.

The coefficients of ``latency_models/kernels/cmsis_nn.yaml`` are fitted to exact counts on a
simulated core (``benchmarks/fit_instructions.py``). Unmeasured operators are priced high and marked
as extrapolated. Instructions are not cycles: a board's latency model has the time of each.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field, NonNegativeFloat

from micronas import resources
from micronas.hardware.kernels import Work
from micronas.settings import Settings, read_settings

_ASSUMED: dict[str, dict[str, float]] = {
    # the slowest reference kernel of 29 networks took 37 instructions a MAC
    "unknown_convolution": {"macs": 37.0, "calls": 5000.0},
    # no measured kernel that works element by element took more than 461 instructions for each
    "unmeasured": {"elements": 500.0, "calls": 5000.0},
}
"""Upper bounds for kernels that were not counted."""
_INT4_FACTOR = 2.5
"""Largest measured ratio of int4 to int8, for int4 kernels that were not measured."""


class Kernel(Settings):
    """Instructions of one kernel by term, and the fit's errors."""

    operators: int
    """Number of measured operators it was fitted to."""
    mean_percent: float
    worst_percent: float
    """Largest error of single operators, in sample."""
    instructions: Annotated[dict[str, NonNegativeFloat], Field(min_length=1)]
    """Instructions per unit of each term of `Work`."""


class Kernels(Settings):
    """Library of kernels described by a YAML file."""

    source: str
    kernels: dict[str, Kernel]


@dataclass(frozen=True)
class Price:
    """Instructions of one operator."""

    kernel: str
    instructions: float
    extrapolated: bool
    """Whether no operator of this kind was counted: an upper bound."""
    cycles: float = 0.0
    """Cycles of the same core with memory that never waits, where they are modelled."""


def instructions(work: Work) -> Any:
    """Return the instructions of work: a number, or a tensor where its terms are tensors."""
    coefficients = _coefficients(work.kernel)
    return sum(coefficients.get(term, 0.0) * amount for term, amount in work.terms.items())


def priced(work: Work) -> Price:
    """Return the price of work whose terms are numbers."""
    return Price(work.kernel, float(instructions(work)), work.kernel not in _measured())


@lru_cache
def _measured() -> dict[str, dict[str, float]]:
    path = resources.folder("latency_models") / "kernels" / "cmsis_nn.yaml"
    library = read_settings(path, Kernels)
    return {name: kernel.instructions for name, kernel in library.kernels.items()}


@lru_cache
def _coefficients(kernel: str) -> dict[str, float]:
    known = _measured() | _ASSUMED
    if kernel in known:
        return known[kernel]
    slower = known[kernel.removesuffix("_int4")]
    return {term: _INT4_FACTOR * cost for term, cost in slower.items()}
