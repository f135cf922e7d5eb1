"""Description of a board from measurements: fits of every form, their errors, and the choice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from micronas.calibration.measurements import Measurement
from micronas.errors import ConfigError, DataError
from micronas.hardware.board import VALIDATED_FROM, Board, LatencyModel, Percent, Status, reserve
from micronas.hardware.features import INSTRUCTIONS, OTHER_INSTRUCTIONS
from micronas.hardware.forms import FORMS, Form, fit_form, left_out_percent
from micronas.hardware.latency import Fit, LinearLatency, mean_worst_percent
from micronas.hardware.targets import choose

_NO_CORE = "not given"
_SIZES = 8
_DRAWS = 30
"""Random subsets of each of the learning curve's sizes."""
_FLAT = 0.1
"""Share by which the last third of networks must lower the error for more to be worth measuring."""
_CYCLES = 0.05, 100.0
"""Clock cycles for an instruction of CMSIS-NN on a Cortex-M4: 0.2 to 4 on measured boards, more
with reference kernels. Times in a unit of a thousandth or a thousand are outside."""
_ON_HOST: Status = "timed on a host, not the board"
_NOISE = 1.0
"""Difference of one network from run to run, in percent; no fit is better."""


@dataclass(frozen=True)
class Calibration:
    """A board fitted to measurements."""

    board: Board
    fits: dict[Form, Fit]
    """Fits of the forms for which enough networks were measured."""
    names: tuple[str, ...]
    """Names of the measured networks, in the order of the fits' errors."""
    learning: dict[int, float]
    """Mean error in percent on the rest, by the number of networks fitted to."""
    more: int
    """Number of further networks to measure; 0 where they would not help."""

    @property
    def doubt(self) -> str | None:
        """Question to the user where times and clock fit no microcontroller."""
        per_instruction_ms = self.fits[INSTRUCTIONS].model.coefficients[INSTRUCTIONS]
        cycles = per_instruction_ms * self.board.clock_hz / 1000
        is_likely = _CYCLES[0] <= cycles <= _CYCLES[1]
        if is_likely or self.board.latency[0].status == _ON_HOST:
            return None
        shown = f"{cycles:,.0f}" if cycles > 1 else f"{cycles:.2g}"
        return (
            f"these times are {shown} clock cycles for each instruction of a Cortex-M4, where "
            "boards take 0.2 to 4: is latency_ms in milliseconds, and --clock right?"
        )

    def view(self) -> dict[str, Any]:
        """Return the board and the errors of its form of latency model, as JSON values."""
        chosen = self.fits[self.board.form]
        return {
            "board": self.board.view(),
            "networks": list(self.names),
            "errors": list(chosen.errors),
            "left_out_errors": None if chosen.left_out is None else list(chosen.left_out),
            "learning_percent": self.learning,
            "more_networks": self.more,
            "doubt": self.doubt,
        }


def calibrate(
    measured: Sequence[Measurement],
    *,
    name: str,
    sram_bytes: float,
    flash_bytes: float,
    clock_hz: float,
    core: str = _NO_CORE,
    power_mw: float | None = None,
    kernels: str = "not given",
    seed: int = 0,
) -> Calibration:
    """Fit every form of latency model and make the one that errs least the board's own.

    Raises DataError if there are fewer than two networks; ConfigError if the board's sizes leave no
    room for a network, or a core is given with times of a computer.

    Parameters
    ----------
    power_mw
        Power while it computes. None: the mean of energy / latency, where energies were measured.
    kernels
        Library that ran the networks.
    seed
        Seed of the random subsets behind `Calibration.learning`.
    """
    if len(measured) < 2:
        raise DataError(
            f"a calibration must have at least 2 networks, but got {len(measured)}; measure more, "
            "ten for a board whose kernels are not CMSIS-NN's"
        )
    features = [each.features for each in measured]
    latencies = [each.latency_ms for each in measured]
    fits = fit_forms(features, latencies)
    form = default_form(fits)
    host = next((each.board for each in measured if each.is_of_host), None)
    if host is not None and core != _NO_CORE:
        raise ConfigError(
            f"a {core} must be timed itself, but these times are of a computer ({host}); run "
            "the plan's firmware on the board and give its log with --from-log, or estimate the "
            "board with `like:` in its YAML"
        )
    by = "measured by the user" if host is None else f"timed on a computer ({host})"
    source = f"{len(measured)} networks {by}: " + ", ".join(each.name for each in measured)
    energies = [
        1000 * each.energy_mj / each.latency_ms for each in measured if each.energy_mj is not None
    ]
    reserved = reserve(choose(kernels, core).target)
    if reserved.sram_bytes >= sram_bytes or reserved.flash_bytes >= flash_bytes:
        raise ConfigError(
            f"a board must have more than the firmware takes ({reserved.sram_bytes} B of SRAM, "
            f"{reserved.flash_bytes} B of flash), but got {sram_bytes:.0f} B and "
            f"{flash_bytes:.0f} B; correct the sizes"
        )
    board = Board(
        name=name,
        title=name if host is None else f"{name} ({host}, no board)",
        core=core,
        sram_bytes=int(sram_bytes),
        flash_bytes=int(flash_bytes),
        clock_hz=int(clock_hz),
        reserved=reserved,
        power_mw=round(fmean(energies), 1) if power_mw is None and energies else power_mw,
        source="given by the user; reserved: MicroNets (arXiv 2010.11267) figure 2",
        kernels=kernels,
        form=form,
        measured_hz=int(clock_hz),
        latency=tuple(
            latency_model(form, fitted, source, of_host=host is not None)
            for form, fitted in fits.items()
        ),
    )
    learning = _learning_curve(form, features, latencies, seed)
    return Calibration(
        board, fits, tuple(each.name for each in measured), learning, _more(learning)
    )


def fit_forms(
    features: Sequence[Mapping[str, float]], latencies: Sequence[float]
) -> dict[Form, Fit]:
    """Fit every form for which there are enough networks.

    Operators without a count are priced by their instructions in every form; they would be free
    otherwise.
    """
    fits = {form: fit_form(form, features, latencies) for form in FORMS}
    by_instructions = fits[INSTRUCTIONS]
    if by_instructions is None:
        return {}
    rate = by_instructions.model.coefficients[INSTRUCTIONS]
    return {
        form: fitted
        if form == INSTRUCTIONS
        else replace(
            fitted, model=LinearLatency({OTHER_INSTRUCTIONS: rate, **fitted.model.coefficients})
        )
        for form, fitted in fits.items()
        if fitted is not None
    }


def default_form(fits: Mapping[Form, Fit]) -> Form:
    """Return the form with the smallest mean error on networks left out of the fit."""
    return min(fits, key=lambda form: left_out_percent(fits[form]))


def latency_model(
    form: Form, fitted: Fit, source: str, *, spaces: Sequence[str] = (), of_host: bool = False
) -> LatencyModel:
    """Return a fit in the form of a board's YAML; times of a computer validate no board."""
    networks = len(fitted.errors)
    status: Status = "validated" if networks >= VALIDATED_FROM else "prior, not validated"
    return LatencyModel(
        form=form,
        spaces=tuple(spaces),
        coefficients={
            term: float(f"{value:.5g}") for term, value in fitted.model.coefficients.items()
        },
        networks=networks,
        in_sample_percent=_percent(fitted.errors),
        leave_one_out_percent=_percent(fitted.left_out) if fitted.left_out else None,
        r2=round(fitted.r2, 4) if math.isfinite(fitted.r2) else None,
        status=_ON_HOST if of_host else status,
        source=source,
    )


def _percent(errors: Sequence[float]) -> Percent:
    mean, worst = mean_worst_percent(errors)
    return Percent(mean=round(mean, 1), worst=round(worst, 1))


def _learning_curve(
    form: Form, features: Sequence[Mapping[str, float]], latencies: Sequence[float], seed: int
) -> dict[int, float]:
    """Fit to random subsets of each size; return the mean error on the rest by size."""
    rng, count = np.random.default_rng(seed), len(latencies)
    curve: dict[int, float] = {}
    for size in sorted({round(each) for each in np.geomspace(1, count - 1, _SIZES)}):
        errors: list[float] = []
        for _ in range(_DRAWS):
            order = rng.permutation(count)
            chosen, rest = order[:size], order[size:]
            fitted = fit_form(form, [features[i] for i in chosen], [latencies[i] for i in chosen])
            if fitted is not None:
                errors += [fitted.model.predict(features[i]) / latencies[i] - 1 for i in rest]
        if errors:
            curve[size] = mean_worst_percent(errors)[0]
    return curve


def _more(learning: Mapping[int, float]) -> int:
    """Return the number of networks worth measuring next, judged by the last third's effect."""
    most = max(learning, default=1)
    if most + 1 < VALIDATED_FROM:
        return VALIDATED_FROM - most - 1
    before = [size for size in learning if 3 * size <= 2 * most]
    is_flat = bool(before) and learning[most] > (1 - _FLAT) * learning[max(before)]
    return 0 if is_flat or learning[most] < _NOISE else math.ceil(most / 2)
