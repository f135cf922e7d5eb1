"""Table of the quantisation error of each layer. Imports no torch."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from micronas.text import percent, table

if TYPE_CHECKING:
    from micronas.evaluation.layers import LayerError


def layers_table(
    errors: "Sequence[LayerError]", culprit: "LayerError | None", *, width: int | None = None
) -> str:
    """Return the table of each layer's signal-to-noise ratios, with a mark at `culprit`.

    `width` is the most columns of text that it may take.
    """
    rows = [
        [
            error.name,
            error.kind,
            _decibels(error.cumulative.sqnr_db),
            _decibels(error.local.sqnr_db),
            _decibels(error.local.median_channel_db),
            _decibels(error.local.worst_channel_db),
            "-" if error.local.worst_channel is None else str(error.local.worst_channel),
            percent(error.saturated),
            "<-" if error is culprit else "",
        ]
        for error in errors
    ]
    header = ["layer", "op", "so far", "here", "median channel", "worst", "channel", "saturated"]
    drop = ("channel", "worst", "median channel", "op")
    return table([*header, ""], rows, width=width, drop=drop)


def _decibels(ratio: float) -> str:
    return f"{ratio:.1f} dB" if math.isfinite(ratio) else "exact" if ratio > 0 else "lost"
