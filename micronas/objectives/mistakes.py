"""Errors for the report: misclassified examples, and the choice of a threshold."""

import base64
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from micronas.arrays import Floats
from micronas.splits import Split

_SHOWN = 12
_LONGEST = 256
"""Most samples of a drawn series, and longest side of a picture."""
_CHANNELS = 6
"""Most lines of a drawn series."""
_HEARD_HZ = 8_000
_MU = 255
_POINTS = 60
_RATE = 16_000


def mistakes(split: Split, answers: Floats) -> list[dict[str, Any]]:
    """Describe the most certain wrong answers, so that a page can draw and play them.

    A split that has a source is drawn in the shape of that.

    Parameters
    ----------
    answers
        Probabilities [N, classes].

    Returns
    -------
    list of dict
        ``label`` and ``answer``, class numbers; ``certainty``; ``kind``: ``series`` with ``values``
        [channels][samples], or ``picture`` with ``rows`` [1 or 3 colours][height][width] of 0 to
        255, in which channels of a series are rows where they are too many for lines; ``sound``,
        where the split has waveforms: mu-law at 8 kHz, in base64, see `mu_law`.
    """
    labels = split.labels.numpy()
    given = answers.argmax(1)
    wrong = np.flatnonzero(given != labels)
    certain = answers[wrong, given[wrong]]
    chosen = wrong[np.argsort(-certain, kind="stable")][:_SHOWN]
    if not len(chosen):
        return []
    shown = split.source or split
    inputs = shown.batch(torch.from_numpy(chosen), None).numpy()
    sounds = _sounds(shown, chosen)
    return [
        {
            "label": int(labels[place]),
            "answer": int(given[place]),
            "certainty": round(float(answers[place, given[place]]), 4),
            **_drawn(values),
            **({"sound": sounds[row]} if sounds else {}),
        }
        for row, (place, values) in enumerate(zip(chosen, inputs, strict=True))
    ]


def thresholds(
    split: Split,
    answers: Floats,
    *,
    names: Sequence[str],
    ignored: Collection[str],
    seconds: float | None = None,
) -> dict[str, Any] | None:
    """Return misses and false accepts over the threshold of acceptance.

    An example is accepted where the largest probability of a class not in `ignored` reaches the
    threshold. A miss is an example of such a class that is not accepted as its own.

    Returns
    -------
    dict or None
        ``ignored``, names of classes that must not be accepted; ``seconds`` of an example, or None;
        ``points`` of ``threshold``, ``misses`` and ``false_accepts``, shares of 0 to 1. None where
        all examples, or none, are of ignored classes.
    """
    outside_of = [place for place, name in enumerate(names) if name in ignored]
    labels = split.labels.numpy()
    outside = np.isin(labels, outside_of)
    if not outside_of or not outside.any() or outside.all():
        return None
    counted = answers.copy()
    counted[:, outside_of] = -1.0
    best, score = counted.argmax(1), counted.max(1)
    levels = np.unique(np.quantile(score, np.linspace(0, 1, _POINTS)))
    return {
        "ignored": [names[place] for place in outside_of],
        "seconds": seconds,
        "points": [
            {
                "threshold": round(float(level), 4),
                "misses": float(1 - ((score >= level) & (best == labels))[~outside].mean()),
                "false_accepts": float((score >= level)[outside].mean()),
            }
            for level in levels
        ],
    }


def _drawn(values: npt.NDArray[np.float32]) -> Mapping[str, Any]:
    """Describe an input [channels, height, width]: a series where its width is 1."""
    if values.shape[2] == 1 and len(values) > _CHANNELS:
        values = values.transpose(2, 0, 1)
    if values.shape[2] == 1:
        step = -(-values.shape[1] // _LONGEST)
        kept = values[:, ::step, 0]
        return {"kind": "series", "values": np.round(kept.astype(float), 3).tolist()}
    down, across = (-(-side // _LONGEST) for side in values.shape[1:])
    kept = values[:, ::down, ::across]
    low, high = float(kept.min()), float(kept.max())
    codes = np.round(255 * (kept - low) / (high - low or 1.0)).astype(int)
    planes = codes[:3] if len(codes) >= 3 else codes[:1]
    return {"kind": "picture", "rows": planes.tolist()}


def _sounds(split: Split, index: npt.NDArray[np.int64]) -> list[str]:
    """Return the examples' sounds; [] where the split has no waveforms."""
    hear = getattr(split, "waveforms", None)
    if hear is None:
        return []
    waveforms = hear(torch.from_numpy(index), None).numpy()
    return [mu_law(each) for each in waveforms]


def mu_law(waveform: npt.NDArray[np.floating]) -> str:
    """Return a waveform at 16 kHz in [-1, 1] as mu-law at 8 kHz, in base64, for a page to play."""
    heard = waveform[: len(waveform) // 2 * 2].reshape(-1, _RATE // _HEARD_HZ).mean(1)
    codes = np.sign(heard) * np.log1p(_MU * np.abs(heard)) / np.log1p(_MU)
    return base64.b64encode(np.round(127.5 + 127.5 * codes).astype(np.uint8).tobytes()).decode()
