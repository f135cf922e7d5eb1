"""Sweeps through the command line: real workers, really killed."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from micronas.errors import ConfigError
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.sweeps.store import points_of
from micronas.sweeps.sweep import sweep
from micronas.sweeps.table import fronts
from tests.command import command
from tests.sweeps.runs import (
    SHORT,
    TWO,
    alive,
    arguments,
    check_points,
    descendants,
    kill_one,
    rows,
    start,
    until,
)

WORKER = "micronas.sweeps.worker"
ONE = ("budget.latency=40ms",)


def finish(*parts: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = command(*parts)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.long
def test_two_boards_with_one_worker_killed_and_the_bytes_of_runs_alone(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    process = start(*arguments(out, f"data.path={corpus}", "--json", over=TWO))
    kill_one(out, process, WORKER)
    printed, complaints = process.communicate()
    assert process.returncode == 0, complaints
    check_points(out, TWO)
    failed = rows(out, "SELECT point, reason FROM attempts WHERE outcome != 'done'")
    assert [reason for _, reason in failed] == ["worker killed by signal 9"]
    assert sum(point.attempts for point in points_of(out)) == 3
    assert len(list(out.glob("shared/*.pt"))) == 1

    described = json.loads(printed)
    assert [point["name"] for point in described["points"]] == [
        point.name for point in points_of(out)
    ]
    assert described["fronts"] == fronts(points_of(out))
    assert set(described["fronts"]) == {"stm32f446re", "stm32f767zi"}

    # killed after the first was done: so it took the warm-up of another board or budget
    killed = next(point for point in points_of(out) if point.name == failed[0][0])
    varied = [f"{key}={value}" for key, value in killed.over.items()]
    settings = load_run("kws_small", [*SHORT, f"data.path={corpus}", *varied])
    alone = tmp_path / "alone"
    run_search(settings, alone, workers=1)
    for name in ("config.yaml", "architecture.yaml", "model.tflite", "metrics.json"):
        assert (alone / name).read_bytes() == (killed.folder / name).read_bytes(), name


@pytest.mark.long
def test_a_leader_that_is_killed_takes_its_workers_along_and_the_same_command_goes_on(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sweep"
    sweeping = arguments(out, f"data.path={corpus}", "--quiet", over=ONE)

    def at_work() -> list[int]:
        begun = list(out.glob("points/*/checkpoint.pt"))
        return descendants(process.pid, WORKER) if begun else []

    process = start(*sweeping)
    (worker,) = until(at_work, process)
    process.kill()
    process.communicate()
    again = start(*sweeping)  # the orphan ends by itself, whatever comes after
    until(lambda: not alive(worker), again)

    process = again
    (worker,) = until(at_work, process)
    process.send_signal(signal.SIGINT)
    printed, complaint = process.communicate()
    assert process.returncode == 130
    assert printed == ""
    assert complaint.splitlines() == ["stopped; the same command goes on from the last saved step"]
    assert not alive(worker)
    assert "waiting" in finish("sweep", "kws_small", "--status", "--out", str(out)).stdout

    assert "done" in finish(*sweeping).stdout
    outcomes = rows(out, "SELECT outcome FROM attempts ORDER BY id")
    assert outcomes == [("stopped",), ("stopped",), ("done",)]
    model = next(out.glob("points/*/model.tflite"))
    before = model.stat().st_mtime_ns
    finish(*sweeping)
    assert model.stat().st_mtime_ns == before


@pytest.mark.slow  # above, a killed worker's point is tried again
def test_a_failed_point_is_tried_again_and_the_others_go_on(corpus: Path, tmp_path: Path) -> None:
    out, missing = tmp_path / "sweep", tmp_path / "missing"
    over = (f"data.path={missing},{corpus}", "budget.latency=1ms,40ms")
    sweeping = arguments(out, over=over)
    done = finish(*sweeping, code=1)
    points = points_of(out)
    assert [point.state for point in points] == ["infeasible", "failed", "infeasible", "done"]
    assert [point.attempts for point in points] == [0, 2, 0, 1]
    assert "latency budget must reach the smallest network" in points[0].reason
    assert str(missing) in points[1].reason
    assert done.stderr.count("tried again") == 1
    assert points[1].reason in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    only = [points[3].name]
    assert fronts(points) == {"stm32f446re": {"latency": only, "sram": only, "flash": only}}

    shutil.copytree(corpus, missing)
    finish(*sweeping)
    assert [point.attempts for point in points_of(out)] == [0, 3, 0, 1]
    assert [point.state for point in points_of(out)][1::2] == ["done", "done"]

    changed = finish(*sweeping, "search.steps=21", code=2)
    assert (
        "must belong to one sweep, but holds one of other settings, or of a space" in changed.stderr
    )


def test_budgets_that_nothing_meets_need_no_worker_and_no_data(tmp_path: Path) -> None:
    told: list[str] = []
    points = sweep(
        "kws_small",
        {"budget.latency": ["1 ms", "2 ms"], "seed": [0, 1]},
        overrides=["board=stm32f446re", f"data.path={tmp_path / 'nothing'}"],
        out=tmp_path / "sweep",
        tell=told.append,
    )
    assert [point.name for point in points] == [
        "latency=1ms,seed=0",
        "latency=1ms,seed=1",
        "latency=2ms,seed=0",
        "latency=2ms,seed=1",
    ]
    assert {(point.state, point.attempts, point.metrics) for point in points} == {
        ("infeasible", 0, None)
    }
    assert told == []


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": "2"}, {"cpus": 0}, {"retries": -1}])
def test_numbers_out_of_range_are_named(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} must be"):
        sweep("kws_small", {"seed": [0]}, out=tmp_path, **wrong)
