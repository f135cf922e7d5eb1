"""Find anomalies without examples of them: learn to recognise transforms of normal windows.

A network learns which of `TRANSFORMS` was applied to a normal window. On the device every window is
as recorded; the less probable the network finds that, the more anomalous the window. It takes one
inference of a classifier.

References
----------
I. Golan and R. El-Yaniv, "Deep Anomaly Detection Using Geometric Transformations", NeurIPS 2018;
L. Bergman and Y. Hoshen, "Classification-Based Anomaly Detection for General Data", ICLR 2020.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from micronas.data import DataSet, Detection, Split, TensorSplit
from micronas.errors import DataError
from micronas.objectives.anomalies import Anomalies
from micronas.tasks.parts import Part
from micronas.tasks.series.augment import augment
from micronas.tasks.series.described import as_inputs, meaning, summarise
from micronas.tasks.series.front_end import LIMIT, Scaler, fit_scaler
from micronas.tasks.series.parts import divide
from micronas.tasks.series.recording import Recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.windows import (
    Windows,
    cut_windows,
    judging_units,
    require_windows,
    units,
)
from micronas.text import listed

_LOUDER, _SLOWER, _ROUGHER = 1.5, 0.8, 0.3


def _smoothed(windows: Tensor, _generator: torch.Generator) -> Tensor:
    padded = F.pad(windows, (0, 0, 1, 1), mode="replicate")
    return F.avg_pool2d(padded, (3, 1), stride=1)


def _slowed(windows: Tensor, _generator: torch.Generator) -> Tensor:
    time = windows.shape[2]
    kept = windows[:, :, : round(_SLOWER * time)]
    return F.interpolate(kept, (time, 1), mode="bilinear", align_corners=True)


def _roughened(windows: Tensor, generator: torch.Generator) -> Tensor:
    return windows + _ROUGHER * torch.randn(windows.shape, generator=generator)


TRANSFORMS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "as recorded": lambda windows, _generator: windows,
    "louder": lambda windows, _generator: _LOUDER * windows,
    "slower": _slowed,
    "smoother": _smoothed,
    "rougher": _roughened,
}
"""Transformations of standardised windows [n, channels, time, 1]; the first is none."""


class _TransformedSplit(Split):
    """Standardised normal windows [n, channels, time, 1] under each transform, which is the label.

    In training, `augment` is applied before the transform.
    """

    def __init__(
        self,
        inputs: Tensor,
        groups: Tensor,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    ) -> None:
        self._inputs, self._augment = inputs, augment
        self.labels = torch.arange(len(TRANSFORMS)).repeat(len(inputs))
        self.groups = groups.repeat_interleave(len(TRANSFORMS))

    def batch(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        inputs = self._inputs[index // len(TRANSFORMS)]
        if generator is not None and self._augment is not None:
            inputs = self._augment(inputs, generator)
        # without a generator, the same transform of a window every time
        source = generator or torch.Generator().manual_seed(0)
        labels, made = self.labels[index], inputs.clone()
        for place, transform in enumerate(TRANSFORMS.values()):
            chosen = labels == place
            if chosen.any():
                made[chosen] = transform(inputs[chosen], source)
        return made.clamp_(-LIMIT, LIMIT)


def load_anomalies(found: Recordings, settings: SeriesSettings) -> DataSet:
    """Return a data set whose classes are `TRANSFORMS`, and whose detection is every test window.

    Recordings labelled `normal` are divided as usual; windows of all others are for test alone.
    Accuracy is that of recognising transforms. Raises DataError if no recording is normal, a part
    has no whole normal window, or float32 would lose a channel's changes.
    """
    stretches = [each for recording in found.recordings for each in recording.stretches()]
    normal = [each for each in stretches if each.label == settings.normal]
    odd = [each for each in stretches if each.label != settings.normal]
    if not normal:
        labels = listed(sorted({each.label for each in odd}))
        raise DataError(
            f"anomalies are found by what is normal, but {found.root} has no recording labelled "
            f"{settings.normal!r} (it has {labels}); set data.normal to the label without any"
        )
    division = divide(normal, settings)
    cut = {part: cut_windows(each, settings, part) for part, each in division.parts.items()}
    for part, own in division.parts.items():
        if own:
            require_windows([settings.normal], cut[part], own, settings, part, found.columns)
    scaler = fit_scaler(np.concatenate(cut["training"].values), found.columns)
    strange = cut_windows(odd, settings, "testing")
    detection = _detection(cut["testing"], strange, cut["training"], scaler)
    summary = summarise(found, settings, division, cut, [settings.normal])
    return DataSet(
        train=_split(cut, "training", scaler, settings),
        validation=_split(cut, "validation", scaler, settings),
        test=_split(cut, "testing", scaler, settings) if cut["testing"].labels else None,
        classes=tuple(TRANSFORMS),
        input=(settings.window, 1, len(found.columns)),
        meaning=meaning(found, settings, scaler),
        summary=f"{summary} Anomalous, for test alone: {len(strange.labels)} windows.",
        detection=detection,
        objective=Anomalies(),
    )


def _split(
    cut: dict[Part, Windows], part: Part, scaler: Scaler, settings: SeriesSettings
) -> _TransformedSplit:
    windows = cut[part]
    moved = partial(augment, settings=settings, scaler=scaler)
    return _TransformedSplit(
        as_inputs(windows, scaler), units(windows), moved if part == "training" else None
    )


def _detection(
    normal: Windows, strange: Windows, training: Windows, scaler: Scaler
) -> Detection | None:
    """Return the windows of the test part, normal ones first; None where either is missing."""
    if not normal.labels or not strange.labels:
        return None
    inputs = torch.cat([as_inputs(normal, scaler), as_inputs(strange, scaler)])
    count = len(inputs)
    # as on the device, every window is as recorded: the class of place 0
    nothing = torch.zeros(count, dtype=torch.long)
    groups = [judging_units(each, training) for each in (normal, strange)]
    return Detection(
        TensorSplit(inputs, nothing, groups=torch.cat(groups)),
        clips=torch.arange(count),
        machines=nothing,
        anomalous=torch.arange(count) >= len(normal.labels),
        names=tuple(TRANSFORMS),
    )
