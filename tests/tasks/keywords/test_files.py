"""Files as people have them: damaged, in other formats, listed or labelled wrongly."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from micronas.errors import DataError
from micronas.tasks.keywords.check import check
from micronas.tasks.keywords.load import load
from micronas.tasks.recording import read_recording
from tests.tasks.keywords.corpus import make, settings, split_of, write


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return make(tmp_path)


def test_bad_files_are_left_out_and_named(corpus: Path) -> None:
    (corpus / "a" / "s00_0.wav").write_bytes(b"RIFF")
    write(corpus / "b" / "s01_1.wav", [5] * 1599)
    (corpus / "b" / "s02_1.wav").unlink()
    data = load(settings(corpus))
    assert torch.bincount(data.train.labels)[:2].tolist() == [7, 6]
    assert "shorter than 0.1 s: 2 files" in data.summary
    assert str(corpus / "a" / "s00_0.wav") in data.summary
    assert str(corpus / "b" / "s01_1.wav") in data.summary
    assert "in a list but missing: 1 files (b/s02_1.wav)" in data.summary


def test_shared_speakers_are_reported(corpus: Path) -> None:
    names = (corpus / "training_list.txt").read_text()
    (corpus / "training_list.txt").write_text(names.replace("a/s00_0.wav\n", ""))
    with (corpus / "validation_list.txt").open("a") as file:
        file.write("\na/s00_0.wav")
    assert "1 speakers appear in two parts" in load(settings(corpus)).summary


def test_copies_of_clips_in_two_parts_are_counted(corpus: Path) -> None:
    """A copy under another speaker's name was in training and in test."""
    assert "clips are in two parts" not in load(settings(corpus)).summary
    (corpus / "a" / "s15_0.wav").write_bytes((corpus / "a" / "s00_0.wav").read_bytes())
    for _ in range(2):  # decoded, then mapped
        assert "1 clips are in two parts: accuracy will look" in load(settings(corpus)).summary


def test_other_formats_are_converted_and_counted(corpus: Path) -> None:
    soundfile.write(corpus / "a" / "s00_0.wav", np.zeros((44100, 2), np.int16), 44100)
    soundfile.write(corpus / "a" / "s01_0.wav", np.zeros(8000, np.int16), 8000)
    soundfile.write(corpus / "b" / "s08_1.wav", np.zeros((44100, 2), np.int16), 44100)
    for _ in range(2):
        said = load(settings(corpus)).summary
        counted = "2 from 44100 Hz, 2 channels; 1 from 8000 Hz, 1 channel"
        assert f"Converted to 16000 Hz mono: {counted}." in said
    # a fault would make `micronas data check` fail
    assert not [each for each in check(corpus) if "s01_0" in each.name]


def damage(path: Path, kind: int, random: np.random.Generator) -> None:
    """Make a sound file useless in one of ten ways."""
    whole = path.read_bytes()
    header = bytearray(whole)
    if kind == 0:
        path.write_bytes(b"")
    elif kind == 1:
        path.write_bytes(whole[: random.integers(1, 44)])
    elif kind == 2:
        path.write_bytes(random.bytes(32044))
    elif kind == 3:
        path.write_bytes(b"<html>not found</html>" * 50)
    elif kind == 4:
        soundfile.write(path, np.full(16000, np.nan), 16000, subtype="FLOAT")
    elif kind == 5:
        path.write_bytes(whole[: 44 + random.integers(0, 3200)])
    elif kind == 6:
        path.unlink()
        path.mkdir()
    elif kind == 7:  # a rate that no microphone has
        rate = int(random.choice([0, 1, 3999, 16001, 192001, 2**31 - 1]))
        header[24:28] = rate.to_bytes(4, "little")
        path.write_bytes(header)
    elif kind == 8:  # channels
        header[22:24] = int(random.integers(9, 65536)).to_bytes(2, "little")
        path.write_bytes(header)
    else:
        path.unlink()
        path.symlink_to("nowhere.wav")


@pytest.mark.long
def test_500_damaged_files_are_all_named_and_stop_nothing(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    damaged = set()
    for w, word in enumerate("abxyz"):
        for speaker in range(200):
            path = tmp_path / word / f"s{speaker:03}_{w}.wav"
            write(path, random.integers(-9999, 9999, 1600))
            # Every word and part keeps some.
            if speaker % 2:
                damage(path, len(damaged) % 10, random)
                damaged.add(f"{word}/{path.name}")
    assert len(damaged) == 500
    named = {found.name for found in check(tmp_path) if found.kind in ("unreadable", "short")}
    assert named == damaged
    data = load(settings(tmp_path))
    assert "unreadable or shorter than 0.1 s" in data.summary
    spoken = data.train.labels < 2
    assert (data.train.groups[spoken] % 2 == 0).all()


def test_check_names_what_lists_and_labels_have_wrong(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for word, speakers in {"a": 22, "b": 22, "c": 22, "d": 2, "e": 2}.items():
        for speaker in range(speakers):
            sound = random.integers(-9999, 9999, 8000)
            write(tmp_path / word / f"{word}{speaker}_0.wav", sound)
    (tmp_path / "f").mkdir()
    (tmp_path / "b" / "b3_0.wav").write_bytes((tmp_path / "a" / "a3_0.wav").read_bytes())
    (tmp_path / "e" / "e1_0.wav").write_bytes(b"")
    lists = {
        "validation": "a/a0_0.wav\nb/b0_0.wav\nc/c0_0.wav\nd/d0_0.wav\ne/e1_0.wav\nc\\c1_0.wav\n",
        "testing": "a/a0_0.wav\na/a1_0.wav\nb/b1_0.wav\nc/c1_0.wav\nd/d9_0.wav\n",
    }
    for part, text in lists.items():
        (tmp_path / f"{part}_list.txt").write_text(text)
    assert [str(finding) for finding in check(tmp_path)] == [
        r"list: c\c1_0.wav: an entry must be <word>/<file>.wav",
        "missing: d/d9_0.wav: named in a list, but there is no such file",
        "list: a/a0_0.wav: is in two lists",
        "mislabelled: b/b3_0.wav: in training, same as a/a3_0.wav (training)",
        f"unreadable: e/e1_0.wav: {unreadable(tmp_path / 'e' / 'e1_0.wav')}",
        "empty: f: the folder has no WAV file",
        "empty: a: no usable clip in validation",
        "empty: d: no usable clip in testing",
        "empty: e: no usable clip in validation and testing",
    ]


def unreadable(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_recording(path, longest_s=60)
    return str(caught.value)


@pytest.mark.parametrize(
    ("rate", "channels", "frames"), [(16_001, 1, 9), (16_000, 9, 9), (16_000, 1, 16_001)]
)
def test_what_no_microphone_records_and_what_lasts_too_long_is_refused(
    tmp_path: Path, rate: int, channels: int, frames: int
) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((frames, channels), np.int16), rate)
    with pytest.raises(DataError, match=f"rate={rate}, channels={channels}, frames={frames}; conv"):
        read_recording(tmp_path / "a.wav", longest_s=1)


def test_check_names_words_with_few_clips(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for word, speakers in {"a": 22, "b": 22, "c": 2}.items():
        for speaker in range(speakers):
            write(tmp_path / word / f"{word}{speaker}_0.wav", random.integers(-999, 999, 8000))
    names = [f"{word}/{word}0_0.wav" for word in "abc"]
    (tmp_path / "validation_list.txt").write_text("\n".join(names))
    assert [str(finding) for finding in check(tmp_path)] == [
        "imbalance: c: 2 clips, where the usual number is 22"
    ]


def test_check_names_files_whose_end_is_missing(corpus: Path) -> None:
    names = ("_background_noise_/hum.wav", "a/s00_0.wav")
    write(corpus / names[0], np.ones(20_000, np.int16))
    for path in (corpus / name for name in names):
        path.write_bytes(path.read_bytes()[:-1000])
    found = sorted(str(finding) for finding in check(corpus))
    assert found == [f"cut: {name}: the last 1000 bytes are missing" for name in names]
    # What there is counts: a constant clip with 500 zeros at its end.
    waveforms = split_of(load(settings(corpus))).waveforms(torch.tensor([0]), None)
    assert waveforms.count_nonzero().item() == 15500


def test_a_list_that_is_not_text_is_refused(corpus: Path) -> None:
    (corpus / "validation_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a list must be a text file, but .*validation_list"):
        load(settings(corpus))
