"""The shipped architecture files of published networks: counts, arenas, and the whole way to TFLM.

Multiply-accumulates and arenas are those that TFLM's interpreter reported on a 64-bit host for
the published files (KWS-L, AD-L) and, where the file was not published, for rebuilt ones; KWS-M and
VWW-2 to 4 are of the census.
"""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from micronas import resources
from micronas.data import TensorSplit
from micronas.errors import ConfigError
from micronas.export.verify import tflm_arena, verify
from micronas.graph.counts import count
from micronas.hardware.targets import HOST, plan
from micronas.space.published import paper_ops, table
from micronas.space.space import Space
from micronas.tflite.writer import flatbuffer_bytes, to_flatbuffer
from micronas.train.recipe import Recipe
from testing.graphs import random_inputs
from testing.published import NETWORKS
from tests.training import finetune, fit

pytestmark = pytest.mark.usefixtures("device")


class Measured(NamedTuple):
    """What the interpreter reported for a file, and how our tail differs from it in bytes."""

    mmacs: float
    head: int
    tail: int
    tail_difference: int = 0


MEASURED = {
    "kws_l": Measured(65.71, 169_760, 36_160),
    "kws_s": Measured(8.33, 51_680, 12_816),
    # The file's tail is 224 bytes smaller, at Table 5's widths, operations and head. No change of
    # the classifier alone accounts for it (a FULLY_CONNECTED one leaves 16, no RESHAPE 64), and
    # the rebuilt AD-M and AD-S do not show it: what the file does differently is not known.
    "ad_l": Measured(64.495, 353_280, 26_992, 224),
    # Rebuilt with the 4 outputs of the paper's text. The other 4 cost 8 bytes each.
    "ad_m": Measured(62.35, 245_760, 26_960, 32),
    "ad_s": Measured(18.74, 98_304, 17_440, 32),
}
# Where two residuals are padded alike the files hold one table of amounts, ours one for each PAD:
# 2, 1 and 4 tensors of 24 bytes, the sum aligned to 16.
SHARED_TABLES = {"vww_2": 48, "vww_3": 16, "vww_4": 96}
PAPER = table()
SLOW = pytest.mark.slow
NAMES = sorted(PAPER)


def load(name: str) -> Space:
    return Space.load(f"published/{name}")


def published_name(name: str) -> str:
    """``kws_m`` is MicroNet-KWS-M in the paper, ``ds_cnn_s`` DSCNN-S."""
    family, size = name.rsplit("_", 1)
    prefix = "DSCNN" if family == "ds_cnn" else f"MicroNet-{family.upper()}"
    return f"{prefix}-{size.upper()}"


def test_every_shipped_file_is_one_of_the_twelve() -> None:
    assert resources.names("search_spaces/published") == NAMES
    assert all(load(name).name == name for name in NAMES)
    assert "kws_m" not in resources.names("search_spaces")  # no space can be searched there


@pytest.mark.parametrize("name", NAMES)
def test_counts_and_arenas_are_those_of_the_benchmarks_own_graph(name: str) -> None:
    ours, theirs = load(name).graph(), NETWORKS[published_name(name)].graph
    assert count(ours) == count(theirs)
    assert [op.kind for op in ours.ops] == [op.kind for op in theirs.ops]
    ours_plan, theirs_plan = plan(ours, HOST), plan(theirs, HOST)
    assert ours_plan.head == theirs_plan.head
    assert ours_plan.tail - theirs_plan.tail == SHARED_TABLES.get(name, 0)


@pytest.mark.parametrize("name", MEASURED)
def test_counts_and_arenas_are_those_of_the_measured_files(name: str) -> None:
    measured, graph = MEASURED[name], load(name).graph()
    arena = plan(graph, HOST)
    assert count(graph).macs / 1e6 == pytest.approx(measured.mmacs, abs=0.005)
    assert arena.head == measured.head
    assert arena.tail - measured.tail == measured.tail_difference


@pytest.mark.parametrize(
    ("name", "mops"),
    [
        ("kws_l", 129.02),
        ("kws_m", 30.60),
        ("kws_s", 16.39),
        ("ds_cnn_l", 107.18),
        ("ds_cnn_m", 37.26),
        ("ds_cnn_s", 7.09),
        ("ad_l", 128.99),
        ("ad_m", 124.69),
        ("ad_s", 37.48),
        ("vww_2", 5.13),
        ("vww_3", 45.13),
        ("vww_4", 37.66),
    ],
)
def test_operations_by_the_papers_rounding(name: str, mops: float) -> None:
    """Table 4 with a decimal more; only VWW-2, published as 5.3, does not follow the rule.

    DSCNN-S by hand: twice 490 x 64 x 40 + 4 x 122.5 x 64 x (9 + 64) + 64 x 12.
    """
    assert paper_ops(load(name).graph()) / 1e6 == pytest.approx(mops, abs=0.005)


@pytest.mark.parametrize("name", NAMES)
def test_arenas_are_the_papers_sram(name: str) -> None:
    """KWS-S alone: 53.2 KB were published, its architecture needs 51.7 KB for activations alone."""
    ratio = plan(load(name).graph(), HOST).total / 1e3 / float(PAPER[name]["sram_kb"])
    low, high = (1.21, 1.22) if name == "kws_s" else (0.98, 1.06)
    assert low < ratio < high


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("ad_s", "ds_cnn_s", "kws_s", "vww_2") else pytest.param(name, marks=SLOW)
        for name in NAMES
    ],
)
def test_it_builds_trains_exports_and_runs_on_tflm(name: str) -> None:
    architecture = load(name)
    generator = torch.Generator().manual_seed(0)
    height, width, channels = architecture.input
    inputs = torch.randn(4, channels, height, width, generator=generator)
    labels = torch.arange(4) % architecture.classes
    split, once = TensorSplit(inputs, labels), Recipe(epochs=1, batch_size=4)
    network = architecture.build()
    before = [parameter.detach().clone() for parameter in network.parameters()]
    fit(network, split, once, seed=0)
    pairs = zip(before, network.parameters(), strict=True)
    assert sum(not torch.equal(old, new) for old, new in pairs) > len(before) // 2
    graph = finetune(network, split, once, seed=0).graph()
    model = to_flatbuffer(graph)
    checked = verify(model, random_inputs(graph, 2))
    assert checked.bytes_compared == 2 * architecture.classes
    assert checked.mismatches == 0
    arena, planned = tflm_arena(model), plan(architecture.graph(), HOST)
    assert (arena.head, arena.tail) == (planned.head, planned.tail)
    assert len(model) == flatbuffer_bytes(architecture.graph())


def test_a_users_own_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Space.load("published/kws_m.yaml") == load("kws_m")
    assert Space.load(Path("published/kws_m")) == load("kws_m")
    monkeypatch.chdir(tmp_path)
    Path("published").mkdir()
    mine = load("ds_cnn_s").model_copy(update={"name": "mine"})
    mine.save(Path("published/kws_m.yaml"))
    assert Space.load("published/kws_m.yaml").name == "mine"
    assert load("kws_m").name == "kws_m"  # without a suffix: the shipped one


def test_the_nearest_published_network_is_offered() -> None:
    with pytest.raises(ConfigError, match="'kws_x'; did you mean 'kws_s'"):
        load("kws_x")


def test_another_path_is_a_path() -> None:
    with pytest.raises(ConfigError, match="nowhere/kws_m"):
        Space.load("nowhere/kws_m.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_saved_and_read_again_it_is_the_same(name: str, tmp_path: Path) -> None:
    load(name).save(tmp_path / "copy.yaml")
    assert Space.load(tmp_path / "copy.yaml") == load(name)
