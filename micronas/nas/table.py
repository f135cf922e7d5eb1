"""Show the networks that had a trial: as text, as a notebook's table, as pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from micronas.errors import ConfigError, MicronasError
from micronas.nas.candidate import Candidate
from micronas.objectives.base import Measure
from micronas.quantities import format_bytes, format_macs
from micronas.text import html_table, quantity, table, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Picture = Literal["front", "history", "arena"]
_HEADER = ("origin", "network", "MACs", "latency", "arena", "epochs", "loss")


def _candidate_rows(candidates: Sequence[Candidate], measure: Measure) -> list[list[str]]:
    """Return the cells of `_HEADER` and of the measure, one row per network, the best first."""
    return [
        [
            each.origin,
            str(each),
            format_macs(each.costs.macs),
            f"{each.costs.latency_ms:.0f} ms",
            format_bytes(each.costs.arena_bytes),
            str(each.trial_epochs),
            "-" if each.trial_loss is None else quantity(each.trial_loss, ""),
            "-" if each.trial_score is None else quantity(each.trial_score, measure.unit),
        ]
        for each in candidates
    ]


def candidates_text(
    candidates: Sequence[Candidate], measure: Measure, *, width: int | None = None
) -> str:
    """Return a table for a terminal, at most `width` wide, and a line on its order."""
    compared = sum(len(each.comparisons) for each in candidates)
    said = (
        f"sorted by epochs reached, then loss, on the ranking part; {len(candidates)} networks, "
        f"{compared} comparisons"
    )
    shown = table(
        (*_HEADER, measure.name),
        _candidate_rows(candidates, measure),
        width=width,
        drop=("MACs", "epochs", "arena", "loss"),
        wrap="network",
    )
    return f"{shown}\n{wrapped(said, width)}"


def candidates_html(candidates: Sequence[Candidate], title: str, measure: Measure) -> str:
    """Return a table for a notebook."""
    return html_table((*_HEADER, measure.name), _candidate_rows(candidates, measure), title=title)


def plot(
    candidates: Sequence[Candidate],
    history: Sequence[dict[str, float]],
    kind: Picture,
    axes: "Axes | None",
    measure: Measure,
) -> "Axes":
    """Draw trials against a cost, or the supernet's loss; needs matplotlib.

    Raises MicronasError without it, ConfigError if the kind is unknown or there was no supernet.
    """
    if kind not in ("front", "history", "arena"):
        raise ConfigError(f"a picture must be front, history or arena, but got {kind!r}")
    if kind == "history" and not history:
        raise ConfigError("a history needs a supernet, but this strategy trained none; plot front")
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise MicronasError(
            "pictures are drawn by matplotlib, which is not installed; pip install matplotlib"
        ) from error
    if axes is None:
        _, axes = pyplot.subplots()
    if kind == "history":
        axes.plot([row["step"] for row in history], [row["loss"] for row in history])
        axes.set(xlabel="step", ylabel="loss of the supernet")
        return axes
    is_front = kind == "front"
    size, unit = (100, "%") if measure.unit == "share" else (1, measure.unit)
    for origin in dict.fromkeys(each.origin for each in candidates):
        own = [each for each in candidates if each.origin == origin]
        cost: list[Any] = [
            each.costs.latency_ms if is_front else each.costs.arena_bytes / 1e3 for each in own
        ]
        axes.scatter(cost, [size * (each.trial_score or 0.0) for each in own], label=origin)
    axes.set(
        xlabel="latency, ms" if is_front else "arena, KB",
        ylabel=f"trial {measure.name}, {unit}".strip(", "),
    )
    axes.legend()
    return axes
