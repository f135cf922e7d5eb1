"""Work of kernels with weights: columns, tiles, planes and taps."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from micronas.engine.steps import Call
from micronas.engine.work.done import Done, Terms


def _pointwise(call: Call, written: float) -> Iterator[Done]:
    pixels, depth = call.fields["pixels"], call.fields["depth"]
    tile = call.fields["tile"]
    threes, ones = divmod(pixels, 3)
    yield Done("pointwise", {"calls": 1, "threes": threes, "ones": ones})
    yield _widen(pixels, depth)
    yield from _tile(tile, threes, ones)
    yield clip(tile, written)


def _convolution(call: Call, written: float) -> Iterator[Done]:
    window, tile = call.fields["window"], call.fields["tile"]
    runs, taps = call.fields["runs"], call.fields["taps"]
    height, width, depth = window["in_height"], window["in_width"], window["depth"]
    rows = coordinates(window, "y", window["height"])
    starts = coordinates(window, "x", runs)
    is_in = (rows >= 0) & (rows < height)
    is_cut = (starts < 0) | (starts + taps > width)
    inside, whole = int(is_in.sum()), int((~is_cut).sum())
    run, pixels = taps * depth, rows.shape[0] * starts.shape[0]
    cut = rows.size * starts.size - inside * whole
    threes, ones = divmod(pixels, 3)
    rows_of_output = window["out_height"]
    yield Done("convolution", {"calls": 1, "threes": threes, "ones": ones, "rows": rows_of_output})
    yield Done(
        "column",
        {
            "calls": pixels,
            "rows": pixels * window["height"],
            "above": int((rows < 0).sum()) * starts.shape[0],
            "runs": rows.size * starts.size,
            "cut": cut,
            "left": rows.size * int((starts < 0).sum()),
            "odd": cut * (run % 2),
            "pairs": cut * (run // 2),
            "elements": cut * run,
        },
    )
    yield _widen(inside * whole, run)
    yield from _tile(tile, threes, ones)
    yield clip(tile, written)


def coordinates(window: Mapping[str, int], axis: str, taps: int) -> np.ndarray:
    """Return the coordinates [outputs, taps] that are read."""
    down = axis == "y"
    out, before = window["out_height" if down else "out_width"], window["top" if down else "left"]
    step, apart = window[f"stride_{axis}"], window[f"dilation_{axis}"]
    return np.arange(out)[:, None] * step - before + np.arange(taps) * apart


def _widen(times: float, count: int) -> Done:
    twos = count % 4 // 2
    fours = count // 4
    terms = {"calls": times, "with_fours": times * (fours > 0), "fours": times * fours}
    return Done("widen", {**terms, "twos": times * twos, "odd": times * (count % 2)})


def _tile(tile: Mapping[str, Any], threes: int, ones: int) -> Iterator[Done]:
    """Yield the work of tiles: channels in pairs, elements in fours, two fours per loop."""
    channels, fours = tile["channels"], tile["pairs"] // 2
    pairs, form = -(-channels // 2), tile["form"].removeprefix("&k")
    for name, times, pixels in (("three", threes, 3), ("one", ones, 1)):
        if not times:
            continue
        if form in ("Plain", "Plain4"):
            inner = 2 * fours * times * pixels
            yield Done(
                form.lower(),
                {
                    "calls": times,
                    "pixels": times * pixels,
                    "pairs": inner,
                    "channel_pairs": times * pixels * pairs,
                    "products": inner * pairs,
                    "odd": times * pixels * (channels % 2),
                },
            )
            continue
        loops = -(-fours // 2)
        yield Done(
            f"{name}_{form}",
            {
                "calls": times,
                "channel_pairs": times * pairs,
                "fours": times * pairs * fours,
                "loops": times * pairs * loops,
                "odd": times * (channels % 2),
            },
        )


def clip(limits: Mapping[str, Any], count: float) -> Done:
    words, rest = divmod(count, 4)
    if (limits["low"], limits["high"]) == (-128, 127):
        return Done("clip", {"calls": 1})
    terms = {"used": 1, "with_words": words > 0, "with_rest": rest > 0}
    return Done("clip", {"calls": 1, **terms, "words": words, "rest": rest})


def _depthwise(call: Call, written: float) -> Iterator[Done]:
    window, pitch = call.fields["window"], call.fields["pitch"]
    rows = (window["out_height"] - 1) * window["stride_y"]
    rows += (window["height"] - 1) * window["dilation_y"] + 1
    channels, together = window["depth"], 2 if window["stride_x"] == 1 else 1
    lines = min(rows - window["top"], window["in_height"])
    fours, rest = divmod(min(pitch - window["left"], window["in_width"]), 4)
    yield Done(call.function, {"calls": 1, "channels": channels, "elements": rows * pitch})
    yield Done(
        "take_channel",
        {
            "calls": channels,
            "rows": channels * lines,
            "with_fours": channels * lines * (fours > 0),
            "fours": channels * lines * fours,
            "with_rest": channels * lines * (rest > 0),
            "rest": channels * lines * rest,
        },
    )
    height = channels * window["out_height"]
    steps = height * -(-window["out_width"] // together)
    terms = {"calls": channels, "rows": height, "steps": steps}
    parts = {"channel": channels, "row": height, "step": steps}
    for part, text in zip(parts, assembly_of(call), strict=True):
        terms["instructions"] = terms.get("instructions", 0) + parts[part] * len(text)
        loads = sum(line.startswith(("ldr", "str")) for line in text)
        terms["loads"] = terms.get("loads", 0) + parts[part] * loads
    yield Done(TAPS, terms)
    yield clip(call.fields, written)


TAPS = "depthwise_taps"
"""Name for the functions of all windows of depthwise convolutions."""


def assembly_of(call: Call) -> tuple[list[str], list[str], list[str]]:
    """Return the instructions of a depthwise window that run for each channel, row and step."""
    (text,) = call.generated.values()
    lines = re.findall(r'^ *"(.+)\\n"$', text, re.M)
    places = [lines.index(f"{label}:") for label in range(4)]
    begin, row, step, after, end = (
        lines[first + 1 : last]
        for first, last in zip([-1, *places], [*places, len(lines)], strict=True)
    )
    return begin + end, row + after, step


_WIDE = re.compile(r"(push|pop|ldrs|pkh|sm|ssat|bic|ldrd)|.*(, lsl|\b(r8|r9|r1\d|lr)\b)")
"""Instructions of four bytes; others of these functions have two."""


def text_of(call: Call) -> Terms:
    """Return the counts of a depthwise window's instructions on which its bytes depend."""
    lines = [line for part in assembly_of(call) for line in part]
    wide = sum(_WIDE.match(line) is not None and line != "add r2, r9" for line in lines)
    return {"instructions": len(lines), "wide": wide}


def _reference(call: Call, written: float) -> Iterator[Done]:
    window, fields = call.fields["window"], call.fields
    taps, pixels = window["height"] * window["width"], window["out_height"] * window["out_width"]
    channels = fields["channels"]
    terms = {"calls": 1, "pixels": pixels, "outputs": pixels * channels}
    if call.function == "reference_transposed":
        yield Done(call.function, terms | _gathered(window, channels))
        return
    by_channel = call.function == "reference_depthwise"
    inner = 1 if by_channel else window["depth"] // fields["groups"]
    rows, columns = inside(window, "y"), inside(window, "x")
    products = channels * inner
    terms |= {
        "rows": pixels * channels * window["height"],
        "taps": pixels * channels * taps,
        "below": rows * window["out_width"] * window["width"] * channels,
        "within": rows * columns * channels,
        "inside": rows * columns * products,
        "macs": pixels * taps * products,
    }
    yield Done(call.function, terms)


def inside(window: Mapping[str, Any], axis: str) -> int:
    """Return the number of taps of all outputs inside the map, along one dimension."""
    down = axis == "y"
    places = coordinates(window, axis, window["height" if down else "width"])
    return int(((places >= 0) & (places < window["in_height" if down else "in_width"])).sum())


def _gathered(window: Mapping[str, int], channels: int) -> Terms:
    """Return rows and taps to which a transposed convolution's strides lead, and those inside."""
    counts = []
    for axis, size, before in (("y", "height", "top"), ("x", "width", "left")):
        step = window[f"stride_{axis}"]
        outputs = np.arange(window[f"out_{size}"])[:, None] + window[before]
        places = outputs - np.arange(window[size])
        led, source = places % step == 0, places // step
        inside = led & (source >= 0) & (source < window[f"in_{size}"])
        counts.append([int(each.sum()) for each in (led.any(axis=1), led, inside)])
    (with_rows, rows, rows_inside), (with_taps, taps, taps_inside) = counts
    found = {
        "with_rows": with_rows * window["out_width"],
        "rows": rows * window["out_width"],
        "rows_inside": rows_inside * window["out_width"],
        "with_taps": rows_inside * with_taps,
        "taps": rows_inside * taps,
        "taken": rows_inside * taps_inside,
        "macs": rows_inside * taps_inside * window["depth"],
    }
    return {name: channels * amount for name, amount in found.items()}


WEIGHTED: Mapping[str, Callable[[Call, float], Iterator[Done]]] = {
    "Pointwise": _pointwise,
    "Convolution": _convolution,
    "Depthwise": _depthwise,
    "Reference": _reference,
}
