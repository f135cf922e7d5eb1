"""Which clip is in which part, who speaks, and what `check` finds."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from micronas.errors import DataError
from micronas.tasks.keywords.check import check
from micronas.tasks.keywords.folder import open_folder, speaker_of


def write_clip(path: Path, seed: int, samples: int = 16000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 1000, samples).astype(np.int16)
    soundfile.write(path, noise, 16000)


def published_part(file_name: str) -> str:
    """Return the part by the rule as the Speech Commands README gives it."""
    name = re.sub(r"_nohash_.*$", "", file_name)
    digest = int(hashlib.sha1(name.encode("utf-8")).hexdigest(), 16)
    percentage = (digest % (2**27 - 1 + 1)) * (100.0 / (2**27 - 1))
    if percentage < 10:
        return "validation"
    return "testing" if percentage < 20 else "training"


@pytest.mark.parametrize(
    ("name", "speaker"),
    [
        ("yes/004ae714_nohash_0.wav", "004ae714"),
        ("no/00000030_NO_01.wav", "00000030"),
        ("yes/yes_01.wav", "yes_01"),
        ("Yes/yes.01.wav", "yes.01"),
        ("yes/recording.wav", "recording"),
        ("yes/_01.wav", "_01"),
    ],
)
def test_speaker_comes_from_the_name(name: str, speaker: str) -> None:
    assert speaker_of(name) == speaker


def test_parts_by_hash_without_lists(tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    for i in range(400):
        (tmp_path / "yes" / f"{i:08x}_nohash_0.wav").touch()
    folder = open_folder(tmp_path)
    assert folder.has_test
    assert {clip.part for clip in folder.clips} == {"training", "validation", "testing"}
    for clip in folder.clips:
        assert clip.part == published_part(clip.path.name)


def test_names_of_any_bytes_and_of_two_lines(tmp_path: Path) -> None:
    (tmp_path / "yes").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "yes") + b"/caf\xe9.wav")).touch()
    (tmp_path / "yes" / "new\nline.wav").touch()
    assert [str(each).partition(": a clip")[0] for each in check(tmp_path)[:2]] == [
        "unreadable: yes/caf\ufffd.wav",
        "unreadable: yes/new line.wav",
    ]


def make_listed(root: Path, *names: str) -> None:
    for name in ("a_1", "b_1", "c_1", "d_1"):
        (root / "yes").mkdir(parents=True, exist_ok=True)
        (root / "yes" / f"{name}.wav").touch()
    for part, clip in zip(("training", "validation", "testing"), "abc", strict=True):
        if part in names:
            (root / f"{part}_list.txt").write_text(f"yes/{clip}_1.wav\nyes/gone_{clip}.wav\n")


def parts_of(root: Path) -> dict[str, str]:
    return {clip.speaker: clip.part for clip in open_folder(root).clips}


def test_official_lists_leave_the_rest_for_training(tmp_path: Path) -> None:
    make_listed(tmp_path, "validation", "testing")
    parts = {"a": "training", "b": "validation", "c": "testing", "d": "training"}
    assert parts_of(tmp_path) == parts
    assert open_folder(tmp_path).missing == ("yes/gone_b.wav", "yes/gone_c.wav")


def test_lists_may_be_written_by_find_and_by_an_editor(tmp_path: Path) -> None:
    """Clips of ./yes/b_1.wav, and of a line after a byte order mark, stayed in training."""
    make_listed(tmp_path, "validation", "testing")
    known = parts_of(tmp_path)
    for name, before in (("validation", "\ufeffyes/"), ("testing", "./yes/")):
        file = tmp_path / f"{name}_list.txt"
        file.write_text(file.read_text().replace("yes/", before, 1))
    assert parts_of(tmp_path) == known


def test_a_training_list_leaves_out_the_rest(tmp_path: Path) -> None:
    make_listed(tmp_path, "training", "validation")
    assert parts_of(tmp_path) == {"a": "training", "b": "validation"}
    folder = open_folder(tmp_path)
    assert folder.unlisted == 2
    assert not folder.has_test


def test_lists_without_validation_are_refused(tmp_path: Path) -> None:
    make_listed(tmp_path, "testing")
    with pytest.raises(DataError, match=r"has only testing_list\.txt"):
        open_folder(tmp_path)


def test_a_single_subfolder_is_entered_but_a_word_is_not(tmp_path: Path) -> None:
    make_listed(tmp_path / "corpus", "validation")
    assert open_folder(tmp_path).root == tmp_path / "corpus"
    assert open_folder(tmp_path / "corpus").root == tmp_path / "corpus"


def test_folders_that_hold_no_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_folder(tmp_path / "nowhere")
    (tmp_path / "archive.tar.gz").touch()
    with pytest.raises(DataError, match=r"archive\.tar\.gz is a file"):
        open_folder(tmp_path / "archive.tar.gz")
    write_clip(tmp_path / "_background_noise_" / "a.wav", 0)
    with pytest.raises(DataError, match=r"<word>/\*\.wav"):
        open_folder(tmp_path)


def test_check_finds_every_kind_of_damage(tmp_path: Path) -> None:
    write_clip(tmp_path / "yes" / "a_1.wav", 1)
    write_clip(tmp_path / "yes" / "a_2.wav", 2, samples=800)
    write_clip(tmp_path / "yes" / "b_1.wav", 1)
    write_clip(tmp_path / "no" / "c_1.wav", 3)
    write_clip(tmp_path / "no" / "a_1.wav", 4)
    (tmp_path / "no" / "d_1.wav").write_bytes(b"RIFF")
    (tmp_path / "validation_list.txt").write_text("yes/b_1.wav\nno/a_1.wav\nno/e_1.wav\n")
    found = [(finding.kind, finding.name) for finding in check(tmp_path)]
    assert found == [
        ("missing", "no/e_1.wav"),
        ("unreadable", "no/d_1.wav"),
        ("short", "yes/a_2.wav"),
        ("duplicate", "yes/b_1.wav"),
        ("speaker", "a"),
    ]
    lines = [str(finding) for finding in check(tmp_path)]
    assert lines[2] == "short: yes/a_2.wav: 50 ms long"
    assert lines[3] == "duplicate: yes/b_1.wav: in validation, same as yes/a_1.wav (training)"
    assert lines[4] == "speaker: a: speaks in training and validation"
    assert all("\n" not in line for line in lines)
