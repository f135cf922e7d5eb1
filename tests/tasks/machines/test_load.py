"""Which clip is in which part, what is left out and named, and what `check` finds."""

import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.data import DataSet
from micronas.errors import DataError
from micronas.tasks.machines.check import check
from micronas.tasks.machines.folder import open_folder
from micronas.tasks.machines.load import load
from micronas.tasks.machines.settings import MachineSettings

LENGTH = 40_000
"""Samples of a clip: 77 frames, so one image at hop 20."""


def write(path: Path, *, seed: int = 0, samples: int = LENGTH, rate: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng((seed, *path.name.encode())).normal(0, 1000, samples)
    soundfile.write(path, noise.astype(np.int16), rate)


def dcase(root: Path, machines: int = 2, training: int = 4, test: int = 2) -> Path:
    for machine in range(machines):
        for i in range(training):
            write(root / f"train/normal_id_{machine:02}_{i:08}.wav", seed=machine)
        for i in range(test):
            write(root / f"test/normal_id_{machine:02}_{i:08}.wav", seed=10 + machine)
            write(root / f"test/anomaly_id_{machine:02}_{i:08}.wav", seed=20 + machine)
    return root


def read(root: Path, **given: float) -> DataSet:
    return load(MachineSettings(path=root, **given))


def test_dcase_layout(tmp_path: Path) -> None:
    data = read(dcase(tmp_path, machines=3))
    assert data.classes == ("id_00", "id_01", "id_02")
    assert data.input == (32, 32, 1)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert data.validation.labels.tolist() == [0, 1, 2]
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    found = data.detection
    assert found.machines.tolist() == [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
    assert found.anomalous.tolist() == [True] * 6 + [False] * 6
    assert found.names == data.classes
    assert "9 for training, 3 for validation, 6 normal and 6 anomalous for test" in data.summary


def test_windows_of_a_clip_stay_together_and_know_it(tmp_path: Path) -> None:
    root = dcase(tmp_path)
    write(root / "test/anomaly_id_01_00000009.wav", samples=160_000)
    data = read(root)
    # 311 frames: (311 - 64) // 20 + 1 = 13 windows; the clip is the last of the anomalies.
    assert data.detection.clips.bincount().tolist() == [1, 1, 1, 1, 13, 1, 1, 1, 1]
    assert torch.equal(data.detection.split.groups, data.detection.clips)
    sparse = read(root, overlap=0)
    assert sparse.detection.clips.bincount().tolist() == [1, 1, 1, 1, 4, 1, 1, 1, 1]


def test_inputs_are_standardised_on_the_training_part(tmp_path: Path) -> None:
    root = dcase(tmp_path)
    write(root / "test/normal_id_00_loud.wav", samples=LENGTH)
    quiet = np.zeros(LENGTH, np.int16)
    soundfile.write(root / "test/normal_id_01_silent.wav", quiet, 16000)
    data = read(root)
    values = data.train.batch(torch.arange(len(data.train.labels)), None)
    assert values.shape == (6, 1, 32, 32)
    assert abs(values.mean().item()) < 0.01
    assert abs(values.std().item() - 1) < 0.01
    silent = data.test.batch(torch.arange(len(data.test.labels)), None)[-1]
    mean, deviation = data.meaning["mean"], data.meaning["deviation"]
    expected = max((math.log(1e-6) - mean) / deviation, -4.0)
    assert torch.allclose(silent, torch.tensor(expected), atol=1e-4)


def test_mimii_layout_divides_by_the_name(tmp_path: Path) -> None:
    for machine in (0, 2):
        for i in range(7):
            write(tmp_path / f"slider/id_0{machine}/normal/{i:08}.wav", seed=machine)
        for i in range(2 + machine):
            write(tmp_path / f"slider/id_0{machine}/abnormal/{i:08}.wav", seed=20 + machine)
    folder = open_folder(tmp_path)
    assert folder.layout == "MIMII"
    assert folder.machines == ("id_00", "id_02")
    tested = {clip.name for clip in folder.clips if not clip.training and not clip.anomalous}
    # The names with the smallest SHA-1 (sha1sum): as many as abnormal ones, at most 7 // 2.
    order = ("00000000", "00000001", "00000005")
    assert tested == {f"slider/id_00/normal/{name}.wav" for name in order[:2]} | {
        f"slider/id_02/normal/{name}.wav" for name in order[:3]
    }
    assert sum(clip.anomalous for clip in folder.clips) == 6
    assert "MIMII" in read(tmp_path).summary


def test_names_of_any_bytes_are_divided(tmp_path: Path) -> None:
    (tmp_path / "id_00/normal").mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(tmp_path / "id_00/normal") + b"/caf\xe9.wav")).touch()
    assert open_folder(tmp_path).clips[0].training


def test_mimii_clips_in_other_folders_are_named(tmp_path: Path) -> None:
    for name in ("normal/0", "normal/1", "abnormal/0", "abnorml/0", "0"):
        write(tmp_path / f"id_00/{name}.wav")
    assert open_folder(tmp_path).unnamed == ("id_00/0.wav", "id_00/abnorml/0.wav")


def test_a_type_with_wrong_names_only_is_not_forgotten(tmp_path: Path) -> None:
    dcase(tmp_path / "fan")
    write(tmp_path / "pump/train/machine7.wav")
    assert open_folder(tmp_path).unnamed == ("pump/train/machine7.wav",)


def test_several_types_are_told_apart(tmp_path: Path) -> None:
    dcase(tmp_path / "fan", machines=1)
    dcase(tmp_path / "pump", machines=1)
    data = read(tmp_path)
    assert data.classes == ("fan/id_00", "pump/id_00")


def test_sounds_of_other_formats_are_converted_and_counted(tmp_path: Path) -> None:
    root = dcase(tmp_path)
    tone = np.sin(2 * np.pi * 1000 * np.arange(3 * 44100) / 44100)
    stereo = np.stack([tone, 0 * tone], 1)
    soundfile.write(root / "train/normal_id_00_other.wav", 0.5 * stereo, 44100)
    data = read(root)
    assert "Converted to 16000 Hz mono: 1 from 44100 Hz, 2 channels." in data.summary


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    root = dcase(tmp_path)
    write(root / "train/normal_id_00_short.wav", samples=33_279)
    write(root / "train/anomaly_id_00_here.wav")
    write(root / "train/machine7.wav")
    (root / "train/normal_id_01_broken.wav").write_bytes(b"RIFF nothing")
    (root / "train/normal_id_01_empty.wav").touch()
    (root / "train/._normal_id_01_00000000.wav").touch()
    data = read(root)
    for said in (
        f"shorter than 2.08 s: 1 files ({root}/train/normal_id_00_short.wav)",
        f"anomalies in the training folder: 1 files ({root}/train/anomaly_id_00_here.wav)",
        f"the name does not say the machine: 1 files ({root}/train/machine7.wav)",
        f"unreadable: 2 files ({root}/train/normal_id_01_broken.wav, "
        f"{root}/train/normal_id_01_empty.wav)",
    ):
        assert said in data.summary
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_imbalance_and_machines_without_a_test_are_told(tmp_path: Path) -> None:
    root = dcase(tmp_path)
    for i in range(10, 14):
        write(root / f"train/normal_id_00_{i:08}.wav")
    for path in root.glob("test/anomaly_id_01_*"):
        path.unlink()
    data = read(root)
    assert "id_00 has 7, id_01 has 3" in data.summary
    assert "for want of normal or anomalous clips: id_01." in data.summary
    assert set(data.detection.machines.tolist()) == {0}
    shutil.rmtree(root / "test")
    assert read(root).detection is None
    assert read(root).test is None


def test_validation_clips_do_not_depend_on_others(tmp_path: Path) -> None:
    root = dcase(tmp_path, training=6)
    before = read(root, validation_fraction=0.5)
    for i in range(2):
        write(root / f"train/normal_id_01_more{i}.wav")
    after = read(root, validation_fraction=0.5)
    own = [split.labels.tolist().count(0) for split in (before.train, before.validation)]
    assert own == [3, 3]
    kept = [data.validation.inputs[data.validation.labels == 0] for data in (before, after)]  # type: ignore[attr-defined]
    # The same clips, standardised by slightly other numbers.
    assert torch.allclose(kept[0], kept[1], atol=0.05)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "does not exist; unpack"),
        ("empty", "has no such file; name the folder"),
        ("one", "at least two machines to tell apart, but .* has only id_00"),
        ("few", "id_01 of .* has 1; add recordings"),
    ],
)
def test_unusable_folders_are_refused(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    dcase(tmp_path / "one", machines=1)
    dcase(tmp_path / "few")
    for i in range(1, 4):
        (tmp_path / f"few/train/normal_id_01_{i:08}.wav").unlink()
    with pytest.raises(DataError, match=said):
        read(tmp_path / path)


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    root = dcase(tmp_path)
    assert check(root) == []
    shutil.copy(root / "train/normal_id_00_00000001.wav", root / "test/normal_id_00_copy.wav")
    write(root / "train/anomaly_id_00_here.wav")
    write(root / "test/machine7.wav")
    write(root / "test/normal_id_01_short.wav", samples=16_000)
    (root / "test/normal_id_01_empty.wav").touch()
    write(root / "train/normal_id_02_00000000.wav")
    write(root / "test/normal_id_01_cut.wav")
    cut = (root / "test/normal_id_01_cut.wav").read_bytes()[:-101]
    (root / "test/normal_id_01_cut.wav").write_bytes(cut)
    shutil.copy(root / "test/normal_id_01_00000000.wav", root / "test/anomaly_id_01_0.wav")
    (root / "train/normal_id_02_00000001.wav").write_bytes(
        (root / "train/normal_id_02_00000000.wav").read_bytes()
    )
    assert "Sounds for training and for test: 1; AUC will look" in read(root).summary
    found = [str(finding) for finding in check(root)]
    assert len(found) == 9
    for start, end in (
        ("name: test/machine7.wav", "which machine it is of"),
        ("cut: test/normal_id_01_cut.wav", "the last 101 bytes are missing"),
        ("unreadable: test/normal_id_01_empty.wav", "replace or delete it"),
        ("short: test/normal_id_01_short.wav", "1000 ms long"),
        ("duplicate: train/normal_id_00_00000001.wav", "same sound as test/normal_id_00_copy.wav"),
        ("duplicate: test/normal_id_01_00000000", "same sound as test/anomaly_id_01_0.wav"),
        ("anomaly: train/anomaly_id_00_here.wav", "is in the training folder"),
        ("missing: id_02", "has no normal test clips"),
        ("missing: id_02", "has no anomalous test clips"),
    ):
        assert any(each.startswith(start) and each.endswith(end) for each in found), (start, found)


def damage(content: bytes, generator: np.random.Generator) -> bytes:
    """Cut a file short, overwrite some of it, or put something in."""
    kind, where = generator.integers(3), int(generator.integers(min(len(content), 100)))
    if kind == 0:
        return content[: int(generator.integers(len(content)))]
    noise = generator.bytes(int(generator.integers(1, 40)))
    return content[:where] + noise + content[where + (len(noise) if kind == 1 else 0) :]


def test_damaged_files_never_stop_the_loader(tmp_path: Path) -> None:
    """Each of 200 damaged clips is used or named."""
    root = dcase(tmp_path)
    content = (root / "train/normal_id_00_00000000.wav").read_bytes()
    generator = np.random.default_rng(0)
    for i in range(200):
        path = root / f"test/normal_id_00_damaged{i:03}.wav"
        path.write_bytes(damage(content, generator))
    data = read(root)
    named = {each.name for each in check(root) if each.kind in ("unreadable", "short")}
    clips = len(data.detection.machines)
    assert clips + len(named) == 208
    assert 20 < len(named) < 200
    inputs = data.detection.split.batch(torch.arange(len(data.detection.clips)), None)
    assert inputs.isfinite().all()


@settings(max_examples=20)
@given(st.lists(st.sampled_from("ab"), min_size=2, max_size=12), st.floats(0.01, 0.5))
def test_each_machine_has_clips_in_both_parts(
    tmp_path_factory: pytest.TempPathFactory, machines: list[str], fraction: float
) -> None:
    root = tmp_path_factory.mktemp("machines")
    counts = {"00": machines.count("a") + 2, "01": machines.count("b") + 2}
    for machine, count in counts.items():
        for i in range(count):
            write(root / f"train/normal_id_{machine}_{i:08}.wav", samples=33_280)
    data = read(root, validation_fraction=fraction)
    for label, count in enumerate(counts.values()):
        held = data.validation.labels.tolist().count(label)
        assert held == math.ceil(fraction * count)
        assert data.train.labels.tolist().count(label) == count - held > 0
