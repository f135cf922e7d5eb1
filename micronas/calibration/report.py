"""Report of how well each form of latency model fits a board. Imports no torch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from micronas.hardware.latency import mean_worst_percent
from micronas.text import signed, table

if TYPE_CHECKING:
    from micronas.calibration.fit import Calibration
    from micronas.hardware.latency import Fit


def calibration_report(calibration: "Calibration") -> str:
    """Return the error of each latency model by network, and whether more networks would help."""
    board = calibration.board
    forms = [
        [*_fit_row(form, fitted), "<-" if form == board.form else ""]
        for form, fitted in calibration.fits.items()
    ]
    names = ["form", "coefficients", "in sample, mean / worst", "left out, mean / worst", ""]
    chosen = calibration.fits[board.form]
    networks = [
        [name, signed(error), "-" if out is None else signed(out)]
        for name, error, out in zip(
            calibration.names,
            chosen.errors,
            chosen.left_out or [None] * len(chosen.errors),
            strict=True,
        )
    ]
    learning = ", ".join(f"{size}: {error:.1f} %" for size, error in calibration.learning.items())
    more = calibration.more
    return "\n".join(
        [
            table(["network", f"error of {board.form}", "left out"], networks),
            "",
            table(names, forms),
            "",
            f"error on the rest by networks measured: {learning or 'too few to say'}",
            f"{more} more networks would help" if more else "more networks would hardly help",
            *([] if calibration.doubt is None else [calibration.doubt]),
        ]
    )


def _fit_row(form: str, fitted: "Fit") -> list[str]:
    left_out = "-" if fitted.left_out is None else _mean_worst(fitted.left_out)
    priced = ", ".join(
        f"{term} {value:.3g}" for term, value in fitted.model.coefficients.items() if value
    )
    return [form, priced, _mean_worst(fitted.errors), left_out]


def _mean_worst(errors: Sequence[float]) -> str:
    mean, worst = mean_worst_percent(errors)
    return f"{mean:.1f} / {worst:.1f} %"
