"""Forms of a latency model, and the choice between them.

``ops`` is the MicroNets paper's (arXiv 2010.11267, section 4): a slope and an intercept, for the
networks of one search space. ``terms`` prices convolutions, depthwise convolutions and their
outputs separately, without an intercept, and carries over from one space to another.
``instructions`` is the number of instructions of all operators (`hardware.instructions`) times one
factor; it is made for Cortex-M with CMSIS-NN and needs the fewest measurements.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from micronas.errors import ConfigError
from micronas.hardware.features import INSTRUCTIONS, OTHER_INSTRUCTIONS
from micronas.hardware.latency import CONSTANT, Fit, Terms, fit, mean_worst_percent
from micronas.settings import nearest

Form = Literal["ops", "terms", "instructions"]
FORMS: tuple[Form, ...] = get_args(Form)

# Ratios are instructions (TFLM with CMSIS-NN, Cortex-M4): a fit to few networks cannot find them,
# since all these counts grow together within one family of networks.
_CONVOLUTION = {"conv_macs": 1.457, "im2col_bytes": 4.3, OTHER_INSTRUCTIONS: 1.0}
_DEPTHWISE = {"depthwise_macs": 8.88}
_DENSE = {"fc_macs": 1.88}
_OUTPUTS = {"conv_outputs": 48.3, "im2col_taps": 40.0}
_ADDS = {"add_elements": 75.0}

TWO_TERMS: Terms = {"arithmetic": _CONVOLUTION | _DEPTHWISE | _DENSE, "elements": _OUTPUTS | _ADDS}
THREE_TERMS: Terms = {
    "convolution": _CONVOLUTION | _DENSE,
    "depthwise": _DEPTHWISE,
    "elements": _OUTPUTS | _ADDS,
}
FIVE_TERMS: Terms = {
    "convolution": _CONVOLUTION,
    "depthwise": _DEPTHWISE,
    "dense": _DENSE,
    "outputs": _OUTPUTS,
    "adds": _ADDS,
}
OPS: Terms = {"slope": {"ops": 1.0}, CONSTANT: {CONSTANT: 1.0}}

_TERMS: Mapping[Form, Sequence[Terms]] = {
    "ops": (OPS,),
    "terms": (TWO_TERMS, THREE_TERMS, FIVE_TERMS),
    "instructions": ({INSTRUCTIONS: {INSTRUCTIONS: 1.0}},),
}
"""Sets of coefficients to choose from, by form."""


def check_form(name: str | None) -> Form | None:
    """Return the form of a name, None for None; raise ConfigError for an unknown name."""
    for form in FORMS:
        if name == form:
            return form
    if name is None:
        return None
    raise ConfigError(
        f"a latency form must be one of {', '.join(FORMS)}, but got {name!r}; "
        f"{nearest(name, FORMS, listed=True)}"
    )


def fit_form(
    form: Form, features: Sequence[Mapping[str, float]], latencies: Sequence[float]
) -> Fit | None:
    """Fit a form with the one of its sets of coefficients that predicts left-out networks best.

    Latencies are in ms. None with fewer networks than the form's fewest coefficients. A coefficient
    whose first feature no network has is not fitted separately: it would be free.
    """
    fits = [
        fit(features, latencies, terms=terms)
        for terms in _TERMS[form]
        if len(latencies) >= len(terms)
        and all(
            name == CONSTANT or any(row[name] for row in features)
            for group in terms.values()
            for name in list(group)[:1]
        )
    ]
    return min(fits, key=left_out_percent, default=None)


def left_out_percent(fitted: Fit) -> float:
    """Return the mean error of left-out networks in percent; infinite where unknown."""
    return mean_worst_percent(fitted.left_out)[0] if fitted.left_out else math.inf
