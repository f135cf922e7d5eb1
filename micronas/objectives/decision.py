"""Choose on validation data the margin at which a device accepts a label."""

from typing import Any

import numpy as np
import numpy.typing as npt

_RIGHT = 0.95
"""Wanted share of right ones among accepted labels."""
_SMOOTHED = ("mfcc", "log-mel")
"""Kinds of input that are streams of overlapping windows."""
_SMOOTHING = 3
"""Number of inferences averaged in streams: over six tenths of a second of speech."""


def decision(
    codes: npt.NDArray[np.int8], labels: npt.NDArray[np.int64], *, features: object
) -> dict[str, Any]:
    """Return the lead over the second best at which the best label is accepted.

    It is the smallest margin at which 95 % of the accepted labels are right, or else the margin
    with the largest share. All labels have it as their threshold.

    Parameters
    ----------
    codes
        Outputs of the network on the validation part [N, classes].

    Returns
    -------
    dict
        ``thresholds`` and ``smoothing`` of `micronas.streaming.events.Detector`; ``believed``, the
        share of the validation part that is accepted, and ``right``, the share of right ones among
        these.
    """
    smoothing = _SMOOTHING if features in _SMOOTHED else 1
    ordered = np.sort(codes.astype(np.int64), axis=1)[:, -2:]
    ahead, right = np.ptp(ordered, axis=1), codes.argmax(axis=1) == labels
    if not ahead.any():
        thresholds = [1] * codes.shape[1]
        return {"thresholds": thresholds, "smoothing": smoothing, "believed": 0.0, "right": None}
    margins = np.unique(ahead[ahead > 0])
    shares = [float(right[ahead >= margin].mean()) for margin in margins]
    enough = [index for index, share in enumerate(shares) if share >= _RIGHT]
    chosen = enough[0] if enough else int(np.argmax(shares))
    # the first margin accepts the same examples as 1
    margin = 1 if chosen == 0 else int(margins[chosen])
    return {
        "thresholds": [margin] * codes.shape[1],
        "smoothing": smoothing,
        "believed": float((ahead >= margin).mean()),
        "right": shares[chosen],
    }
