"""Instruction counts of TFLM's CMSIS-NN kernels, fitted to the census."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from micronas.hardware.instructions import Kernel
from micronas.hardware.kernels import Work
from micronas.hardware.latency import Fit, fit, mean_worst_percent
from testing.census import Measured


def fit_kernels(measured: Iterable[Measured]) -> dict[str, Kernel]:
    """Fit each kernel's coefficients to its operators, relative errors squared."""
    operators: dict[str, list[Measured]] = defaultdict(list)
    for each in measured:
        operators[each.work.kernel].append(each)
    return {name: _kernel(of_kernel) for name, of_kernel in sorted(operators.items())}


def left_out_percent(operators: Sequence[Measured]) -> tuple[float, float]:
    """Return mean and worst error of one kernel's operators, each predicted without itself."""
    found = _fit(operators, leave_one_out=True)
    return mean_worst_percent(found.left_out or found.errors)


def predict(fitted: dict[str, Kernel], work: Work) -> float:
    """Return the instructions of work under kernels fitted here."""
    coefficients = fitted[work.kernel].instructions
    return float(sum(coefficients.get(term, 0.0) * amount for term, amount in work.terms.items()))


def _kernel(operators: Sequence[Measured]) -> Kernel:
    found = _fit(operators, leave_one_out=False)
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


def _fit(operators: Sequence[Measured], *, leave_one_out: bool) -> Fit:
    """Fit to the terms that any of the operators has."""
    names = dict.fromkeys(term for each in operators for term in each.work.terms)
    terms = [term for term in names if any(each.work.terms.get(term) for each in operators)]
    amounts = [{term: each.work.terms.get(term, 0) for term in terms} for each in operators]
    taken = [each.instructions for each in operators]
    return fit(amounts, taken, terms=terms, leave_one_out=leave_one_out)
