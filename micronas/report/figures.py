"""Figures of trials, training and fronts for a paper: SVG and PNG."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micronas.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (6.0, 4.0)
"""Width and height in inches."""
_DPI = 200
_COSTS = {
    "latency_ms": ("latency", "latency, ms", 1.0),
    "sram_bytes": ("sram", "SRAM, KB", 1e3),
    "flash_bytes": ("flash", "flash, KB", 1e3),
}
"""Name in the file, label of the axis, and divisor of values, by cost."""
_LIMITED = {name: label.split(",")[0] for name, label, _ in _COSTS.values()}
_PHASES = {"train": "float", "quantize": "int8 in the loop"}


def write_figures(data: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the figures of a report's data; the same data gives the same bytes of SVG.

    A single run has ``trials`` (score over latency) and ``training``; with gates also ``costs``
    (expected ones over steps, as shares of their limits) and ``gates``; several runs have
    ``front_latency`` and others, for each task and measure.

    Raises
    ------
    ModuleNotFoundError
        If matplotlib is not installed.
    DataError
        If there is nothing to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    found: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    with rc_context({"svg.hashsalt": "micronas", "svg.fonttype": "none"}):
        for name, draw in _of_one(data) if data["kind"] == "run" else _of_several(data):
            figure = Figure(figsize=_SIZE, layout="constrained")
            axes = figure.subplots()
            axes.grid(alpha=0.3)
            draw(axes)
            if len(axes.get_legend_handles_labels()[0]) > 1:
                axes.legend(frameon=False)
            for ending, more in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": _DPI})):
                found.append(folder / f"{name}.{ending}")
                figure.savefig(found[-1], **more)
    if not found:
        raise DataError(
            "figures need trials or epochs that were written down, but there are none; run the "
            "same command again, which writes them"
        )
    return found


def _of_one(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    tried = data["candidates"]
    known = ("latency_ms", "trial_score")
    rows = [row for row in tried.get("rows", ()) if None not in map(row.get, known)]
    if rows:
        measure = tried["measure"]
        size, label = _axis(measure["name"], measure["unit"])

        def trials(axes: "Axes") -> None:
            for kind in dict.fromkeys((row["origin"], row["trial_epochs"]) for row in rows):
                own = [row for row in rows if (row["origin"], row["trial_epochs"]) == kind]
                axes.scatter(
                    [row["latency_ms"] for row in own],
                    [size * row["trial_score"] for row in own],
                    label="{}, {} epochs".format(*kind),
                )
            axes.set(xlabel="latency, ms", ylabel=f"trial {label}")

        yield "trials", trials
    training = data["training"]
    if "phases" in training:

        def losses(axes: "Axes") -> None:
            first = 1
            for phase in training["phases"]:
                values = [epoch["loss"] for epoch in phase["epochs"]]
                name = _PHASES.get(phase["name"], phase["name"])
                axes.plot(range(first, first + len(values)), values, label=f"training, {name}")
                first += len(values)
            axes.set(xlabel="epoch", ylabel="loss")

        yield "training", losses
    if "rounds" in data["search"].get("gates", {}):
        yield "costs", partial(_costs, data["search"])
        yield "gates", partial(_gates, data["search"])


def _costs(search: Mapping[str, Any], axes: "Axes") -> None:
    for name, shares in search["expected"].items():
        axes.plot(search["step"], shares, label=f"expected {_LIMITED.get(name, name)}")
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="step", ylabel="share of the limit", yscale="log")


def _gates(search: Mapping[str, Any], axes: "Axes") -> None:
    """Draw the probability of each option (rows) after each round of gates (columns)."""
    decisions = search["gates"]["decisions"]
    rounds = [
        [value for options in each for value in options] for each in search["gates"]["rounds"]
    ]
    names = [f"{each['name']} {option}" for each in decisions for option in each["options"]]
    axes.figure.set_size_inches(_SIZE[0], 1 + 0.11 * len(names))  # type: ignore[union-attr]
    picture = axes.imshow(
        [*zip(*rounds, strict=True)], aspect="auto", vmin=0, vmax=1, interpolation="none"
    )
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    places = sorted({round(i * (len(rounds) - 1) / 5) for i in range(6)})
    axes.set_xticks(places, [f"{search['step'][place]:.0f}" for place in places])
    axes.set_xlabel("step; 0: warm-up")
    axes.figure.colorbar(picture, label="probability")


def _of_several(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    rows = data["rows"]
    for place, group in enumerate(data["groups"]):
        for cost, (name, _, _) in _COSTS.items():
            draw = partial(_fronts, rows, group, cost)
            yield f"front_{name}" + f"_{place + 1}" * (len(data["groups"]) > 1), draw


def _fronts(
    rows: Sequence[Mapping[str, Any]], group: Mapping[str, Any], cost: str, axes: "Axes"
) -> None:
    _, label, divisor = _COSTS[cost]
    size, measured = _axis(group["score_name"], group["unit"])

    def points(places: Sequence[int]) -> tuple[list[float], list[float]]:
        shown = [rows[place] for place in places]
        return [row[cost] / divisor for row in shown], [size * row["score"] for row in shown]

    for number, board in enumerate(group["boards"]):
        own = [place for place in group["runs"] if rows[place]["board"] == board["board"]]
        axes.scatter(*points(own), label=board["board"], color=f"C{number}")
        axes.step(*points(board["fronts"][cost]), where="post", color=f"C{number}")
    axes.set(xlabel=label, ylabel=measured)


def _axis(name: str, unit: str) -> tuple[float, str]:
    """Return the factor of a measure, and the label of its axis."""
    size, of = (100.0, "%") if unit == "share" else (1.0, unit)
    return size, f"{name}, {of}".removesuffix(", ")
