"""The census: random int8 networks on a simulated Cortex-M4, instructions counted per operator.

TFLM (commit 90b983c2) with CMSIS-NN (4ab83cc3) compiled by GCC 14.2 -O2 and run by QEMU
(mps2-an386): exact instruction counts, not cycles. ``census_ops.csv`` holds 107 networks of the
spaces kws, ad and vww (nine of them with odd widths), ``census_extra_ops.csv`` 147 small ones
made to cover other kernels, ``census_models.csv`` the totals of the first. Each row of
``census_operators.csv`` is a file of one operator, with the arena it took on that core.
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from micronas import resources
from micronas.graph.ir import Graph, Padding, same_output
from micronas.hardware import convolutions, copies, kernels
from micronas.hardware.convolutions import Sweep
from micronas.hardware.elements import reduction
from micronas.hardware.kernels import Work
from testing.builder import Builder
from testing.lone_operators import LoneOperator

_NAMES = {
    "QUANTIZE": "quantize",
    "QUANTIZE_FROM_FLOAT": "quantize_from_float",
    "DEQUANTIZE": "dequantize",
}


@dataclass(frozen=True)
class Measured:
    """One operator of one network: the work its kernel does, and what it took."""

    network: str
    work: Work
    instructions: float


def rows(name: str) -> list[dict[str, str]]:
    """Return the rows of one of the census's files."""
    with (resources.folder("latency_models") / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def operators() -> list[Measured]:
    """Return every measured operator of the census."""
    of_networks = [
        Measured(row["id"], _work(row), float(row["instructions"]))
        for name in ("census_ops", "census_extra_ops")
        for row in rows(name)
        if row["op"] != "SOFTMAX"  # those of the third file see no entry that is negligible
    ]
    alone = [Measured(each.name, each.work, each.instructions) for each in lone_operators()]
    return [*of_networks, *alone]


def lone_operators() -> list[LoneOperator]:
    """Return the operators that were measured alone."""
    return [LoneOperator.of(row) for row in rows("census_operators")]


def by_network(measured: list[Measured]) -> dict[str, list[Measured]]:
    grouped: dict[str, list[Measured]] = defaultdict(list)
    for each in measured:
        grouped[each.network].append(each)
    return dict(grouped)


def space(row: dict[str, str]) -> str:
    """Return the space a network of `census_models` is from, also one of odd widths."""
    return row["space"].removesuffix("_odd")


def network(row: dict[str, str]) -> Graph:
    """Rebuild a network of `census_models`, shapes only."""
    chosen = json.loads(row["arch"])
    match space(row):
        case "kws":
            return _separable(chosen, (10, 4), 12)
        case "ad":
            return _separable(chosen, (3, 3), 4)
    return _bottlenecks(chosen)


def _separable(chosen: dict[str, Any], kernel: tuple[int, int], classes: int) -> Graph:
    builder = Builder((*chosen["res"], 1))
    source = builder.conv(builder.input, "stem", chosen["stem"], kernel)
    for number, (width, stride, kept) in enumerate(chosen["blocks"]):
        if kept:
            source = builder.depthwise(source, f"dw{number}", (3, 3), stride=(stride, stride))
            source = builder.conv(source, f"pw{number}", width)
    return builder.finish(builder.dense(builder.global_average(source, "pool"), "fc", classes))


def _bottlenecks(chosen: dict[str, Any]) -> Graph:
    builder = Builder((*chosen["res"], 1))
    source = builder.conv(builder.input, "stem", chosen["stem"], (3, 3), stride=(2, 2))
    for number, (expansion, width, stride, kept) in enumerate(chosen["blocks"]):
        if kept:
            hidden = builder.conv(source, f"expand{number}", expansion)
            hidden = builder.depthwise(hidden, f"dw{number}", (3, 3), stride=(stride, stride))
            hidden = builder.conv(hidden, f"project{number}", width)
            same = builder.shape(hidden) == builder.shape(source)
            source = builder.add(source, hidden, f"add{number}") if same else hidden
    source = builder.conv(source, "last", chosen["last"])
    return builder.finish(builder.dense(builder.global_average(source, "pool"), "fc", 2))


def _work(row: dict[str, str]) -> Work:
    number = {key: int(row[key]) for key in row if key not in ("id", "op", "instructions")}
    source_size = number["in_h"], number["in_w"]
    size = number["out_h"], number["out_w"]
    stride = number["stride"]
    same = tuple(same_output(each, stride) for each in source_size)
    padding: Padding = "SAME" if same == size else "VALID"
    kernel = number["kernel_h"], number["kernel_w"]
    sweep = Sweep(source_size, size, kernel, (stride, stride), padding)
    source, out = number["in_c"], number["out_c"]
    bits = number.get("weight_bits", 8)
    elements = number["in_h"] * number["in_w"] * number["in_c"]
    outputs = size[0] * size[1] * number["out_c"]
    match row["op"]:
        case "CONV_2D":
            return convolutions.convolution(sweep, source, out, bits=bits)
        case "DEPTHWISE_CONV_2D" if number["in_c"] == number["out_c"]:
            return convolutions.depthwise(sweep, out, bits=bits)
        case "DEPTHWISE_CONV_2D":
            multiplier = number["out_c"] // number["in_c"]
            return convolutions.depthwise_multiplied(sweep, source, out, multiplier)
        case "FULLY_CONNECTED":
            return kernels.dense(1, elements, out, bits=bits)
        case "AVERAGE_POOL_2D" | "MAX_POOL_2D":
            return convolutions.pool(sweep, out, maximum=row["op"] == "MAX_POOL_2D")
        case "MEAN":
            return reduction("mean", (1, *source_size, number["in_c"]), (1, 2), outputs)
        case "ADD":
            return kernels.elementwise("add", outputs)
        case "PAD":
            grown = number["out_c"] - number["in_c"]
            sides = zip(source_size, size, strict=True)
            around = [((more - less) // 2, -(-(more - less) // 2)) for less, more in sides]
            return copies.pad((1, *source_size, number["in_c"]), [(0, 0), *around, (0, grown)])
        case "RESHAPE":
            return copies.reshape(elements)
        case kind:
            return kernels.elementwise(_NAMES[kind], elements)
