"""Fit the latency models of the STM32 boards to MicroNets' Table 4 and write their YAML files.

Run from anywhere: ``python benchmarks/fit_boards.py`` prints every fit, with ``--write`` it also
writes ``latency_models/*.yaml``. Counts are the true ones of the published architectures (arXiv
2010.11267, Table 5 and the model files of ARM's ML-zoo): the paper's own operation counts of the
keyword networks use unrounded spatial sizes and are about 2 % lower.
"""

import argparse
import csv
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
import yaml

from micronas import resources
from micronas.files import write_atomically
from micronas.graph.builder import Builder
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.hardware.board import OTHER, Board, LatencyModel, Percent, Reserved
from micronas.hardware.latency import Fit, LinearLatency, fit, mean_worst_percent

Chain = Sequence[tuple[int, int]]
"""Width and stride of each depthwise-separable block."""
Bottlenecks = Sequence[tuple[int, int, int]]
"""Expansion width, output width and stride of each inverted bottleneck."""

_SAME_STAGE = frozenset({2, 4, 5, 7, 8, 9, 11, 12, 14, 15})  # of MobileNetV2's 17 bottlenecks


def keyword_network(stem: int, blocks: Chain, *, classes: int = 12) -> Graph:
    """Return a network of the keyword family: 49x10 input, 10x4 stem at stride 1."""
    return _separable((49, 10, 1), stem, (10, 4), blocks, classes)


def anomaly_network(stem: int, blocks: Chain) -> Graph:
    """Return a network of the anomaly family: 32x32 input, 3x3 stem at stride 1."""
    return _separable((32, 32, 1), stem, (3, 3), blocks, 8)


def visual_network(size: int, stem: int, blocks: Bottlenecks) -> Graph:
    """Return a network of the visual wake word family, residuals padded as in the files."""
    builder = Builder((size, size, 1))
    source = builder.conv(builder.input, "stem", stem, (3, 3), stride=(2, 2), activation="RELU6")
    for number, (expansion, width, stride) in enumerate(blocks):
        hidden = builder.conv(source, f"expand{number}", expansion, activation="RELU6")
        hidden = builder.depthwise(
            hidden, f"depthwise{number}", (3, 3), stride=(stride, stride), activation="RELU6"
        )
        hidden = builder.conv(hidden, f"project{number}", width)
        if number in _SAME_STAGE:
            hidden = builder.add(source, hidden, f"add{number}")
        source = hidden
    source = builder.conv(source, "last", 128, activation="RELU6")
    return _classify(builder, source, 2)


def person_detection() -> Graph:
    """Return TFLM's person detection example: MobileNetV1 at width 0.25, 96x96 gray."""
    builder = Builder((96, 96, 1))
    source = builder.conv(builder.input, "stem", 8, (3, 3), stride=(2, 2), activation="RELU6")
    widths = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)]
    widths += [(128, 1)] * 5 + [(256, 2), (256, 1)]
    graph = _classify(builder, _blocks(builder, source, widths), 2)
    # the file's stem is a depthwise convolution of multiplier 8, which counts the same MACs
    stem = replace(graph.ops[0], kind="DEPTHWISE_CONV_2D")
    weights = replace(graph.tensors["stem/weights"], shape=(1, 3, 3, 8))
    return replace(
        graph, ops=(stem, *graph.ops[1:]), tensors={**graph.tensors, "stem/weights": weights}
    )


def _separable(
    size: tuple[int, int, int], stem: int, kernel: tuple[int, int], blocks: Chain, classes: int
) -> Graph:
    builder = Builder(size)
    source = builder.conv(builder.input, "stem", stem, kernel, activation="RELU")
    return _classify(builder, _blocks(builder, source, blocks), classes)


def _blocks(builder: Builder, source: str, blocks: Chain) -> str:
    for number, (width, stride) in enumerate(blocks):
        source = builder.depthwise(
            source, f"depthwise{number}", (3, 3), stride=(stride, stride), activation="RELU"
        )
        source = builder.conv(source, f"pointwise{number}", width, activation="RELU")
    return source


def _classify(builder: Builder, source: str, classes: int) -> Graph:
    logits = builder.conv(builder.global_average(source, "pool"), "head", classes)
    return builder.finish(builder.reshape(logits, "logits", (1, classes)))


def _chain(text: str) -> Chain:
    """Read Table 5's notation: ``248@2 276`` is 248 channels at stride 2, then 276."""
    pairs = (word.partition("@") for word in text.split())
    return [(int(width), int(stride or 1)) for width, _, stride in pairs]


def _bottlenecks(text: str) -> Bottlenecks:
    triples = ([int(number) for number in word.split(",")] for word in text.split())
    return [(expansion, width, stride) for expansion, width, stride in triples]


NETWORKS: dict[str, tuple[str, Graph]] = {
    "MicroNet-KWS-L": ("kws", keyword_network(276, _chain("248@2 276 276 248 248 248 248"))),
    "MicroNet-KWS-M": ("kws", keyword_network(140, _chain("140@2 140 140 112 196"))),
    "MicroNet-KWS-S": ("kws", keyword_network(84, _chain("112@2 84 84 84 196"))),
    "DSCNN-L": ("kws", keyword_network(276, _chain("276@2 276 276 276 276"))),
    "DSCNN-M": ("kws", keyword_network(172, _chain("172@2 172 172 172"))),
    "DSCNN-S": ("kws", keyword_network(64, _chain("64@2 64 64 64"))),
    "MicroNet-AD-L": ("ad", anomaly_network(276, _chain("248@2 276 276 248@2 248@2"))),
    "MicroNet-AD-M": ("ad", anomaly_network(192, _chain("276@2 276 276 276@2 276@2"))),
    "MicroNet-AD-S": ("ad", anomaly_network(72, _chain("164@2 220 276@2 276@2"))),
    "MicroNet-VWW-2": (
        "vww",
        visual_network(
            50,
            12,
            _bottlenecks(
                "4,8,1 28,24,2 28,20,1 128,28,2 152,16,1 152,28,1 152,24,2 112,24,1 112,12,1 "
                "76,32,1 76,16,1 56,28,1 56,28,1 56,16,2 96,16,1 96,16,1 96,32,1"
            ),
        ),
    ),
    "MicroNet-VWW-3": (
        "vww",
        visual_network(
            128,
            9,
            _bottlenecks(
                "3,6,1 9,14,2 28,16,1 28,32,2 115,25,1 115,32,1 172,51,2 307,51,1 307,44,1 "
                "307,57,1 230,48,1 288,48,1 288,76,1 115,16,2 96,16,1 96,16,1 96,32,1"
            ),
        ),
    ),
    "MicroNet-VWW-4": (
        "vww",
        visual_network(
            128,
            8,
            _bottlenecks(
                "4,4,1 8,12,2 14,16,1 28,32,2 96,28,1 96,28,1 152,44,2 268,40,1 268,52,1 "
                "268,44,1 192,68,1 172,68,1 172,48,1 288,16,2 96,16,1 96,32,1 96,32,1"
            ),
        ),
    ),
    "TFLM person detection": ("person detection", person_detection()),
}
"""Published networks of known architecture: family and graph."""

FAMILIES = {"ops_kws_ad": ("kws", "ad"), "ops_vww": ("vww",)}
TERMS: dict[str, dict[str, float]] = {
    "arithmetic": {"conv_macs": 1.0, "depthwise_macs": 6.0, "fc_macs": 1.3},
    "elements": {"conv_outputs": 1.0},
}
"""The two coefficients that are fitted, and the counts each one prices.

The ratios within a group are those of instruction counts (TFLM with CMSIS-NN on a simulated
Cortex-M4, 107 networks). The published networks cannot tell them: all their depthwise kernels are
3x3, so that depthwise arithmetic follows the outputs; without a price of its own a 5x5 kernel
would be free. Residual sums, 1 % of the instructions of a MobileNetV2, are carried by outputs.
"""

BOARDS = {
    "stm32f446re": ("NUCLEO-F446RE (MicroNets: S)", "Cortex-M4", 131_072, 524_288, 180_000_000),
    "stm32f746zg": ("NUCLEO-F746ZG (MicroNets: M)", "Cortex-M7", 327_680, 1_048_576, 216_000_000),
    "stm32f767zi": ("NUCLEO-F767ZI (MicroNets: L)", "Cortex-M7", 524_288, 2_097_152, 216_000_000),
}
"""Title, core, bytes of SRAM and of flash, clock in Hz, from ST's data sheets."""


def board(name: str, rows: Sequence[dict[str, str]]) -> Board:
    """Fit all models of one board and choose, for each space, the one that predicts best."""
    known = [row for row in rows if row["network"] in NETWORKS and row["estimated"] == "no"]
    fits = {"terms": (known, _fit_groups(known))}
    for form, families in FAMILIES.items():
        members = [row for row in known if NETWORKS[row["network"]][0] in families]
        fits[form] = (members, _fit(members, ("ops", "constant")))
    use: dict[str, str] = {}
    for form, families in FAMILIES.items():
        errors = fits[form][1].left_out
        own = mean_worst_percent(errors)[0] if errors else float("inf")
        shared = fits["terms"][1].left_out or ()
        of_family = [
            error
            for row, error in zip(known, shared, strict=True)
            if NETWORKS[row["network"]][0] in families
        ]
        chosen = form if own < mean_worst_percent(of_family)[0] else "terms"
        print(
            f"  {'+'.join(families)}: left out {own:.1f} % with {form}, "
            f"{mean_worst_percent(of_family)[0]:.1f} % with terms -> {chosen}"
        )
        use |= dict.fromkeys(families, chosen)
    powers = [
        1000 * float(row["energy_mj"]) / float(row["latency_ms"])
        for row in rows
        if row["energy_mj"]
    ]
    title, core, sram, flash, clock = BOARDS[name]
    return Board(
        name=name,
        title=title,
        core=core,
        sram_bytes=sram,
        flash_bytes=flash,
        clock_hz=clock,
        reserved=Reserved(sram_bytes=8_000, flash_bytes=75_000),
        power_mw=round(fmean(powers), 1) if powers else None,
        source=(
            "sizes and clock: ST data sheet; reserved: MicroNets (arXiv 2010.11267) figure 2, "
            "interpreter 4 + 37 KB, firmware 4 + 38 KB; power: mean of energy / latency in Table 4"
        ),
        latency={form: _model(*fitted) for form, fitted in fits.items()},
        use={**use, OTHER: "terms"},
    )


def _fit(rows: Sequence[dict[str, str]], terms: Sequence[str]) -> Fit:
    features = [count(NETWORKS[row["network"]][1]).features for row in rows]
    return fit(features, [float(row["latency_ms"]) for row in rows], terms=terms)


def _fit_groups(rows: Sequence[dict[str, str]]) -> Fit:
    """Fit one coefficient a group of TERMS and return them as one a count."""
    features = []
    for row in rows:
        counts = count(NETWORKS[row["network"]][1]).features
        features.append(
            {
                group: sum(ratio * counts[term] for term, ratio in ratios.items())
                for group, ratios in TERMS.items()
            }
        )
    fitted = fit(features, [float(row["latency_ms"]) for row in rows], terms=tuple(TERMS))
    coefficients = {
        term: ratio * fitted.model.coefficients[group]
        for group, ratios in TERMS.items()
        for term, ratio in ratios.items()
    }
    return replace(fitted, model=LinearLatency(coefficients))


def _model(rows: Sequence[dict[str, str]], fitted: Fit) -> LatencyModel:
    return LatencyModel(
        coefficients={
            term: float(f"{value:.5g}") for term, value in fitted.model.coefficients.items()
        },
        networks=len(rows),
        in_sample_percent=_percent(fitted.errors),
        leave_one_out_percent=_percent(fitted.left_out) if fitted.left_out else None,
        r2=round(fitted.r2, 4),
        source=(
            "MicroNets (arXiv 2010.11267) Table 4 latencies, true counts of "
            + ", ".join(row["network"] for row in rows)
        ),
    )


def _percent(errors: Sequence[float]) -> Percent:
    mean, worst = mean_worst_percent(errors)
    return Percent(mean=round(mean, 1), worst=round(worst, 1))


def print_published_fits(rows: Sequence[dict[str, str]]) -> None:
    """Print ordinary least squares of latency on the paper's own operation counts."""
    groups = {"kws": ("KWS", "DSCNN"), "kws+ad": ("KWS", "DSCNN", "AD"), "vww": ("VWW",)}
    for label, words in groups.items():
        chosen = [row for row in rows if any(word in row["network"] for word in words)]
        chosen = [row for row in chosen if not row["network"].startswith(("FC", "TFLM"))]
        x, y = (
            np.array([float(row[key]) for row in chosen])
            for key in ("published_mops", "latency_ms")
        )
        slope, constant = np.polyfit(x, y, 1)
        r2 = np.corrcoef(x, y)[0, 1] ** 2
        print(
            f"  published Mops, {label}: {slope:.2f} ms/Mop + {constant:.0f} ms, "
            f"R2 {r2:.4f}, {len(x)} networks"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write latency_models/*.yaml")
    arguments = parser.parse_args()
    folder = resources.folder("latency_models")
    with (folder / "micronets_table4.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in BOARDS:
        of_board = [row for row in rows if row["board"] == name]
        print(name)
        print_published_fits(of_board)
        result = board(name, of_board)
        for form, model in result.latency.items():
            print(
                f"  true counts, {form}: {model.coefficients}, R2 {model.r2}, n {model.networks}, "
                f"in sample {model.in_sample_percent}, left out {model.leave_one_out_percent}"
            )
        print(f"  power {result.power_mw} mW")
        if arguments.write:
            text = _HEADER + yaml.safe_dump(
                result.model_dump(exclude_none=True), sort_keys=False, width=98
            )
            write_atomically(folder / f"{name}.yaml", text.encode())


_HEADER = """\
# Written by benchmarks/fit_boards.py from micronets_table4.csv. Copy this file for a board of your
# own. Coefficients are milliseconds per unit of a count, so 1.0e-05 is 10 ms per million;
# "constant" is in ms. `use` says which model serves which search space.
"""


if __name__ == "__main__":
    main()
