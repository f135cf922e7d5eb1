"""Intervals of 95 % for shares and means."""

import math
from collections import defaultdict

import numpy as np
import numpy.typing as npt

NORMAL = 1.959964
"""Half width of a 95 % interval in standard errors that are known."""
LEAST_FREEDOM = 2 - 1e-9
"""Degrees of freedom below which no interval is given: the two of three groups of one size, less
what rounding may take."""


def wilson(share: float, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of `count` independent examples.

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
    1927. Examples of one speaker or device are alike, so the true interval is wider.
    """
    scale = 1 + NORMAL**2 / count
    middle = (share + NORMAL**2 / (2 * count)) / scale
    half = NORMAL / scale * math.sqrt(share * (1 - share) / count + NORMAL**2 / (4 * count**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def mean_interval(
    values: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]
) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean, for examples of other groups (machines, recordings).

    Examples of a group are alike, so that groups are what is drawn. A large group pulls the mean
    after it: each square is divided by what is left to the others (MacKinnon and White 1985, HC2),
    and degrees of freedom are those of as many groups of one size as weigh the same (Kish 1965).

    Parameters
    ----------
    values
        [N].
    groups
        [N].

    Returns
    -------
    None where the groups weigh less than three of one size.
    """
    mean = float(values.mean())
    off: dict[int, float] = defaultdict(float)
    share: dict[int, float] = defaultdict(float)
    for value, group in zip(values.tolist(), groups.tolist(), strict=True):
        off[group] += (value - mean) / len(values)
        share[group] += 1 / len(values)
    freedom = 1 / math.fsum(each**2 for each in share.values()) - 1
    if freedom < LEAST_FREEDOM:
        return None
    squares = math.fsum(off[group] ** 2 / (1 - share[group]) for group in off)
    half = student(freedom) * math.sqrt(squares)
    return mean - half, mean + half


def student(freedom: float) -> float:
    """Half width of a 95 % interval in standard errors that are estimated (Student's t).

    Right within 3 % from 2 degrees of freedom, within 1 % from 3 (Abramowitz and Stegun, 26.7.5).
    """
    z = NORMAL
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return math.fsum(term / freedom**power for power, term in enumerate(terms))
