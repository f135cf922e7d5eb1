"""Parts, scaler, augmentation, anomalies: what of a recording reaches the network, and where."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from micronas.checkpoint import Checkpoint
from micronas.data import TensorSplit
from micronas.data import divide as split
from micronas.errors import ConfigError, DataError
from micronas.hardware.board import Board
from micronas.runs.history import training_history
from micronas.runs.training import metadata
from micronas.tasks.series.augment import augment, rotations, warped
from micronas.tasks.series.check import check
from micronas.tasks.series.front_end import Scaler, fit_scaler
from micronas.tasks.series.load import load
from micronas.tasks.series.parts import divide
from micronas.tasks.series.pretext import TRANSFORMS
from micronas.tasks.series.recording import Recording
from micronas.tasks.series.synth import synthesise
from micronas.tasks.series.windows import Windows, units
from micronas.tflite.metadata import describe
from tests.tasks.series.tables import settings, write


def noise(path: Path, seed: int) -> None:
    """Write 40 samples of one channel."""
    write(path, "x", *np.random.default_rng(seed).normal(size=40))


def recordings(groups: int, labels: int, *, shared: bool) -> list[Recording]:
    """`groups` of each label; the same ones for all where they are shared."""
    return [
        Recording(
            f"{label} {group}",
            f"l{label}",
            f"g{group}" if shared else f"g{label} {group}",
            np.full((100, 1), 10.0 * label + group),
        )
        for label in range(labels)
        for group in range(groups)
    ]


@given(st.integers(3, 12), st.integers(2, 4), st.booleans(), st.integers(0, 9))
def test_no_group_is_in_two_parts_and_no_part_lacks_a_class(
    groups: int, labels: int, shared: bool, seed: int
) -> None:
    division = divide(recordings(groups, labels, shared=shared), settings(seed=seed))
    seen = [{each.group for each in found} for found in division.parts.values()]
    assert len(set.union(*seen)) == sum(map(len, seen))
    assert all(len({each.label for each in found}) == labels for found in division.parts.values())
    assert sum(map(len, division.parts.values())) == groups * labels
    assert not division.warning


def test_one_recording_a_class_is_cut_along_time_and_said_to_be() -> None:
    ramp = [Recording(name, name, name, np.arange(100.0)[:, None]) for name in "ab"]
    division = divide(ramp, settings(validation_fraction=0.2, test_fraction=0.3))
    assert [[len(each.values) for each in found] for found in division.parts.values()] == [
        [50, 50],
        [20, 20],
        [30, 30],
    ]
    joined = np.concatenate([found[0].values for found in division.parts.values()])
    assert joined[:, 0].tolist() == list(range(100))
    assert "accuracy says little of another device" in division.warning


def test_parts_of_the_source_count(tmp_path: Path) -> None:
    for part, value in (("train", 0), ("train", 2), ("test", 5)):
        for label in ("a", "b"):
            rows = (value + index % 3 for index in range(64))
            write(tmp_path / part / label / f"{value}.csv", "x", *rows)
    data = load(settings(tmp_path, window=16))
    assert len(data.test.labels) == 8
    assert "test as given, validation by whole files: 2 for training, 2 for validation" in (
        data.summary
    )
    assert "several parts" not in data.summary
    for part in ("train", "test"):
        write(tmp_path / part / "a" / "0.csv", "x,user", *["1,p1", "2,p1"] * 32)
    given = settings(tmp_path, window=16, group="user")
    for other in ("train/a/2", "train/b/0", "train/b/2", "test/a/5", "test/b/5"):
        write(tmp_path / f"{other}.csv", "x,user", *[f"1,{other}", f"2,{other}"] * 32)
    assert "In several parts as given: p1; accuracy says little" in load(given).summary
    assert "shared: p1: is in several parts" in map(str, check(given))


@pytest.mark.parametrize(("copied", "said"), [(2, True), (0, False)])
def test_copies_in_two_parts_are_said(tmp_path: Path, copied: int, said: bool) -> None:
    """A copy of a file is a group of its own, and is dealt to any part."""
    for place in range(16):
        part, label = ("train", "val", "test")[min(place // 2, 2)], "ab"[place % 2]
        seed = place % 2 if place < copied + 2 else place
        noise(tmp_path / part / label / f"{place}.csv", seed)
    text = "2 recordings are in two parts: figures will look too good."
    assert (text in load(settings(tmp_path, window=16)).summary) == said


def test_the_scaler_is_of_the_training_part_and_in_the_model_file(tmp_path: Path) -> None:
    """Against NumPy on the training windows; what the file says is what was used."""
    synthesise(tmp_path / "s", people=4, seconds=6)
    given = settings(tmp_path / "s", group="prefix", jitter=0, scaling=0)
    data = load(given)
    everything = torch.arange(len(data.train.labels))
    inputs = data.train.batch(everything, None)
    assert inputs.shape[1:] == (6, 128, 1)
    assert data.input == (128, 1, 6)
    assert float(inputs.abs().max()) <= 4.0
    assert data.meaning["columns"] == ["ax", "ay", "az", "gx", "gy", "gz"]
    assert data.meaning["rate_hz"] == 50.0
    scaler = Scaler(data.meaning["mean"], data.meaning["deviation"])  # type: ignore[arg-type]
    raw = torch.tensor([[9.81, 0, 1, 30, -20, 5]]).reshape(1, 6, 1, 1).expand(1, 6, 3, 1)
    mean, deviation = np.array(scaler.mean), np.array(scaler.deviation)
    expected = np.clip((np.array([9.81, 0, 1, 30, -20, 5]) - mean) / deviation, -4, 4)
    np.testing.assert_allclose(scaler.apply(raw)[0, :, 0, 0].numpy(), expected, rtol=1e-5)
    describe(classes=data.classes, meaning=data.meaning, channels=6)
    assert len(describe(classes=("a",), meaning={}, channels=6)["micronas"]) == 256 + 24 + 72
    fitted = fit_scaler(np.array([[1.0, 5.0], [3.0, 5.0]]), "ab")
    assert fitted == Scaler((2.0, 5.0), (1.0, 1.0))
    # air pressure in Pa, of which four digits are 101,300, and a current of nA in A, no constant
    fitted = fit_scaler(np.array([[101_324.0, 2e-7], [101_326.0, 4e-7]]), "ab")
    assert fitted.mean == (101_325.0, 3e-7)
    assert fitted.deviation == pytest.approx((1.0, 1e-7))


def test_what_float32_would_lose_is_refused(tmp_path: Path) -> None:
    """Steps of float32 are 1/16 from 2**19 to 2**20, so half a unit either way is the least."""
    for label, offset in (("a", 0), ("b", 1)):
        rows = [
            f"{i * i % 7},{1e6 + (0.01 if i % 2 else -0.01):.2f},{1e6 + i % 2},{1e7 + i % 3 / 100}"
            for i in range(offset, 64 + offset)
        ]
        for part in ("train", "test"):
            write(tmp_path / part / label / "1.csv", "x,fine,coarse,finest", *rows)
    message = (
        r"8 steps of float32 .*'fine' deviates by 0\.01 from [19][09.]+, where a step is 0\.062"
    )
    given: dict[str, object] = {"window": 8, "stride": 3}
    for wrong in (
        {"columns": ["x", "fine"]},
        {"columns": ["x"], "goal": "regression", "target": "fine"},
        {"columns": ["x", "fine"], "goal": "anomalies", "normal": "a"},
    ):
        with pytest.raises(DataError, match=message):
            load(settings(tmp_path, **given, **wrong))
    with pytest.raises(DataError, match=r"'finest' deviates by 0\.0079"):
        load(settings(tmp_path, **given, columns=["finest"]))
    kept = load(settings(tmp_path, **given, columns=["x", "coarse"]))
    assert kept.meaning["deviation"][1] == 0.5  # type: ignore[index]
    assert kept.train.batch(torch.tensor([0]), None).dtype == torch.float32
    # NumPy's own deviation of this constant is 1.3e-11 of it
    assert fit_scaler(np.full((1_000_000, 3), 0.1), "abc") == Scaler((0.1,) * 3, (1.0,) * 3)


def test_windows_that_judge_do_not_overlap(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", up=np.arange(1000.0), down=-np.arange(1000.0))
    data = load(settings(tmp_path / "a.npz", window=10, stride=5))
    assert len(data.train.labels) == 2 * 129  # 650 samples, a window of 10 every 5
    assert len(data.validation.labels) == 2 * 15
    assert len(data.test.labels) == 2 * 20
    assert len(data.test.groups.unique()) == 2 * 10  # stretches of what trained


def test_rotations_are_rotations() -> None:
    turned = rotations(50, torch.Generator().manual_seed(0), 30)
    identity = turned @ turned.transpose(1, 2)
    torch.testing.assert_close(identity, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    cosines = (turned.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2
    assert float(torch.rad2deg(cosines.clamp(-1, 1).arccos()).max()) <= 30.001
    torch.testing.assert_close(torch.linalg.det(turned), torch.ones(50), atol=1e-5, rtol=0)


def test_augmentation_turns_raw_axes_and_needs_threes(tmp_path: Path) -> None:
    """Rotation keeps the length of raw acceleration, whatever the channels' scales."""
    scaler = Scaler((0.1, -0.2, 0.9), (0.5, 0.25, 2.0))
    windows = torch.randn(8, 3, 16, 1, generator=torch.Generator().manual_seed(1)) * 0.1
    given = settings(jitter=0, scaling=0, rotation_degrees=5)
    made = augment(windows, torch.Generator().manual_seed(2), given, scaler)
    mean, deviation = (
        torch.tensor(each)[:, None, None] for each in (scaler.mean, scaler.deviation)
    )
    before, after = ((each * deviation + mean).norm(dim=1) for each in (windows, made))
    torch.testing.assert_close(before, after, atol=1e-5, rtol=1e-5)
    assert not torch.equal(windows, made)
    np.savez(tmp_path / "a.npz", up=np.arange(1000.0), down=-np.arange(1000.0))
    with pytest.raises(ConfigError, match=r"rotation_degrees needs columns in threes"):
        load(settings(tmp_path / "a.npz", rotation_degrees=10))


@hypothesis_settings(max_examples=20)
@given(st.integers(8, 64), st.floats(0, 0.5), st.integers(0, 99))
def test_warped_time_runs_forward_from_end_to_end(size: int, share: float, seed: int) -> None:
    ramp = torch.arange(float(size)).reshape(1, 1, size, 1).repeat(3, 1, 1, 1)
    made = warped(ramp, torch.Generator().manual_seed(seed), share)[:, 0, :, 0]
    assert bool((made.diff(dim=1) > 0).all())
    torch.testing.assert_close(made[:, 0], torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(made[:, -1], torch.full((3,), size - 1.0), atol=1e-3, rtol=0)


def test_anomalies_are_for_test_alone(tmp_path: Path) -> None:
    synthesise(tmp_path / "s", people=4, seconds=6)
    given = settings(tmp_path / "s", goal="anomalies", normal="lift", group="prefix")
    data = load(given)
    assert data.classes == tuple(TRANSFORMS)
    assert data.objective.accuracy_name == "pretext accuracy"
    anomalous = data.detection.anomalous
    assert int((~anomalous).sum()) * len(TRANSFORMS) == len(data.test.labels)
    assert set(data.test.labels.tolist()) == set(range(len(TRANSFORMS)))
    assert int(anomalous.sum()) == 4 * 8 * 2  # four other gestures, eight files, two windows each
    units = [len(data.detection.split.groups[part].unique()) for part in (~anomalous, anomalous)]
    assert units == [1, 4 * 8], "one person for test; others' files, whom training has seen"
    same = torch.tensor([0, 3])  # as recorded, smoother: of the same window
    first, smoother = data.train.batch(same, None)
    assert not torch.equal(first, smoother)
    assert float(smoother.diff(dim=1).abs().mean()) < float(first.diff(dim=1).abs().mean())
    torch.testing.assert_close(data.train.batch(same, None)[1], smoother)
    with pytest.raises(DataError, match=r"no recording labelled 'fine' .*set data.normal"):
        load(settings(tmp_path / "s", goal="anomalies", normal="fine"))


def test_anomalies_of_a_test_folder_are_compared_with_normal_recordings(tmp_path: Path) -> None:
    """Without a normal recording beside them nothing was tested, and no AUC told."""
    for name in ("train/normal", "test/faulty"):
        for place in range(6):
            noise(tmp_path / name / f"{place}.csv", place)
    found = load(settings(tmp_path, window=16, goal="anomalies"))
    assert "by whole files: 4 for training, 1 for validation, 1 for testing" in found.summary
    assert found.detection is not None
    assert found.detection.anomalous.tolist() == [False] * 2 + [True] * 12


def test_rest_makes_no_events(tmp_path: Path) -> None:
    synthesise(tmp_path / "s", people=4, seconds=6)
    data = load(settings(tmp_path / "s", ignored=["idle"]))
    assert data.ignored == ("idle",)
    told = json.loads(metadata(data)["micronas"])  # also to firmware of the model file alone
    assert told["output"] == {"ignored": [data.classes.index("idle")]}
    for wrong in (["rest"], ["circle", "idle", "lift", "shake", "twist"]):
        with pytest.raises(ConfigError, match=rf"is {wrong[0]}.* has circle, idle, .*; name"):
            load(settings(tmp_path / "s", ignored=wrong))
    with pytest.raises(ValueError, match=r"ignored=\['idle'\] has goal=anomalies; leave it out"):
        settings(ignored=["idle"], goal="anomalies")


def failing(path: Path, units: int = 12, samples: int = 40) -> Path:
    """Units that run to failure: `left` counts down to 0, `x` is the sample's number."""
    rows = [
        f"u{unit},{place},{place},{samples - 1 - place}"
        for unit in range(units)
        for place in range(samples)
    ]
    return write(path, "unit,time_s,x,left", *rows)


def test_windows_over_an_edge_are_judged_by_their_last_sample(tmp_path: Path) -> None:
    """12 units of 40 samples, ranges below 4, 4 to 10, 10 to 20, 20 and above, windows of 8.

    A unit has 33 windows, and their last samples, 7 to 39, have 32 to 0 left: 13, 10, 6 and 4 in
    the ranges from above. A range of n samples holds n - 7 whole windows: 13 in the first, 3 in the
    second, none in the others. Four windows share no sample, at 0, 8, 16, 24, and a fifth at 32.
    """
    path = failing(tmp_path / "a.csv")
    given = settings(path, label="left", group="unit", bins=(4, 10, 20), window=8)
    data = load(given)
    assert data.classes == ("below 4", "4 to 10", "10 to 20", "20 and above")
    units = len(data.test.labels) // 33
    assert torch.bincount(data.test.labels).tolist() == [n * units for n in (4, 6, 10, 13)]
    assert len(data.sliding.within) == 33 * units
    # intervals are over units, however few: stretches of two say nothing of a third
    assert units < 5
    assert data.test.groups.tolist() == [place // 33 for place in range(33 * units)]
    assert int(data.sliding.within.sum()) == 16 * units
    assert data.sliding.apart == 5 * units
    assert f"accuracy is over {33 * units} windows that end at every sample; {16 * units}" in (
        data.summary
    )
    last = data.test.batch(torch.arange(33), None)[:, 0, -1, 0]  # rises by one a window
    torch.testing.assert_close(last.diff(), last.diff().mean().expand(32), atol=1e-3, rtol=0)
    held = load(given.model_copy(update={"test_fraction": 0.0}))
    assert held.test is None
    assert len(held.sliding.within) == len(held.validation.labels)


def test_names_of_channels_and_values_are_told_in_full(tmp_path: Path) -> None:
    """Long names have no room in the model file, and a target beside them was taken for a channel;
    of 101,325 +- 12 four digits leave one number."""
    names = [f"Längsschwingung der {place}. Welle" for place in range(4)]
    rows = (
        f"{unit},{','.join(str((place * k) % 7) for k in range(1, 5))},{101_305 + place}"
        for unit in range(12)
        for place in range(40)
    )
    path = write(tmp_path / "a.csv", f"group,{','.join(names)},druck", *rows)
    data = load(settings(path, goal="regression", target="druck", unit="Pa", window=8))
    assert "druck in Pa: training 101312 to 101344, mean 101328;" in data.summary
    assert "columns" not in json.loads(metadata(data)["micronas"])["input"]
    board = Board.load("stm32f446re")
    told = training_history(board=board, data=data, checkpoint=Checkpoint(), outcome={})
    assert told["data"]["columns"] == names


def test_an_unlabelled_last_sample_is_nobodys_and_labels_keep_their_order(tmp_path: Path) -> None:
    rows = [
        f"u{unit},{place % 7},{'' if 80 <= place < 120 else 2 if place < 80 else 10}"
        for unit in range(12)
        for place in range(240)
    ]
    path = write(tmp_path / "a.csv", "group,x,label", *rows)
    data = load(settings(path, window=8))
    assert data.classes == ("2", "10")
    assert "Without a label: 480 samples." in data.summary
    units = len(data.test.labels) // (73 + 120)
    assert torch.bincount(data.test.labels).tolist() == [73 * units, 120 * units]
    assert int(data.sliding.within.sum()) == (73 + 113) * units
    alone = load(settings(path, window=8, group="file", columns=("x",), stride=1))
    assert alone.sliding is None
    assert "nothing of windows in which the label changes" in alone.summary


def test_a_class_without_a_window_is_told_its_true_cause(tmp_path: Path) -> None:
    rows = [
        f"u{unit},{place},{'' if unit % 2 else place},{'ab'[unit % 2]}"
        for unit in range(12)
        for place in range(20)
    ]
    path = write(tmp_path / "a.csv", "group,x,y,label", *rows)
    with pytest.raises(DataError, match=r"b has none .* column 'y' lacks (\d+) of \1 values of b"):
        load(settings(path, window=8))
    with pytest.raises(DataError, match=r"a, b has none .* recordings of a has 20; make data.w"):
        load(settings(path, window=24, columns=("x",)))
    late = settings(failing(tmp_path / "b.csv"), label="left", group="unit", bins=(36,), window=8)
    with pytest.raises(DataError, match=r"has 40, and no window of them ends in 36 and above"):
        load(late)


def test_classes_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/1", "val/a/1"):
        write(tmp_path / f"{name}.csv", "x", *[1] * 200)
    with pytest.raises(DataError, match=r"must have recordings for validation, but b has none"):
        load(settings(tmp_path))
    with pytest.raises(ValueError, match=r"stride must be at most the window"):
        settings(tmp_path, stride=200)


@pytest.mark.parametrize(("recordings_of", "people"), [(1, 1), (3, 2), (6, 6)])
def test_a_search_can_divide_what_few_people_recorded(recordings_of: int, people: int) -> None:
    """Every unit is of one recording or larger, and each class has five of them at least."""
    windows = Windows()
    for place in range(2 * recordings_of):
        label = "ab"[place % 2]
        for _ in range(20):
            windows.labels.append(label)
            windows.recordings.append(place)
            windows.groups.append(f"p{place // 2 % people}")
    found = units(windows)
    for label in "ab":
        own = {int(unit) for unit, each in zip(found, windows.labels, strict=True) if each == label}
        assert len(own) >= 5
    if people == 6:
        assert found.tolist() == [int(group[1:]) for group in windows.groups]
    parts = split(
        TensorSplit(torch.zeros(len(found), 1, 8, 1), torch.zeros(len(found)).long(), groups=found),
        (0.4, 0.4, 0.2),
        torch.Generator().manual_seed(0),
    )
    assert all(len(part.labels) for part in parts)
