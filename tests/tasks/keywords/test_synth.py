"""The synthetic corpus, rendered by the real engine."""

import os
import subprocess
import sys
import time
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
import soundfile
import torch

from micronas.errors import DataError
from micronas.tasks.keywords.check import check
from micronas.tasks.keywords.folder import open_folder
from micronas.tasks.keywords.load import load
from micronas.tasks.keywords.settings import KeywordSettings
from micronas.tasks.keywords.synth import synthesise
from micronas.tasks.keywords.words import BETWEEN, invent
from tests.contents import contents


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech") / "corpus"
    words = ("yes", "no", "stop", "happy")
    return synthesise(folder, words=words, voices=(24, 8, 8), clips_per_voice=2, seed=3)


def test_layout_parts_and_voices(corpus: Path) -> None:
    folder = open_folder(corpus)
    assert folder.words == {"happy": 80, "no": 80, "stop": 80, "yes": 80}
    voices = {
        part: {clip.speaker for clip in folder.clips if clip.part == part}
        for part in ("training", "validation", "testing")
    }
    assert [len(names) for names in voices.values()] == [24, 8, 8]
    assert len(set.union(*voices.values())) == 40
    assert len(folder.noises) == 5
    assert "synthetic speech" in (corpus / "README.txt").read_text()


def test_clips_are_a_second_of_speech_in_noise(corpus: Path) -> None:
    for clip in open_folder(corpus).clips:
        sound, rate = soundfile.read(clip.path, dtype="int16")
        assert (rate, sound.shape) == (16000, (16000,))
        assert 6000 < np.abs(sound.astype(int)).max() < 32767
        # The floor: neither end is digital zero.
        assert np.count_nonzero(sound[:400]) > 200
        assert np.count_nonzero(sound[-400:]) > 200


def test_the_corpus_passes_its_own_check(corpus: Path) -> None:
    assert check(corpus) == []


@pytest.mark.long
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    # All voices: the breathy ones are what a clock-seeded engine would change.
    plan = {"words": ("go",), "voices": (102, 1, 1), "clips_per_voice": 1}
    first = contents(synthesise(tmp_path / "a", **plan))
    time.sleep(1.1)
    assert contents(synthesise(tmp_path / "b", **plan)) == first


def test_another_seed_gives_another_corpus(tmp_path: Path) -> None:
    plan = {"words": ("go",), "voices": (2, 1, 1), "clips_per_voice": 1}
    first, other = (
        contents(synthesise(tmp_path / str(seed), seed=seed, **plan)) for seed in (0, 1)
    )
    assert other["training_list.txt"] != first["training_list.txt"]


def test_the_engine_answers_in_a_plain_environment(tmp_path: Path) -> None:
    """With PYTHONUNBUFFERED the answers need no flush; without it both sides waited for ever."""
    call = "from pathlib import Path; from micronas.tasks.keywords.synth import synthesise\n"
    call += "synthesise(Path('corpus'), words=('go',), voices=(1, 1, 1), clips_per_voice=1)"
    plain = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    command = [sys.executable, "-c", call]
    subprocess.run(command, env=plain, cwd=tmp_path, timeout=120, check=True)
    assert len(open_folder(tmp_path / "corpus").clips) == 3


def test_words_can_be_told_apart_across_voices(corpus: Path) -> None:
    data = load(KeywordSettings(path=corpus, keywords=("yes", "no", "stop"), silence_fraction=0))
    assert data.test is not None

    def features(split: str) -> tuple[torch.Tensor, torch.Tensor]:
        part = getattr(data, split)
        spoken = (part.labels < 3).nonzero().flatten()
        inputs = part.batch(spoken, None)[:, 0, :48].unflatten(1, (8, 6)).mean(2).flatten(1)
        return torch.nn.functional.pad(inputs, (0, 1), value=1.0), part.labels[spoken]

    inputs, labels = features("train")
    # Ridge regression onto one-hot labels: a wrong label or a swapped file would show.
    gram = inputs.T @ inputs + torch.eye(inputs.shape[1])
    weights = torch.linalg.solve(gram, inputs.T @ torch.nn.functional.one_hot(labels, 3).float())
    inputs, labels = features("test")
    assert (inputs @ weights).argmax(1).eq(labels).float().mean().item() > 0.75


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"voices": (100, 10, 10)}, "104 voices in all"),
        ({"voices": (1, 0, 1)}, "at least one voice a part"),
        ({"words": ("yes", "../no")}, r"got '\.\./no'"),
        ({"clips_per_voice": 0}, "one clip a voice"),
    ],
)
def test_impossible_plans_are_refused(
    tmp_path: Path, plan: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        synthesise(tmp_path / "corpus", **plan)  # type: ignore[arg-type]
    assert not (tmp_path / "corpus").exists()


def test_a_broken_engine_is_reported_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voices = tmp_path / "data" / "voices" / "!v"
    voices.mkdir(parents=True)
    for name in "abc":
        (voices / name).touch()
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(tmp_path / "data"))
    with pytest.raises(DataError, match="the engine stopped"):
        synthesise(tmp_path / "corpus", words=("go",), voices=(1, 1, 1))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_made_up_words_come_on_top(tmp_path: Path) -> None:
    """All other clips stay as they are; no word is one of long recordings."""
    plan = {"words": ("go",), "voices": (2, 1, 1), "clips_per_voice": 1}
    plain = contents(synthesise(tmp_path / "plain", **plan))
    folder = synthesise(tmp_path / "more", made_up=3, **plan)
    more = contents(folder)
    new = {name for name in more if name.startswith("made_up/")}
    assert len({more[name] for name in new}) == 3 * 4
    listed = {name for name in plain if name.endswith((".json", "_list.txt"))}
    assert more.keys() - new == plain.keys()
    assert all(more[name] == plain[name] for name in plain.keys() - listed)
    assert open_folder(folder).words == {"go": 4, "made_up": 12}
    generator = np.random.default_rng(0)
    words = [invent(generator, ("go", "row")) for _ in range(2000)]
    assert not {*words} & {"go", *BETWEEN}
    assert len({*words}) > 1500
    with pytest.raises(DataError, match="1,000 made-up words, but got made_up=-1"):
        synthesise(tmp_path / "none", made_up=-1)
