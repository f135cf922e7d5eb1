"""Checkpoints: their checksum, and the state before the last, for disks that damage the last."""

import logging
import multiprocessing
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError, ModelError
from micronas.files import write_atomically


def saved(path: Path, *numbers: int) -> None:
    checkpoint = Checkpoint(path)
    for number in numbers:
        checkpoint.save("train", {"epoch": number, "weights": torch.full((100,), float(number))})


def epoch(path: Path) -> int:
    state = Checkpoint(path).load("train")
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
    (tmp_path / "checkpoint.pt.previous").write_bytes(b"")
    with pytest.raises(ModelError, match=f"neither {path} nor {path}.previous .* delete both"):
        Checkpoint(path)


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


def test_a_file_of_something_else_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save({"train": {"epoch": 7}}, path)
    with pytest.raises(ModelError, match="must be a file micronas wrote"):
        Checkpoint(path)


FORK = multiprocessing.get_context("fork")


def holding(path: Path, ends: Connection) -> None:
    try:
        checkpoint = Checkpoint(path)
        checkpoint.save("train", {"epoch": 1})
        ends.send("holds")
        ends.recv()
    except ConfigError as error:
        ends.send(str(error))


@contextmanager
def another_process(path: Path) -> Iterator[tuple[BaseProcess, str]]:
    """A process that holds a checkpoint until the block ends, and what it says."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=holding, args=(path, there))
    process.start()
    try:
        yield process, here.recv()
    finally:
        here.send("end")
        process.join()


def test_two_processes_exclude_each_other_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with another_process(path):
        with pytest.raises(ConfigError, match=r"one process at a time may write .*another is at"):
            Checkpoint(path)
        with pytest.raises(ConfigError, match="another is at work"):
            Checkpoint(tmp_path / ".." / tmp_path.name / "checkpoint.pt")
        # one that yields reads, and writes nothing
        reader = Checkpoint(path, yields=True)
        assert reader.load("train") == {"epoch": 1}
        reader.save("train", {"epoch": 9})
        assert Checkpoint(path, yields=True).load("train") == {"epoch": 1}
    reader.save("train", {"epoch": 2})
    assert Checkpoint(path).load("train") == {"epoch": 2}


def test_a_hold_ends_with_its_process_or_object(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    with another_process(path) as (process, _):
        process.kill()
        process.join()
        checkpoint = Checkpoint(path)
    # what was forked holds nothing, and takes nothing away when it ends
    child = FORK.Process(target=checkpoint.load, args=("train",))
    child.start()
    child.join()
    with another_process(path) as (_, said):
        assert "another is at work" in said
    assert pickle.loads(pickle.dumps(checkpoint)).load("train") == {"epoch": 1}
    again = Checkpoint(path)  # in the same process, as after Ctrl-C in a notebook
    del checkpoint
    with another_process(path) as (_, said):
        assert "another is at work" in said
    del again
    assert {each.name for each in tmp_path.iterdir()} == {"checkpoint.pt"}
    with another_process(path) as (_, said):
        assert said == "holds"


def test_files_of_other_processes_are_left_alone_and_removed_by_who_holds_the_file(
    tmp_path: Path,
) -> None:
    """By number they can be of another machine or container on the same disk."""
    others = {".checkpoint.pt.4194304.tmp", ".other.0123456789abcdef.tmp", "checkpoint.pt.1.tmp"}
    left = ".checkpoint.pt.0123456789abcdef.tmp"
    for name in {*others, left}:
        (tmp_path / name).write_text("half")
    write_atomically(tmp_path / "checkpoint.pt", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {*others, left, "checkpoint.pt"}
    (tmp_path / "checkpoint.pt").unlink()
    saved(tmp_path / "checkpoint.pt", 1)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "checkpoint.pt"}
