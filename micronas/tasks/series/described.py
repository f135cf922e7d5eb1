"""Descriptions of a series data set: inputs, their meaning for the device, a summary."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from torch import Tensor

from micronas.tasks.parts import Part, in_two
from micronas.tasks.series.front_end import LIMIT, Scaler
from micronas.tasks.series.labels import bin_names
from micronas.tasks.series.parts import Division
from micronas.tasks.series.recording import COUNTING, Recordings
from micronas.tasks.series.settings import SeriesSettings
from micronas.tasks.series.times import RATES_DIFFER
from micronas.tasks.series.windows import Windows
from micronas.tasks.spelling import same_but_for_case
from micronas.text import listed

_LISTED, _COLUMNS = 5, 32


def as_inputs(windows: Windows, scaler: Scaler) -> Tensor:
    """Return standardised windows float32 [n, channels, time, 1]."""
    stacked = torch.from_numpy(np.stack(windows.values, dtype=np.float32))
    return scaler.apply(stacked.transpose(1, 2).unsqueeze(3).contiguous())


def meaning(found: Recordings, settings: SeriesSettings, scaler: Scaler) -> dict[str, object]:
    """Describe the input for the device: ``(sample - mean) / deviation``, limited."""
    rates = [each.rate_hz for each in found.recordings if each.rate_hz]
    rate: dict[str, object] = {"rate_hz": float(f"{median(rates):.4g}")} if rates else {}
    return {
        "features": "series",
        "columns": list(found.columns),
        **rate,
        "window": settings.window,
        "mean": list(scaler.mean),
        "deviation": list(scaler.deviation),
        "limit": LIMIT,
    }


def summarise(
    found: Recordings,
    settings: SeriesSettings,
    division: Division,
    cut: dict[Part, Windows],
    classes: Sequence[str],
    every: int | None = None,
) -> str:
    """Return one paragraph on the recordings read, their division, and those left out."""
    recordings = found.recordings
    seconds = [len(each.values) for each in recordings]
    rates = sorted(each.rate_hz for each in recordings if each.rate_hz)
    rate = f" at {median(rates):.4g} Hz" if rates else ""
    least, most = f"{min(seconds):,}", f"{max(seconds):,}"
    sizes = f"{least if least == most else f'{least} to {most}'} samples{rate}"
    many = "1 recording" if len(recordings) == 1 else f"{len(recordings):,} recordings"
    said = [
        f"{many} in {found.root} ({found.layout}), {sizes}; "
        f"{len(found.columns)} channels: {listed(found.columns, _COLUMNS)}.",
        f"Divided {division.how}. "
        + "; ".join(
            f"{len(windows.labels)} windows for {part} ({_counted(windows.labels, classes)})"
            for part, windows in cut.items()
            if windows.labels
        )
        + f"; {settings.window} samples each.",
    ]
    if not cut["testing"].labels:
        said.append("There is no test part: figures will be those of validation.")
    if every is not None:
        judge = cut["testing"] if cut["testing"].labels else cut["validation"]
        which = "every sample" if every == 1 else f"one sample in {every}"
        over = f"over {len(judge.labels)} windows that end at {which}"
        said.append(
            f"A window has the targets of its last sample: figures are {over}."
            if settings.targets
            else "Labels change inside recordings, and a window has the label of its last sample: "
            f"accuracy is {over}; {sum(judge.within)} of them lie within one label. A group that "
            "names takes (data.group) ends recordings where they are not continuous."
        )
    whole = settings.window  # shorter stretches are alike by chance
    shared = in_two(
        *(
            {hash(each.values.tobytes()) for each in own if len(each.values) >= whole}
            for own in division.parts.values()
        )
    )
    if shared:
        said.append(f"{shared} recordings are in two parts: figures will look too good.")
    if division.warning:
        said.append(division.warning)
    if settings.is_even:
        filled = sum(each.filled for each in recordings)
        gaps = "" if settings.fill is None else f", {filled:,} samples filled"
        said.append(f"Samples are at equal steps of time{gaps}.")
    if rates and rates[-1] > (1 + RATES_DIFFER) * rates[0]:
        said.append(
            f"Rates differ, {rates[0]:.4g} to {rates[-1]:.4g} Hz, and nothing is resampled: "
            f"the network will hear other speeds; data.rate={rates[0]:.4g} brings all to one."
        )
    assumed = sorted({each.assumed for each in recordings if each.assumed})
    if assumed:
        said.append(
            f"The column of time has no unit in its name and is taken as {listed(assumed)}: name "
            "it time_s if it counts seconds."
        )
    counting = found.counting()
    if counting:
        said.append(f"{listed(counting, _COLUMNS)} {COUNTING}.")
    said += same_but_for_case({label for each in recordings for label in each.labels})
    unused = [name for name in bin_names(settings) if name not in classes]
    if unused and settings.goal == "classes":
        said.append(f"No sample lies in {listed(unused)}.")
    if found.left_out:
        columns = (f"{name} ({why})" for name, why in found.left_out.items())
        said.append(f"Left out, columns: {listed(columns, _COLUMNS)}.")
    short = [name for windows in cut.values() for name in windows.short]
    missing = sum(windows.with_nan.total() for windows in cut.values())
    for what, names in (
        (f"shorter than a window of {settings.window}", short),
        ("unreadable", found.unreadable),
    ):
        if names:
            said.append(f"Left out, {what}: {len(names)} ({listed(names, _LISTED)}).")
    if found.unlabelled:
        said.append(f"Without a label: {found.unlabelled:,} samples.")
    if missing:
        said.append(f"Left out, with missing values: {missing} windows.")
    return " ".join(said)


def _counted(labels: Sequence[str], classes: Sequence[str]) -> str:
    counts = Counter(labels)
    return listed((f"{counts[label]} {label}" for label in classes if counts[label]), _COLUMNS)
