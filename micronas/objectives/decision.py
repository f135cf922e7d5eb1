"""Choose by validation data when a device believes a label."""

from typing import Any

import numpy as np
import numpy.typing as npt

_RIGHT = 0.95
"""Share of believed labels that should be right."""
_SMOOTHED = ("mfcc", "log-mel")
"""Inputs that come as streams of overlapping windows."""
_SMOOTHING = 3
"""Inferences that are averaged there: over six tenths of a second of speech."""


def decision(
    codes: npt.NDArray[np.int8], labels: npt.NDArray[np.int64], *, features: object
) -> dict[str, Any]:
    """Return how far the best label has to be ahead of the next to be believed.

    That margin is the smallest by which 95 % of the believed labels are right; where there is none,
    the one by which most are. It is the threshold of every label.

    Parameters
    ----------
    codes
        Outputs of the network on the validation part, [N, classes].
    labels
        [N].
    features
        What the input is, as the model file says it.

    Returns
    -------
    dict
        ``thresholds`` and ``smoothing`` of `micronas.streaming.events.Detector`, and of the
        validation part the shares that are ``believed`` and, of these, ``right``.
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
    # nothing is gained by a margin below the first that anything reaches
    margin = 1 if chosen == 0 else int(margins[chosen])
    return {
        "thresholds": [margin] * codes.shape[1],
        "smoothing": smoothing,
        "believed": float((ahead >= margin).mean()),
        "right": shares[chosen],
    }
