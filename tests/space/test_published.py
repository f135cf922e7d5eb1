"""Published networks against published counts and arenas, and the published latencies' table."""

import csv
from collections import Counter

import pytest

from micronas import resources
from micronas.export.verify import tflm_arena
from micronas.graph.builder import Builder
from micronas.graph.counts import count
from micronas.hardware.targets import HOST, plan
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import quantize_randomly
from testing.published import CENSUS, NETWORKS, NOT_REBUILT


def published_latencies() -> list[dict[str, str]]:
    path = resources.folder("latency_models") / "published_latencies.csv"
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


LATENCIES = published_latencies()
MOPS = {row["network"]: float(row["published_mops"]) for row in LATENCIES if row["published_mops"]}


@pytest.mark.parametrize("name", CENSUS)
def test_counts_and_arenas_are_those_of_the_measured_files(name: str) -> None:
    """Arenas on a simulated Cortex-M4 with CMSIS-NN and in the tflite_micro wheel."""
    measured, graph = CENSUS[name], NETWORKS[name].graph
    assert count(graph).macs == measured.macs
    assert plan(graph).total == measured.arena_m4
    assert plan(graph, HOST).total == measured.arena_host


def test_the_census_is_of_27_networks_that_took_two_to_seven_instructions_a_mac() -> None:
    ratios = [measured.instructions / measured.macs for measured in CENSUS.values()]
    assert len(ratios) == 27
    assert min(ratios) == pytest.approx(2.20, abs=0.005)  # the autoencoder
    assert max(ratios) == pytest.approx(7.04, abs=0.005)  # ds_16x2


@pytest.mark.parametrize("name", sorted(MOPS.keys() & NETWORKS.keys() - {"MicroNet-VWW-2"}))
def test_operations_are_the_papers(name: str) -> None:
    """Table 4 counts 49 x 10 / 4 positions of a keyword network's blocks where there are 25 x 5.

    Its figure for VWW-2 is that of unrounded maps as well, and 16 % low.
    """
    mops = count(NETWORKS[name].graph).ops / 1e6
    if NETWORKS[name].family == "kws":
        assert 0.98 * mops - 0.051 < MOPS[name] < mops
    else:
        assert mops == pytest.approx(MOPS[name], rel=0.002)


@pytest.mark.parametrize("name", ["MLPerf-SWW", "TFLM person detection", "ds_16x2", "mn_a35_48"])
def test_tflm_runs_them_in_the_predicted_arena(name: str) -> None:
    graph = quantize_randomly(NETWORKS[name].graph)
    predicted, measured = plan(graph, HOST), tflm_arena(to_flatbuffer(graph))
    assert (predicted.head, predicted.tail) == (measured.head, measured.tail)


def test_depthwise_shapes_by_hand() -> None:
    builder = Builder((8, 7, 3))
    valid = builder.depthwise(builder.input, "valid", (3, 2), stride=(2, 2), padding="VALID")
    assert builder.shape(valid) == (1, 3, 3, 3)
    wide = builder.depthwise(valid, "wide", (3, 3), multiplier=8)
    assert builder.shape(wide) == (1, 3, 3, 24)
    graph = builder.finish(wide)
    assert count(graph).depthwise_macs == 27 * 6 + 9 * 24 * 9


def test_latencies_are_positive_and_of_one_row_a_board_network_and_engine() -> None:
    keys = Counter((row["board"], row["network"], row["kernels"]) for row in LATENCIES)
    assert set(keys.values()) == {1}
    for row in LATENCIES:
        assert float(row["latency_ms"]) > 0
        assert not row["energy_mj"] or float(row["energy_mj"]) > 0
        assert row["estimated"] in ("yes", "no")
        assert row["kernels"]
        assert row["source"]


def test_every_network_with_a_latency_is_rebuilt_or_known_not_to_be() -> None:
    named = {row["network"] for row in LATENCIES}
    assert NOT_REBUILT.keys() == named - NETWORKS.keys()


def test_each_board_of_mlperf_tiny_has_all_four_networks() -> None:
    tasks = {"MLPerf-AD", "MLPerf-KWS", "MLPerf-VWW", "MLPerf-IC"}
    boards = {row["board"] for row in LATENCIES if row["source"].startswith("MLPerf Tiny")}
    assert len(boards) == 10
    for board in boards:
        assert {row["network"] for row in LATENCIES if row["board"] == board} == tasks


def test_no_row_of_a_vendor_that_ran_a_pruned_network() -> None:
    """From v1.1 on some submissions ran visual wake words with its dead channels removed."""
    pruned = ("STMicroelectronics", "plumerai", "Nuvoton", "skymizer")
    for row in LATENCIES:
        late = any(f"v1.{number}" in row["source"] for number in (1, 2, 3))
        assert not (late and any(word.lower() in row["source"].lower() for word in pruned))


def test_table_4_of_the_micronets_paper() -> None:
    """Rows and powers of the three boards; no energy was published for the F767ZI."""
    table = [row for row in LATENCIES if "2010.11267" in row["source"]]
    assert Counter(row["board"] for row in table) == {
        "stm32f446re": 8,
        "stm32f746zg": 16,
        "stm32f767zi": 17,
    }
    for board, milliwatts in {"stm32f446re": 161.1, "stm32f746zg": 444.5}.items():
        powers = [
            1000 * float(row["energy_mj"]) / float(row["latency_ms"])
            for row in table
            if row["board"] == board and row["energy_mj"]
        ]
        assert sum(powers) / len(powers) == pytest.approx(milliwatts, abs=0.05)
    assert not any(row["energy_mj"] for row in table if row["board"] == "stm32f767zi")
