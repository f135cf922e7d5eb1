"""Checkpoints: their checksum, and the state before the last, for disks that damage the last."""

import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ModelError
from micronas.files import write_atomically


def saved(path: Path, *numbers: int) -> None:
    checkpoint = Checkpoint(path)
    for number in numbers:
        checkpoint.save("train", {"epoch": number, "weights": torch.full((100,), float(number))})


def epoch(path: Path) -> int:
    state = Checkpoint(path).load("train")
    assert state is not None
    assert torch.equal(state["weights"], torch.full((100,), float(state["epoch"])))
    return int(state["epoch"])


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_named_and_the_state_before_it_is_taken(
    tmp_path: Path, kept: float, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "checkpoint.pt"
    saved(path, 1, 2, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with caplog.at_level(logging.WARNING):
        assert epoch(path) == 2
    assert [record.message for record in caplog.records] == [
        f"{path} is damaged: going on from the state before it"
    ]
    saved(path, 4)  # the damaged one does not take the sound one's place
    path.write_bytes(b"")
    assert epoch(path) == 2


def test_every_changed_byte_is_seen(tmp_path: Path) -> None:
    """torch takes most of them for weights like any other."""
    path = tmp_path / "checkpoint.pt"
    saved(path, 1)
    whole = path.read_bytes()
    state = whole.index(b"micronas sha256")  # what follows is the checksum
    for place in range(0, state, 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        with pytest.raises(ModelError, match=r"cannot be read .*; delete it to start over"):
            Checkpoint(path)


def test_killed_between_the_two_files_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    saved(path, 1, 2)
    path.unlink()
    assert epoch(path) == 1


def test_steps_in_quick_succession_are_written_with_the_next_that_must(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint = Checkpoint(path)
    for number in (1, 2, 3):
        checkpoint.save_soon("train", {"epoch": number, "weights": torch.full((100,), number)})
        state = checkpoint.load("train")
        assert state is not None
        assert state["epoch"] == number
        assert epoch(path) == 1
    checkpoint.save("scores", {})
    assert epoch(path) == 3


def test_a_step_after_a_pause_is_written(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    checkpoint = Checkpoint(path)
    checkpoint.save("train", {"epoch": 1, "weights": torch.ones(100)})
    time.sleep(1.5)
    checkpoint.save_soon("train", {"epoch": 2, "weights": torch.full((100,), 2.0)})
    assert epoch(path) == 2


@pytest.mark.parametrize("value", [[1, 2], {"train": [1]}, 3, torch.ones(2), {1: {}}])
def test_a_file_of_something_else_is_one_line(tmp_path: Path, value: object) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(value, path)
    if value == {1: {}}:
        assert Checkpoint(path).load("train") is None
        return
    with pytest.raises(ModelError, match="must be a file micronas wrote"):
        Checkpoint(path)


def test_those_of_the_first_edition_are_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"train": {"epoch": 7, "weights": torch.full((100,), 7.0)}}, path)
    assert epoch(path) == 7


def test_what_killed_processes_left_is_removed_and_a_living_ones_file_is_not(
    tmp_path: Path,
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        names = {f".x.{dead.pid}.tmp": False, f".x.{alive.pid}.tmp": True, ".x.y.tmp": True}
        names |= {f".other.{dead.pid}.tmp": True, f"x.{dead.pid}.tmp": True}
        for name in names:
            (tmp_path / name).write_text("half")
        write_atomically(tmp_path / "x", b"whole")
        found = {path.name for path in tmp_path.iterdir()}
        assert found == {name for name, stays in names.items() if stays} | {"x"}
    finally:
        alive.communicate(b"\n")
