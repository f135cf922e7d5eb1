"""What firmware is told of a run: front end, labels, margin, example; and its code on this PC."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from micronas.errors import ConfigError
from micronas.graph.ir import Graph
from micronas.objectives.decision import decision
from micronas.runs.device import compare_front_end, device, recordings_of
from micronas.space.space import Space
from micronas.streaming.events import Detector
from micronas.tasks.device import front_end
from micronas.tasks.machines.front_end import SHORTEST
from micronas.tasks.recorded import files, recordings
from micronas.tasks.waveform import write_samples
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import ds_cnn, quantize_randomly
from tests.command import command

LABELS = tuple(f"word {number}" for number in range(12))


def run_folder(folder: Path, graph: Graph | None = None, **seen: object) -> bytes:
    graph = quantize_randomly(graph or ds_cnn(4, 1))
    meaning = {"features": "mfcc", "window_ms": 40, **seen}
    model = to_flatbuffer(graph, metadata=describe(classes=LABELS, meaning=meaning))
    folder.mkdir()
    (folder / "model.tflite").write_bytes(model)
    decided = {"thresholds": [9] * 12, "smoothing": 3, "believed": 0.5, "right": 0.96}
    (folder / "metrics.json").write_text(json.dumps({"decision": decided}))
    (folder / "history.json").write_text(json.dumps({"example": [*range(-128, 112), *[5] * 250]}))
    (folder / "config.yaml").write_text("board: nucleo_l476rg\n")
    return model


def test_firmware_of_a_run_hears_decides_and_checks_itself_on_an_example(tmp_path: Path) -> None:
    model = run_folder(tmp_path / "run")
    found = device(tmp_path / "run", model, read(model))
    assert found.application.labels == list(LABELS)
    assert found.application.decision == Detector((9,) * 12, smoothing=3)
    assert found.example.reshape(-1)[[0, 239, 489]].tolist() == [-128, 111, 5]
    exported = ("export", "run", "--format", "project", "--out", "firmware")
    assert command(*exported, cwd=tmp_path).returncode == 0
    project = tmp_path / "firmware"
    assert {"app.cc", "decision.h", "front_end.c"} <= {path.name for path in project.iterdir()}
    assert "kThresholds[kLabelCount] = {9, 9," in (project / "decision.h").read_text()
    assert '"word 11",' in (project / "decision.h").read_text()
    assert "-128, -127, -126" in (project / "golden.h").read_text()
    script = (project / "qemu/board.ld").read_text()
    assert re.findall(r"LENGTH = (\d+)", script) == ["1048576", "98304"]  # of the run's board


def test_a_file_alone_says_which_labels_make_no_event(tmp_path: Path) -> None:
    written = describe(
        classes=LABELS, meaning={"features": "mfcc", "window_ms": 40}, outputs={"ignored": [0, 3]}
    )
    model = to_flatbuffer(quantize_randomly(ds_cnn(4, 1)), metadata=written)
    found = device(tmp_path / "net.tflite", model, read(model)).application
    assert found.decision.thresholds == (None, 1, 1, None, *[1] * 8)


@pytest.mark.parametrize(
    ("computes", "frames", "stride", "hop"),
    [("new rows", 4, 4, 4), ("windows", 5, None, 5), ("windows", 4, 4, 0)],
)
def test_calls_are_as_far_apart_as_the_run_was_measured(
    computes: str, frames: int, stride: int | None, hop: int, tmp_path: Path
) -> None:
    """But for a window at each score of a network that could stream."""
    data = run_folder(tmp_path / "run")
    metrics = tmp_path / "run/metrics.json"
    heard = {"computes": computes, "hop_frames": frames, "stride_frames": stride}
    metrics.write_text(json.dumps(json.loads(metrics.read_text()) | {"listening": heard}))
    application = device(tmp_path / "run", data, read(data)).application
    assert application.decision.hop == hop


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('{"detector": {"thresholds": [5],}}', "is damaged"),  # a comma too many, by hand
        ('{"other": 1}', "is damaged"),
        ('{"detector": {"thresholds": [5]}}', "each of word 0, .* has 1, for"),
        (json.dumps({"detector": {"thresholds": [5] * 12, "labels": LABELS[::-1]}}), "has 12, for"),
    ],
)
def test_thresholds_of_a_detector_that_cannot_be_are_no_others(
    written: str, said: str, tmp_path: Path
) -> None:
    """Those of the validation part went into firmware in their place, or to other labels."""
    data = run_folder(tmp_path / "run")
    (tmp_path / "run/detector.json").write_text(written)
    with pytest.raises(ConfigError, match=said):
        device(tmp_path / "run", data, read(data))


def test_a_board_file_that_is_gone_leaves_the_emulated_memory(tmp_path: Path) -> None:
    model = run_folder(tmp_path / "run")
    (tmp_path / "run/config.yaml").write_text("board: mine.yaml\n")
    assert device(tmp_path / "run", model, read(model)).board is None


def test_a_file_that_says_nothing_of_its_input_has_no_front_end(tmp_path: Path) -> None:
    model = to_flatbuffer(quantize_randomly(ds_cnn(4, 1)))
    found = device(tmp_path / "a.tflite", model, read(model))
    assert (found.application, found.example) == (None, None)


def test_recordings_go_through_c_and_python(tmp_path: Path) -> None:
    model = run_folder(tmp_path / "run")
    source = np.random.default_rng(0)
    (tmp_path / "clips").mkdir()
    for number in range(5):
        clip = source.normal(size=14_000 + 1_000 * number) * 0.1
        soundfile.write(tmp_path / "clips" / f"{number}.wav", clip, 16_000)
    (tmp_path / "clips" / "broken.wav").write_text("no sound")
    graph = read(model)
    found = compare_front_end(
        tmp_path / "run", model, graph, recordings_in=tmp_path / "clips", count=100
    )
    assert found == {
        "front_end": "mfcc",
        "recordings": 5,
        "codes": 5 * 490,
        "differing_codes": 0,
        "differing_decisions": 0,
    }


def test_short_sounds_of_machines_are_left_out_of_the_comparison(tmp_path: Path) -> None:
    meaning = {"features": "log-mel", "mean": -5.0, "deviation": 2.0}
    made = front_end(meaning, (1, 32, 32, 1))
    assert made is not None
    for name, length in (("short", SHORTEST - 1), ("whole", SHORTEST)):
        write_samples(tmp_path / f"{name}.wav", np.arange(length, dtype=np.int16))
    found = recordings(tmp_path, meaning, made, count=9)
    assert [each.path.name for each in found] == ["whole.wav"]


def test_windows_that_lack_a_value_are_left_out_of_the_comparison(tmp_path: Path) -> None:
    """Training leaves them out, and C and NumPy have different codes for what is no number."""
    meaning = {"features": "series", "window": 8, "mean": [0.0], "deviation": [1.0], "limit": 4.0}
    made = front_end({**meaning, "columns": ["x"]}, (1, 8, 1, 1))
    assert made is not None
    for name, second in (("gap", ""), ("whole", "1")):
        (tmp_path / f"{name}.csv").write_text("\n".join(["x", "0", second or '""', *"234567"]))
    found = recordings(tmp_path, {**meaning, "columns": ["x"]}, made, count=9)
    assert [each.path.name for each in found] == ["whole.csv"]


def test_pictures_of_a_csv_of_labels_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    (tmp_path / "a.webp").touch()
    (tmp_path / "config.yaml").write_text(
        f"data: {{task: images, path: {tmp_path / 'labels.csv'}}}"
    )
    assert recordings_of(tmp_path) == tmp_path
    assert files([tmp_path], {"features": "pixels"}) == [tmp_path / "a.webp"]


def test_recordings_are_seen_as_a_search_chose(tmp_path: Path) -> None:
    """Every second frame, eight coefficients as channels."""
    network = Space.load("textbook/tc_resnet8").model_copy(update={"input": (25, 1, 8)})
    model = run_folder(tmp_path / "run", network.graph(), every=2, coefficients=8)
    (tmp_path / "clips").mkdir()
    clip = np.random.default_rng(0).normal(size=16_000) * 0.1
    soundfile.write(tmp_path / "clips" / "0.wav", clip, 16_000)
    found = compare_front_end(
        tmp_path / "run", model, read(model), recordings_in=tmp_path / "clips", count=1
    )
    assert (found["codes"], found["differing_codes"]) == (200, 0)


def test_the_margin_is_the_smallest_by_which_nearly_all_are_right() -> None:
    """Twenty examples ahead by 1 to 20; those ahead by 1, 2 and 6 are wrong."""
    codes = np.zeros((20, 3), np.int8)
    codes[:, 1] = np.arange(1, 21)
    labels = np.ones(20, np.int64)
    labels[[0, 1, 5]] = 0
    found = decision(codes, labels, features="mfcc")
    # from 7 on all are right; from 3 on 17 of 18, 94.4 %
    assert found == {"thresholds": [7] * 3, "smoothing": 3, "believed": 0.7, "right": 1.0}
    labels[5] = 1
    assert (
        decision(codes, labels, features="pixels")["thresholds"] == [3] * 3
    )  # 18 of 19 are 94.7 %
