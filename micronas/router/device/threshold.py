"""Choose the int8 code from which on a router is believed, on held-out inputs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from micronas.errors import BudgetError
from micronas.router.device.composition import HIGHEST_CODE, LOWEST_CODE

Codes = npt.NDArray[np.int8]
Truths = npt.NDArray[np.bool_]
Macs = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Threshold:
    """A threshold and what it led to on the inputs it was chosen on."""

    code: int
    accuracy: float
    macs: float
    """Mean of an inference."""


def choose_threshold(
    confidence: Codes,
    sure: Truths,
    *,
    unsure: Truths,
    sure_macs: Macs,
    unsure_macs: int,
    limit: float | None = None,
) -> Threshold:
    """Return the most accurate threshold; of equals the one of fewest MACs, then the lowest.

    Inputs whose code is below the threshold are answered by the second network. The same choice
    serves a composition (its experts, then the general one) and a cascade of two networks.

    Parameters
    ----------
    confidence
        Highest code of the first network's probabilities, int8 [N].
    sure, unsure
        Whether the answer is right where the first network is believed, and where it is not;
        bool [N].
    sure_macs
        MACs of an inference that is believed, int64 [N].
    unsure_macs
        MACs of one that is not.
    limit
        Mean MACs that must not be exceeded.

    Raises
    ------
    BudgetError
        If every threshold exceeds the limit.
    """
    found = []
    for code in range(LOWEST_CODE, HIGHEST_CODE + 1):
        believed = confidence >= code
        accuracy = float(np.where(believed, sure, unsure).mean())
        macs = float(np.where(believed, sure_macs, unsure_macs).mean())
        found.append(Threshold(code, accuracy, macs))
    affordable = [each for each in found if limit is None or each.macs <= limit]
    if not affordable:
        raise BudgetError(
            f"mean MACs must stay within the limit for some threshold: limit={limit:.0f}, "
            f"smallest={min(each.macs for each in found):.0f}; raise it or take smaller networks"
        )
    return min(affordable, key=lambda each: (-each.accuracy, each.macs, each.code))
