"""Latency models of the shipped boards, fitted to published measurements."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from micronas import resources
from micronas.calibration.fit import default_form, fit_forms, latency_model
from micronas.hardware.board import Board, LatencyModel, reserve
from micronas.hardware.latency import fit
from micronas.hardware.targets import CMSIS_NN
from testing.published import NETWORKS

Row = Mapping[str, str]
FAMILIES = (("kws", "ad"), ("vww",))
"""Spaces of which one line through the operation counts is drawn, as the paper does."""

_SMALLEST_FAMILY = 4


@dataclass(frozen=True)
class Facts:
    """What a data sheet says."""

    title: str
    core: str
    sram_bytes: int
    """In one piece, or in pieces that follow each other."""
    flash_bytes: int
    clock_hz: int
    note: str = ""


_KIB, _MIB = 2**10, 2**20
_STATIC = "SRAM: about what one static array may take; the chip has {} with code and caches"
BOARDS = {
    "stm32f446re": Facts(
        "NUCLEO-F446RE (MicroNets: S)", "Cortex-M4", 128 * _KIB, 512 * _KIB, 180_000_000
    ),
    "stm32f746zg": Facts(
        "NUCLEO-F746ZG (MicroNets: M)", "Cortex-M7", 320 * _KIB, _MIB, 216_000_000
    ),
    "stm32f767zi": Facts(
        "NUCLEO-F767ZI (MicroNets: L)", "Cortex-M7", 512 * _KIB, 2 * _MIB, 216_000_000
    ),
    "nucleo_l4r5zi": Facts("NUCLEO-L4R5ZI", "Cortex-M4", 640 * _KIB, 2 * _MIB, 120_000_000),
    "nucleo_u575zi": Facts("NUCLEO-U575ZI-Q", "Cortex-M33", 768 * _KIB, 2 * _MIB, 160_000_000),
    "nucleo_h7a3zi": Facts("NUCLEO-H7A3ZI-Q", "Cortex-M7", _MIB, 2 * _MIB, 280_000_000),
    "nucleo_g0b1re": Facts("NUCLEO-G0B1RE", "Cortex-M0+", 144 * _KIB, 512 * _KIB, 64_000_000),
    "nrf5340dk": Facts("nRF5340-DK", "Cortex-M33", 512 * _KIB, _MIB, 128_000_000),
    "disco_f746ng": Facts("32F746GDISCOVERY", "Cortex-M7", 320 * _KIB, _MIB, 216_000_000),
    "ek_ra6m4": Facts("EK-RA6M4", "Cortex-M33", 256 * _KIB, _MIB, 200_000_000),
    "ek_ra8d1": Facts(
        "EK-RA8D1",
        "Cortex-M85",
        896 * _KIB,
        2 * _MIB,
        480_000_000,
        "SRAM: without the 128 KiB of tightly coupled memory",
    ),
    "cy8cproto_062": Facts(
        "CY8CPROTO-062-4343W (PSoC 62)", "Cortex-M4", _MIB, 2 * _MIB, 150_000_000
    ),
    "xg24": Facts(
        "xG24-DK2601B (MVP accelerator)", "Cortex-M33", 256 * _KIB, 1536 * _KIB, 78_000_000
    ),
    "esp32s3": Facts(
        "ESP32-S3", "Xtensa LX7", 320 * _KIB, 8 * _MIB, 240_000_000, _STATIC.format("512 KiB")
    ),
    "esp32": Facts(
        "ESP32", "Xtensa LX6", 160 * _KIB, 4 * _MIB, 240_000_000, _STATIC.format("520 KiB")
    ),
}


def board(name: str, rows: Sequence[Row]) -> Board:
    """Fit all forms to one board's rows; the one that errs least is its own.

    Rows marked as estimated, and networks of unknown architecture, take no part.
    """
    known = [row for row in rows if row["network"] in NETWORKS and row["estimated"] == "no"]
    counts = [CMSIS_NN.features(NETWORKS[row["network"]].graph) for row in known]
    latencies = [float(row["latency_ms"]) for row in known]
    fits = fit_forms(counts, latencies)
    source = _source(known)
    if len(known) == 1:
        # one network can set a scale and nothing else: the paper's unit, the one a user can check
        fits = {"ops": fit(counts, latencies, terms=("ops",))}
        form = "ops"
    else:
        form = default_form(fits)
    models = [latency_model(each, fitted, source) for each, fitted in fits.items()]
    facts = BOARDS[name]
    powers = [1000 * float(r["energy_mj"]) / float(r["latency_ms"]) for r in rows if r["energy_mj"]]
    (kernels,) = {row["kernels"] for row in rows}
    (compiler,) = {row["compiler"] for row in rows}
    return Board(
        name=name,
        title=facts.title,
        core=facts.core,
        sram_bytes=facts.sram_bytes,
        flash_bytes=facts.flash_bytes,
        clock_hz=facts.clock_hz,
        measured_hz=facts.clock_hz,
        reserved=reserve(CMSIS_NN),
        power_mw=round(fmean(powers), 1) if powers else None,
        source=(
            "sizes and clock: data sheet; reserved: MicroNets (arXiv 2010.11267) figure 2"
            + (f"; {facts.note}" if facts.note else "")
            + ("; power: mean of energy / latency of the same rows" if powers else "")
        ),
        kernels=kernels,
        compiler=compiler or None,
        form=form,
        latency=(*models, *_by_family(known, models[0])),
    )


def _by_family(rows: Sequence[Row], shared: LatencyModel) -> list[LatencyModel]:
    """Return the paper's lines: a slope and an intercept for the networks of one backbone."""
    models = []
    for spaces in FAMILIES:
        of_family = [row for row in rows if NETWORKS[row["network"]].family in spaces]
        if len(of_family) >= _SMALLEST_FAMILY and len(of_family) < len(rows):
            counts = [CMSIS_NN.features(NETWORKS[row["network"]].graph) for row in of_family]
            fitted = fit_forms(counts, [float(row["latency_ms"]) for row in of_family])["ops"]
            models.append(latency_model("ops", fitted, _source(of_family), spaces=spaces))
    return models


def _source(rows: Sequence[Row]) -> str:
    published = sorted({row["source"] for row in rows})
    return f"{'; '.join(published)}: {', '.join(row['network'] for row in rows)}"


def measurements() -> dict[str, list[Row]]:
    """Return the rows of the shipped measurements by board."""
    by_board: dict[str, list[Row]] = {name: [] for name in BOARDS}
    path = resources.folder("latency_models") / "published_latencies.csv"
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            by_board[row["board"]].append(row)
    return by_board
