"""Trials on Ray: the same bits as on this machine; needs the extra ray."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.cluster import connected
from micronas.errors import ConfigError, DataError, MicronasError
from micronas.nas.settings import SingleStageSettings
from micronas.train.on_ray import on_ray
from micronas.train.recipe import Recipe
from tests.nas.test_open_problem import run
from tests.sweeps.runs import descendants
from tests.toy import data

pytestmark = pytest.mark.ray


def test_a_search_on_ray_with_a_killed_task_ends_in_the_same_result(tmp_path: Path) -> None:
    killed = threading.Event()

    def kill_one() -> None:
        while not killed.is_set():
            time.sleep(0.01)
            for pid in descendants(os.getpid(), "ray::_train"):
                os.kill(pid, signal.SIGKILL)
                killed.set()
                break

    threading.Thread(target=kill_one, daemon=True).start()
    path = tmp_path / "checkpoint.pt"
    found = run(Checkpoint(path), ray="local", workers=2)
    assert killed.is_set()
    assert found == run(workers=1)
    assert run(Checkpoint(path), workers=1) == found  # what was trained there is looked up


def test_families_that_share_weights_race_on_ray() -> None:
    trial = Recipe(epochs=1, batch_size=16)
    shared = SingleStageSettings(epochs=8, draws=4, trial=trial)
    found, alone = run(settings=shared, ray="local", workers=2), run(settings=shared, workers=1)
    assert found == alone
    assert all(torch.equal(value, alone.weights[name]) for name, value in found.weights.items())


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with connected("local", cpus=2) as module:
        yield module


def test_a_task_goes_on_from_its_state_and_its_own_comes_back(ray: Any) -> None:
    def counting(step: int, kept: Checkpoint) -> int:
        count = (kept.load("job") or {"count": 0})["count"] + step
        kept.save("job", {"count": count})
        return int(count)

    checkpoint = Checkpoint()
    found = [
        dict(on_ray({"job": partial(counting, 3)}, ray=ray, threads=1, checkpoint=checkpoint))
        for _ in range(2)
    ]
    assert found == [{"job": 3}, {"job": 6}]
    assert checkpoint.load("job") == {"count": 6}


def test_data_are_sent_once_for_all_tasks(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda each: sent.append(each) or put(each))
    given = data()

    def counted(seen: Any, times: int, kept: Checkpoint) -> int:
        return times * len(seen.train.labels)

    jobs = {str(times): partial(counted, given, times) for times in range(3)}
    checkpoint = Checkpoint()
    found = dict(on_ray(jobs, ray=ray, threads=1, checkpoint=checkpoint))
    assert checkpoint.load("0") is None  # which saved nothing
    assert found == {str(times): times * len(given.train.labels) for times in range(3)}
    assert len(sent) == 1


def test_an_error_of_a_job_is_raised_as_it_is(ray: Any) -> None:
    def refusing(kept: Checkpoint) -> int:
        raise DataError("a job must be possible, but got this one; leave it out")

    with pytest.raises(DataError, match="a job must be possible"):
        dict(on_ray({"bad": partial(refusing)}, ray=ray, threads=1, checkpoint=Checkpoint()))


def test_a_task_lost_each_time_is_one_line(ray: Any) -> None:
    def dying(kept: Checkpoint) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    with pytest.raises(MicronasError, match=r"that of 'bad' was lost 3 times .*free memory"):
        dict(on_ray({"bad": partial(dying)}, ray=ray, threads=1, checkpoint=Checkpoint()))


def test_an_accelerator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    with pytest.raises(ConfigError, match="trainings on Ray must run on the CPU, but device=mps"):
        run(ray="local", device="mps")
