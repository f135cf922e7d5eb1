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

    The margin is the smallest by which 95 % of the believed labels are right; where there is none,
    the one by which most are.

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
        ``margin`` in codes, ``smoothing`` in inferences, and of the validation part the shares
        that are ``believed`` and, of these, ``right``.
    """
    smoothing = _SMOOTHING if features in _SMOOTHED else 1
    if codes.shape[1] < 2 or not len(codes):
        return {"margin": 0, "smoothing": smoothing, "believed": 1.0, "right": None}
    ordered = np.sort(codes.astype(np.int64), axis=1)
    ahead, right = ordered[:, -1] - ordered[:, -2], codes.argmax(axis=1) == labels
    margins = np.unique(ahead)
    shares = [float(right[ahead >= margin].mean()) for margin in margins]
    enough = [index for index, share in enumerate(shares) if share >= _RIGHT]
    chosen = enough[0] if enough else int(np.argmax(shares))
    # nothing is gained by a margin below the first that anything reaches
    margin = 0 if chosen == 0 else int(margins[chosen])
    return {
        "margin": margin,
        "smoothing": smoothing,
        "believed": float((ahead >= margin).mean()),
        "right": shares[chosen],
    }
