"""Instruction counts of TFLM's CMSIS-NN kernels, fitted to the census."""

from collections import defaultdict
from collections.abc import Iterable

from micronas.hardware.instructions import Kernel
from micronas.hardware.kernels import Work
from micronas.hardware.latency import fit, mean_worst_percent
from micronas.testing.census import Measured

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
    return float(sum(coefficients.get(term, 0.0) * amount for term, amount in work.terms.items()))


def _fit(operators: list[Measured]) -> Kernel:
    amounts = [each.work.terms for each in operators]
    terms = [term for term in amounts[0] if any(amount[term] for amount in amounts)]
    taken = [each.instructions for each in operators]
    found = fit(amounts, taken, terms=terms, leave_one_out=False)
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
