"""Draw a network's arena over time: with TFLM, with the engine, and with its first maps row by row.

    python -m benchmarks.engine_arena [ARCHITECTURE] [--figure docs/figures/arena.svg]

Time goes from left to right, an operator a step; a box is a buffer at its place in the arena.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from micronas.engine.layout import Layout, best_layout
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN
from micronas.space.space import Space
from testing.graphs import quantize_randomly

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 250, 230, 56, 52, 34
_STYLE = """
    text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; }
    text { font-size: 13px; fill: #1c2430; }
    .small { font-size: 11px; fill: #55606e; }
    .activation { fill: #cdddf8; stroke: #2563c4; }
    .work { fill: #f6e3c2; stroke: #b0741a; }
    .kept { fill: #e3e6ea; stroke: #8a94a0; }
    .axis { stroke: #55606e; }"""


@dataclass(frozen=True)
class _Box:
    kind: str
    first: float
    last: float
    """Steps, the last one included."""
    offset: int
    size: int


@dataclass(frozen=True)
class _Panel:
    title: str
    total: int
    boxes: Sequence[_Box]


def main(name: str, figure: Path | None) -> None:
    graph = quantize_randomly(Space.load(name).graph(), 1)
    panels = [
        _tflm(graph),
        _engine("the engine", best_layout(graph, None)),
        _engine("row by row", best_layout(graph, 0)),
    ]
    for panel in panels:
        print(f"{panel.title}: {panel.total:,} bytes")
    if figure is not None:
        figure.write_text("\n".join(_drawn(name, panels, len(graph.ops))) + "\n", encoding="utf-8")


def _tflm(graph: Graph) -> _Panel:
    plan, end = CMSIS_NN.plan(graph), len(graph.ops) - 1
    boxes = [
        # TFLM's first step makes the inputs
        _Box(
            "work" if each.is_scratch else "activation",
            max(each.first - 1, 0),
            max(each.last - 1, 0),
            each.offset,
            each.size,
        )
        for each in plan.buffers
    ]
    boxes.append(_Box("kept", 0, end, plan.head, plan.tail))
    return _Panel("TFLM, CMSIS-NN", plan.total, boxes)


def _engine(title: str, layout: Layout) -> _Panel:
    end, streamed = len(layout.steps) - 1, layout.streamed - 1
    boxes = [
        _Box(
            "work" if name.startswith("/") else "activation",
            0 if each.first <= max(streamed, 0) else each.first,
            min(each.last, end),
            layout.places[name],
            each.size,
        )
        for name, each in layout.buffers.items()
    ]
    return _Panel(title, layout.plan.size, boxes)


def _drawn(name: str, panels: Sequence[_Panel], steps: int) -> Iterator[str]:
    most = max(panel.total for panel in panels)
    width = _LEFT + len(panels) * (_WIDTH + _GAP)
    said = "; ".join(f"{panel.title} {panel.total} bytes" for panel in panels)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 40}" '
        f'role="img" aria-label="Arena of {escape(Path(name).name)} over time: {escape(said)}.">'
    )
    yield f"  <style>{_STYLE}\n  </style>"
    yield f'  <rect width="{width}" height="{_TOP + _HEIGHT + 40}" rx="12" fill="#f6f8fa"/>'
    for place, panel in enumerate(panels):
        left = _LEFT + place * (_WIDTH + _GAP)
        total = f"{panel.total / 1024:.1f} KB"
        yield f'  <text x="{left}" y="30">{escape(panel.title)}: {total}</text>'
        for box in panel.boxes:
            x = left + box.first / steps * _WIDTH
            wide = (box.last - box.first + 1) / steps * _WIDTH
            high = box.size / most * _HEIGHT
            y = _TOP + _HEIGHT - box.offset / most * _HEIGHT - high
            yield (
                f'  <rect class="{box.kind}" fill-opacity=".7" x="{x:.1f}" y="{y:.1f}" '
                f'width="{wide:.1f}" height="{high:.1f}"/>'
            )
        bottom = _TOP + _HEIGHT
        yield f'  <path class="axis" d="M{left} {_TOP}V{bottom}H{left + _WIDTH}" fill="none"/>'
        yield f'  <text class="small" x="{left}" y="{bottom + 22}">operators, first to last</text>'
    yield f'  <text class="small" x="8" y="{_TOP + 8}">{most / 1024:.0f} KB</text>'
    yield f'  <text class="small" x="8" y="{_TOP + _HEIGHT}">0</text>'
    yield "</svg>"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("architecture", nargs="?", default="published/ds_cnn_s")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    main(arguments.architecture, arguments.figure)
