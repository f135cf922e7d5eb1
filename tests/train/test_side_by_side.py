"""Trainings in processes of their own: what jobs do here, they do to a real process."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError, MicronasError
from micronas.train.side_by_side import Job, processors, side_by_side

HERE = os.getpid()


def tripled(number: int, kept: Checkpoint) -> int:
    kept.save(f"job/{number}", {"value": torch.tensor([number])})
    return 3 * number


def meeting(mine: Path, other: Path, kept: Checkpoint) -> int:
    """End once another job has begun."""
    mine.touch()
    while not other.exists():
        time.sleep(0.01)
    return os.getpid()


def dying(times: int, log: Path, kept: Checkpoint) -> int:
    """Count attempts in a file, and be killed in the first ones."""
    with log.open("a") as file:
        file.write("x")
    if len(log.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def refusing(kept: Checkpoint) -> int:
    raise ConfigError("a job must be possible, but got this one; leave it out")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_and_what_jobs_save_arrive(workers: int) -> None:
    checkpoint = Checkpoint()
    jobs = {str(number): partial(tripled, number) for number in range(5)}
    found = dict(side_by_side(jobs, workers=workers, checkpoint=checkpoint))
    assert found == {"0": 0, "1": 3, "2": 6, "3": 9, "4": 12}
    for number in range(5):
        state = checkpoint.load(f"job/{number}")
        assert state["value"].tolist() == [number]


def test_jobs_run_at_once_each_in_a_process(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    jobs = {"one": partial(meeting, one, two), "two": partial(meeting, two, one)}
    pids = set(dict(side_by_side(jobs, workers=2, checkpoint=Checkpoint())).values())
    assert len(pids | {HERE}) == 3


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    jobs: dict[str, Callable[[Checkpoint], int]] = {
        "killed": partial(dying, 2, tmp_path / "log"),
        "other": partial(tripled, 2),
    }
    found = dict(side_by_side(jobs, workers=2, checkpoint=Checkpoint()))
    assert found["other"] == 6
    assert (tmp_path / "log").read_text() == "xxx"


def test_a_process_killed_each_time_is_one_line_and_ends_the_others(tmp_path: Path) -> None:
    jobs = {
        "killed": partial(dying, 9, tmp_path / "log"),
        "waiting": partial(meeting, tmp_path / "mine", tmp_path / "never"),
    }
    with pytest.raises(MicronasError, match=r"'killed' ended 3 times with exit code -9.*workers=1"):
        dict(side_by_side(jobs, workers=2, checkpoint=Checkpoint()))
    children = Path(f"/proc/{HERE}/task/{HERE}/children").read_text().split()
    commands = [Path(f"/proc/{pid}/stat").read_text().split()[2] for pid in children]
    assert "Z" not in commands


@pytest.mark.parametrize(
    ("job", "kind", "message"),
    [
        (refusing, ConfigError, "a job must be possible"),
        (lambda kept: 1 // 0, RuntimeError, r"(?s)in a training process.*ZeroDivisionError"),
    ],
)
def test_an_error_of_a_job_is_raised_and_one_that_is_no_user_s_comes_with_its_trace(
    job: Job[int], kind: type[Exception], message: str
) -> None:
    jobs = {"bad": job, "good": partial(tripled, 1)}
    with pytest.raises(kind, match=message):
        dict(side_by_side(jobs, workers=2, checkpoint=Checkpoint()))


def test_processes_end_with_their_leader(tmp_path: Path) -> None:
    def endless(kept: Checkpoint) -> None:
        (tmp_path / str(os.getpid())).touch()
        while True:
            time.sleep(0.05)
            kept.save("s", {})

    def lead() -> None:
        list(side_by_side({"a": endless, "b": endless}, workers=2, checkpoint=Checkpoint()))

    leader = get_context("fork").Process(target=lead)
    leader.start()
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    leader.kill()
    leader.join()
    pids = [int(each.name) for each in tmp_path.iterdir()]
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_as_many_at_once_as_cpus_may_be_used() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert processors() == len(before)
