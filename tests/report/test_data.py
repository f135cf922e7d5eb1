"""What a page is given: counted by hand, or from where the numbers come from."""

import json
import random
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.graph import integer
from micronas.hardware.board import Board
from micronas.hardware.profile import profile
from micronas.hardware.targets import CMSIS_NN, HOST
from micronas.objectives.clips import area
from micronas.report.network import blocks_of, outputs_of
from micronas.report.several import front
from micronas.report.write import write_report
from micronas.runs.table import metrics_table
from micronas.space.space import Space
from micronas.sweeps.store import SweepPoint
from micronas.sweeps.table import sweep_table
from micronas.tflite.reader import read
from micronas.train.codes import quantize_inputs
from tests import toy
from tests.pages import data_of
from tests.report import runs
from tests.report.runs import NAMES, by_hand, estimated, listening


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.found(tmp_path_factory)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return listening(tmp_path_factory.mktemp("runs") / "heard")


def shown(*runs: Path) -> dict[str, Any]:
    """The data inside the written page, which is the data that was returned."""
    with tempfile.TemporaryDirectory() as folder:
        path, data = write_report(list(runs), Path(folder) / "page.html")
        embedded: dict[str, Any] = data_of(path.read_bytes())
    assert embedded == json.loads(json.dumps(data))
    return embedded


@pytest.mark.long
def test_the_confusion_matrix_is_that_of_the_exported_file(found: Path) -> None:
    outcome = shown(found)["outcome"]
    assert outcome["classes"] == list(NAMES)
    graph = read((found / "model.tflite").read_bytes())
    split = toy.split(40, 2)
    expected = np.zeros((4, 4), int)
    codes = integer.run(graph, quantize_inputs(graph, split.inputs)).reshape(40, 4)
    for label, answer in zip(split.labels.tolist(), codes.argmax(1).tolist(), strict=True):
        expected[label][answer] += 1
    assert outcome["confusion"] == expected.tolist()
    metrics = json.loads((found / "metrics.json").read_text())
    assert np.trace(expected) / 40 == pytest.approx(metrics["int8_accuracy"])


def test_rounds_and_gates_stand_side_by_side(found: Path) -> None:
    search = shown(found)["search"]
    metrics = json.loads((found / "metrics.json").read_text())
    rounds = search["gates"]["rounds"]
    assert len(rounds) == len(search["loss"]) == len(metrics["search"]["history"]) >= 4
    assert [each["name"] for each in search["gates"]["decisions"]] == [
        each.name for each in toy.SMALL.decisions
    ]
    for row in rounds:
        for probabilities, decision in zip(row, toy.SMALL.decisions, strict=True):
            assert len(probabilities) == len(decision.options)
            assert sum(probabilities) == pytest.approx(1, abs=1e-3)
    # before gates move, every option is as likely as any other
    assert rounds[0][0] == [0.3333] * 3
    assert rounds[-1] != rounds[0]
    record = metrics["search"]["history"][-1]
    for name, limit in metrics["budget"].items():
        left = limit - metrics["device"]["beside"].get(name, 0)
        assert search["expected"][name][-1] == pytest.approx(record[f"expected_{name}"] / left)


def test_what_rests_on_estimates_says_so(tmp_path: Path) -> None:
    """In the file, in what is printed and on both pages."""
    run = estimated(tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["fits"], metrics["fits_estimates"]) == (True, ["sram", "flash", "latency"])
    assert "in place of Xtensa LX7" in metrics["device"]["code_assumes"]
    printed = metrics_table(metrics)
    assert printed.endswith("\nfits true (sram, flash, latency estimated)")
    assert "of flash (estimated: TFLM with CMSIS-NN on a Cortex-M4 in place of" in printed
    budget = shown(run)["budget"]
    assert budget["estimates"] == metrics["fits_estimates"]
    notes = {row["name"]: row["note"] for row in budget["rows"]}
    assert "an estimate, of TFLM with CMSIS-NN on a Cortex-M4" in notes["flash"]
    both = shown(run, by_hand(tmp_path / "plain"))["rows"]
    assert [row["estimates"] for row in both] == [metrics["fits_estimates"], []]
    point = SweepPoint("one", {}, "done", "", 1, metrics, tmp_path, 1.0)
    assert "true (sram, flash, latency estimated)" in sweep_table([point])


def test_every_epoch_is_watched(found: Path) -> None:
    phases = {phase["name"]: phase["epochs"] for phase in shown(found)["training"]["phases"]}
    assert [len(phases[name]) for name in ("train", "quantize")] == [2, 1]
    for epochs in phases.values():
        for number, epoch in enumerate(epochs, 1):
            assert epoch["number"] == number
            assert epoch["loss"] > 0
            assert 0 <= epoch["validation_score"] <= 1
            assert epoch["validation_loss"] > 0


def test_the_arena_is_the_planners(found: Path) -> None:
    arena = shown(found)["arena"]
    graph = read((found / "model.tflite").read_bytes())
    for name, target in (("board", CMSIS_NN), ("host", HOST)):
        planned = target.plan(graph)
        drawn = arena["plans"][name]
        assert (drawn["head"], drawn["tail"]) == (planned.head, planned.tail)
        assert max(each["offset"] + each["size"] for each in drawn["buffers"]) == planned.head
    metrics = json.loads((found / "metrics.json").read_text())
    host = arena["plans"]["host"]
    assert host["head"] + host["tail"] == metrics["host_arena_bytes"]


def test_layers_add_up_to_the_network(found: Path) -> None:
    data = shown(found)
    metrics = json.loads((found / "metrics.json").read_text())
    layers = data["layers"]
    assert sum(row["macs"] for row in layers["rows"]) == metrics["macs"]
    total = sum(row["latency_ms"] for row in layers["rows"]) + layers["rest_ms"]
    assert total == pytest.approx(metrics["latency_ms"])
    blocks = data["network"]["blocks"]
    assert sum(block.get("macs", 0) for block in blocks) == metrics["macs"]
    names = [row["name"] for row in layers["rows"]]
    assert [row["name"] for row in data["quantization"]["layers"]] == names
    assert {row["op"] for row in layers["rows"]} >= {"CONV_2D", "DEPTHWISE_CONV_2D"}


def test_what_repeats_a_run_is_all_there(found: Path) -> None:
    facts = dict(shown(found)["reproduce"]["facts"])
    assert facts["Again"] == f"micronas search {found}/config.yaml --out NEW_FOLDER"
    assert facts["Seed"] == "0"
    assert facts["Examples"] == "160 train, 40 validation, 40 test"
    assert len(facts["SHA-256 of model.tflite"]) == 64
    files = {file["name"]: file["text"] for file in shown(found)["reproduce"]["files"]}
    assert files["config.yaml"] == (found / "config.yaml").read_text()
    assert "coefficients:" in files["stm32f446re.yaml (board)"]


def test_machines_have_curves_and_scores(heard: Path) -> None:
    data = shown(heard)
    assert "given" in data["search"]["absent"]
    outcome = data["outcome"]
    assert [each["name"] for each in outcome["machines"]] == list(toy.CLASSES)
    for each in outcome["machines"]:
        curve = np.array(each["false_positive_rate"]), np.array(each["true_positive_rate"])
        assert area(*curve) == pytest.approx(outcome["per_machine"][each["name"]]["auc"])
        higher = [float(a > n) + (a == n) / 2 for a in each["anomalous"] for n in each["normal"]]
        assert np.mean(higher) == pytest.approx(outcome["per_machine"][each["name"]]["auc"])
        assert len(each["normal"]) == len(each["anomalous"]) == 10
    tiles = {tile["label"]: tile["value"] for tile in data["tiles"]}
    notes = {tile["label"]: tile["note"] for tile in data["tiles"]}
    assert re.fullmatch(
        r"95 % interval [01].\d{3} to [01].\d{3}, on 40 anomalous of 80 clips of test",
        notes["AUC, int8"],
    )
    assert data["training"]["measure"]["name"] == "pretext accuracy"
    assert tiles["Pretext accuracy, int8"] is not None
    assert tiles["AUC, int8"] == json.loads((heard / "metrics.json").read_text())["auc"]


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6))))
def test_a_front_is_what_no_other_point_beats(points: list[tuple[int, int]]) -> None:
    def beats(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a[0] <= b[0] and a[1] >= b[1] and a != b

    on_front = front(points)
    assert sorted(on_front) == [
        index
        for index, point in enumerate(points)
        if not any(beats(other, point) for other in points)
    ]
    assert [points[index][0] for index in on_front] == sorted(points[i][0] for i in on_front)


def test_what_does_not_fit_is_on_no_front_and_never_best(tmp_path: Path) -> None:
    runs = [
        by_hand(tmp_path / "good", int8=0.8, latency_ms=30.0),
        by_hand(tmp_path / "better", int8=0.99, latency_ms=10.0, fits=False),
        by_hand(tmp_path / "slow", int8=0.7, latency_ms=35.0),
        by_hand(tmp_path / "elsewhere", int8=0.6, board="stm32f767zi"),
        by_hand(tmp_path / "large", int8=0.9, board="stm32h7", fits=False),
        by_hand(tmp_path / "sounds", score="AUC", int8=0.9),
    ]
    for place, unit in enumerate(("mm", "count")):
        score = dict(name="MAE", unit=unit, larger=False, float=1, int8=0.1, on="test")
        runs.append(by_hand(tmp_path / f"value {place}", scores=[score], flash_bytes=9_000))
    for name, path in (("there", "a"), ("window", "b"), ("other", "b")):
        runs.append(by_hand(tmp_path / name, score="F1"))
        own = f"data: {{task: kws, path: {path}, window: {len(runs)}}}\n"
        (runs[-1] / "config.yaml").write_text(own)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "metrics.json").write_text("{")
    data = shown(*runs, tmp_path / "broken")
    groups = {group["score_name"] + group["unit"]: group for group in data["groups"]}
    assert groups.keys() == {"accuracyshare", "AUCshare", "MAEmm", "MAEcount", "F1share"}
    others = [each for each in data["groups"] if each["score_name"] == "F1"]
    assert [(each["data"], each["runs"]) for each in others] == [("a", [8]), ("b", [9, 10])]
    assert {row["on"] for row in data["rows"]} == {"test"}
    assert data["rows"][6]["flash_bytes"] == 14_000, "of the device, as the budget counts it"
    assert [tile["is_cost"] for tile in shown(runs[7])["tiles"]] == [False] * 2 + [True] * 5
    boards = {each["board"]: each for each in groups["accuracyshare"]["boards"]}
    assert boards["stm32f446re"]["fronts"]["latency_ms"] == [0]
    assert boards["stm32f446re"]["best"] == 0
    assert boards["stm32f767zi"]["best"] == 3
    assert boards["stm32h7"]["best"] is None
    assert boards["stm32h7"]["fronts"] == {"latency_ms": [], "sram_bytes": [], "flash_bytes": []}
    assert data["left_out"][0]["path"] == str(tmp_path / "broken")
    assert data["rows"][5]["score"] == 0.9


@pytest.mark.parametrize("name", ["kws_small", "ad", "vww_small", "kws_mixed"])
def test_blocks_return_to_their_places(name: str) -> None:
    """A random network of a space: what is kept has its widths, what is not is named as skipped."""
    space = Space.load(name)
    source = random.Random(name)
    largest = {each.name: each.options[-1] for each in space.decisions}
    for _ in range(50):
        choice = space.random(source)
        architecture, values = space.architecture(choice), space.values(choice)
        blocks = blocks_of(space.drawing(choice))
        places = blocks[1:-1]
        kept = [block for block in places if block["width"]]
        assert [(block["width"],) for block in kept] == [each.width for each in architecture.blocks]
        assert len(places) == sum(entry.repeat for entry in space.blocks)
        for block in places:
            assert block["largest"] == largest[f"{block['name']}.width"]
            assert not block["width"] or block["width"] == values[f"{block['name']}.width"]
        for decision in space.decisions:
            if decision.kind == "depth":
                row = row_of(decision.name, places)
                assert len(row) == len(decision.options) - 1
                expected = [position < values[decision.name] for position in range(len(row))]
                assert [block["width"] > 0 for block in row] == expected


def row_of(depth: str, places: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks a decision such as ``block2-9.depth`` or ``block4.keep`` is about."""
    first, _, last = depth.rpartition(".")[0].removeprefix("block").partition("-")
    numbers = range(int(first), int(last or first) + 1)
    return [block for block in places if int(block["name"].removeprefix("block")) in numbers]


def test_costs_of_the_blocks_add_up_to_the_layers() -> None:
    """Also of a network with skipped blocks; what was skipped costs nothing."""
    space, board = Space.load("vww_small"), Board.load("stm32f446re")
    source = random.Random(1)
    for _ in range(10):
        choice = space.random(source)
        layers = profile(space.resolve(choice), board, kind=space.kind)["layers"]
        rows = [{**layer, "latency_ms": layer["latency_share"]} for layer in layers]
        blocks = blocks_of(space.drawing(choice), rows)
        for key in ("macs", "weights_bytes", "latency_ms"):
            total = sum(row[key] for row in rows)
            assert sum(block.get(key, 0) for block in blocks) == pytest.approx(total)
        assert all("macs" in block or not block["width"] for block in blocks)


@pytest.mark.parametrize(
    ("count", "objective", "words"),
    [(12, "classes", "12 classes"), (2, "labels", "2 labels"), (1, "regression", "1 output")],
)
def test_outputs_are_named_by_the_objective(count: int, objective: str, words: str) -> None:
    assert outputs_of(count, objective) == words


def test_a_given_network_is_compared_with_itself() -> None:
    blocks = blocks_of(toy.SPACE.architecture(toy.SPACE.uniform(0.5)).drawing(()))
    assert [block["name"] for block in blocks[:2]] == ["stem", "block1"]
    assert blocks[-1]["outputs"] == "4 classes"
    assert [block["largest"] for block in blocks] == [block["width"] for block in blocks]
    assert all(block["largest"] == 12 for block in blocks[1:-1])


def test_a_run_from_before_networks_were_written_down_is_drawn_from_its_file(
    found: Path, tmp_path: Path
) -> None:
    now = shown(found)["network"]["blocks"]
    old = shutil.copytree(found, tmp_path / "old")
    history = json.loads((old / "history.json").read_text())
    names = [each.name for each in toy.SMALL.decisions]
    assert list(history.pop("choice")) == names
    assert len(history.pop("network")) == len(now)
    (old / "history.json").write_text(json.dumps(history))
    before = shown(old)["network"]["blocks"]
    kept = [block for block in now if block["width"]]
    costs = ("width", "macs", "latency_ms", "weights_bytes", "output")
    assert [[block[key] for key in costs] for block in before] == [
        [block[key] for key in costs] for block in kept
    ]
