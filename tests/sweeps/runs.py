"""Sweeps of runs that take seconds, and the processes they consist of."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from micronas.sweeps.points import parse_over, plan
from micronas.sweeps.store import points_of

SHORT = (
    *("board=stm32f446re", "budget.sram=16 KB", "budget.flash=20 KB", "budget.counts=network"),
    *("data.keywords=[yes, no, stop]", "data.silence_fraction=0.3", "data.unknown_fraction=0.3"),
    *("search.strategy=dnas", "search.steps=10", "search.warmup=20", "search.batch_size=16"),
    *("search.candidates=4", "search.finalists=1", "search.trial={epochs: 1, batch_size: 16}"),
    "train={epochs: 1, batch_size: 16}",
    "quantize={epochs: 1, batch_size: 16, learning_rate: 0.001}",
)
TWO = ("budget.latency=40ms", "board=stm32f446re,stm32f767zi")
FOUR = ("budget.latency=30ms,60ms", "board=stm32f446re,stm32f767zi")


def arguments(out: Path, *rest: str, over: tuple[str, ...]) -> list[str]:
    varied = [part for each in over for part in ("--over", each)]
    return ["sweep", "kws_small", *SHORT, *rest, *varied, "--workers", "2", "--out", str(out)]


def start(*parts: str) -> "subprocess.Popen[str]":
    """Start a command as a shell would: with Ctrl-C enabled, whatever started the tests."""
    return subprocess.Popen(
        [sys.executable, "-m", "micronas", *parts],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def until(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
    """Wait for something that must come true while a process runs; return it."""
    deadline = time.monotonic() + 120
    while not (found := condition()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def descendants(pid: int, command: str) -> list[int]:
    """Processes started by one, or by those it started, whose command line holds a text."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(status.rpartition(")")[2].split()[1])
    found, grown = {pid}, True
    while grown:
        below = {child for child, parent in parents.items() if parent in found}
        grown, found = not below <= found, found | below
    return [each for each in sorted(found - {pid}) if command in _command_line(each)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    return _command_line(pid) != ""


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def kill_one(out: Path, process: "subprocess.Popen[str]", command: str) -> None:
    """Kill a worker in the middle of a point, with the first point already done."""

    def ready() -> list[int]:
        done = list(out.glob("points/*/metrics.json"))
        under_way = [
            path
            for path in out.glob("points/*/checkpoint.pt")
            if not path.with_name("metrics.json").exists()
        ]
        return descendants(process.pid, command) if done and under_way else []

    os.kill(until(ready, process)[-1], signal.SIGKILL)


def check_points(out: Path, over: tuple[str, ...]) -> None:
    """All points, none lost, none twice, each a sound run folder."""
    points = points_of(out)
    names = [point.name for point in plan("kws_small", parse_over(over), [*SHORT, "data.path=x"])]
    assert [point.name for point in points] == names
    assert {point.state for point in points} == {"done"}
    done = rows(out, "SELECT point FROM attempts WHERE outcome = 'done' ORDER BY point")
    assert [name for (name,) in done] == sorted(names)
    for point in points:
        metrics = json.loads((point.folder / "metrics.json").read_text())
        assert point.metrics == metrics
        assert metrics["fits"] is True
        assert metrics["tflm_mismatches"] == 0
        assert metrics["latency_ms"] <= float(str(point.over["budget.latency"])[:-2])
        assert metrics["board"] == point.over["board"]


def rows(out: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(out / "sweep.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
