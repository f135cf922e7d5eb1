"""Synthetic machines: what is written, that it repeats, and that faults can be heard but barely."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from micronas.data import Split
from micronas.errors import DataError
from micronas.objectives.clips import evaluate
from micronas.tasks.machines.check import check
from micronas.tasks.machines.load import load
from micronas.tasks.machines.settings import MachineSettings
from micronas.tasks.machines.synth import synthesise
from tests.contents import contents


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesise(tmp_path_factory.mktemp("corpus"), training=8, test=3, seconds=2.1)


def test_layout_and_list_of_faults(corpus: Path) -> None:
    data = load(MachineSettings(path=corpus))
    assert data.classes == tuple(f"{kind}/id_0{i}" for kind in ("fan", "slider") for i in range(4))
    assert "56 for training, 8 for validation, 24 normal and 24 anomalous for test" in data.summary
    assert check(corpus) == []
    with (corpus / "faults.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    listed = {row["file"] for row in rows}
    assert listed == {
        path.relative_to(corpus).as_posix() for path in corpus.glob("*/test/anomaly_*.wav")
    }
    faults = {
        kind: {row["fault"] for row in rows if row["file"].startswith(kind)}
        for kind in ("fan", "slider")
    }
    assert faults == dict(fan={"imbalance", "ticks", "rub"}, slider={"loose belt", "ticks", "rub"})
    assert all(0.5 <= float(row["severity"]) <= 1.5 for row in rows)


def test_clips_are_what_they_should_be(corpus: Path) -> None:
    for path in corpus.glob("*/*/*.wav"):
        header = soundfile.info(path)
        assert (header.samplerate, header.channels, header.frames) == (16000, 1, 33600)
    sounds = [soundfile.read(path)[0] for path in corpus.glob("*/*/*.wav")]
    assert max(np.abs(sound).max() for sound in sounds) < 1.0
    assert min(np.sqrt(np.mean(sound**2)) for sound in sounds) > 0.01


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    wanted = {"training": 1, "test": 1, "seconds": 1.0}
    first, again, other = (
        contents(synthesise(tmp_path / name, **wanted, seed=seed))  # type: ignore[arg-type]
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again
    sounds = [name for name in first if name.endswith(".wav")]
    assert len(sounds) == 24
    assert all(first[name] != other[name] for name in sounds)


def test_a_corpus_is_made_once_and_replaces_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "machines"
    folder.mkdir()
    wanted = {"training": 1, "test": 1, "seconds": 1.0}
    synthesise(folder, **wanted)  # type: ignore[arg-type]
    clip = folder / "fan/train/normal_id_00_00000000.wav"
    clip.unlink()
    synthesise(folder, **wanted)  # type: ignore[arg-type]
    assert not clip.exists()
    with pytest.raises(DataError, match="holds a corpus of other settings; name another"):
        synthesise(folder, training=2, test=1, seconds=1.0)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").touch()
    with pytest.raises(DataError, match="holds something else; name another"):
        synthesise(tmp_path / "own", **wanted)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="training=0, test=1, seconds=1; ask for more"):
        synthesise(tmp_path / "none", training=0, test=1, seconds=1.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["machines", "own"]


def spectrum(split: Split) -> np.ndarray:
    """Mean and spread of each band over a window: [N, 64]."""
    inputs = split.batch(torch.arange(len(split.labels)), None)[:, 0].numpy()
    return np.concatenate([inputs.mean(1), inputs.std(1)], 1)


def test_faults_can_be_heard_but_not_by_all_means(corpus: Path) -> None:
    """Distance from the machine's own normal clips finds most faults and not all."""
    data = load(MachineSettings(path=corpus))
    train, labels = spectrum(data.train), data.train.labels.numpy()
    test, tested = spectrum(data.detection.split), data.detection.split.labels.numpy()
    centres = np.array([train[labels == label].mean(0) for label in range(8)])
    covariance = np.cov((train - centres[labels]).T) + 0.01 * np.eye(64)
    away = test - centres[tested]
    distance = np.einsum("ij,jk,ik->i", away, np.linalg.inv(covariance), away)
    scores = np.zeros((len(test), 8))
    scores[np.arange(len(test)), tested] = -distance
    assert 0.75 < evaluate(data.detection, scores)["auc"] < 0.995
