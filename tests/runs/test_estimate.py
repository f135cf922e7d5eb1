"""The estimate of a run: its arithmetic by hand, and against a search that is timed."""

import io
import re
import sys
import time
from pathlib import Path

import pytest

from micronas.progress import Bars
from micronas.quantities import format_duration
from micronas.runs.estimate import estimate_search
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from tests import toy


def test_durations_are_written_for_a_person() -> None:
    assert [format_duration(each) for each in (4.4, 99, 481, 7800)] == [
        "4 s",
        "99 s",
        "8 min",
        "2 h 10 min",
    ]


@pytest.mark.long
def test_a_run_says_what_it_read_and_how_long_it_will_take(tmp_path: Path) -> None:
    """In CPU time of one thread, which others on the machine do not disturb much."""
    space = tmp_path / "toy.yaml"
    toy.SPACE.save(space)
    settings = load_run(
        space,
        [
            *("board=stm32f446re", "data.path=x", "data.task=kws", "budget.latency=20 ms"),
            *("search.draws=4", "search.trial={epochs: 2, batch_size: 16}"),
            *("train={epochs: 4, batch_size: 16}", "quantize={epochs: 1, batch_size: 16}"),
        ],
    )
    data = toy.few()
    estimate = estimate_search(toy.SPACE, data, settings)
    assert list(estimate.phases) == ["trials", "training", "quantization", "checks"]
    assert estimate.seconds == sum(estimate.phases.values())
    # each to the end, a drawn and a uniform one for four epochs more, training
    assert estimate.epochs == 8 * 2 + 2 * 4 + 4
    assert "; 100 epochs of effort take " in str(estimate)
    # 128 of 160 examples train: eight steps of 16 in an epoch
    assert str(estimate).endswith(
        "; trials of 16 steps rank networks badly: search.trial.epochs=19 takes the 150 that tell"
    )
    told: list[str] = []
    seen: dict[str, list[float]] = {}

    def progress(phase: str, done: int, total: int, _numbers: object) -> None:
        seen.setdefault(phase, []).append(time.perf_counter())

    result, _ = run_search(
        settings, tmp_path / "run", progress=progress, data=data, tell=told.append
    )
    assert f"of {estimate.networks} networks" in told[-1]
    # of the two that may join, some may be known already
    assert 0 <= estimate.networks - len(result.candidates) <= 2
    assert list(seen) == ["estimate", "trials", "training", "quantization", "checks"]
    del seen["estimate"]
    took = {phase: times[-1] - times[0] for phase, times in seen.items()}
    # a smoke test of the arithmetic, not of the machine: it may be three times as busy then
    assert 1 / 4 < sum(took.values()) / estimate.seconds < 4
    again: list[str] = []
    run_search(settings, tmp_path / "run", progress=progress, data=data, tell=again.append)
    assert again == told[:-1]  # a run that goes on has less to do


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["dnas", "ranked"])
def test_a_supernet_is_timed_too(strategy: str, tmp_path: Path) -> None:
    space = tmp_path / "toy.yaml"
    toy.SMALL.save(space)
    given = ["board=stm32f446re", "data.path=x", "data.task=kws"]
    given.append(f"search.strategy={strategy}")
    phases = estimate_search(toy.SMALL, toy.data(), load_run(space, given)).phases
    assert list(phases) == ["search", "trials", "training", "quantization", "checks"]
    assert min(phases.values()) > 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_moves_without_a_step_and_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with Bars() as bars:
        bars("training", 0, 4, {})
        deadline = time.monotonic() + 30
        while not re.search(r"0/4 00:0[2-9], \? left", shown.getvalue()):  # a tick may be late
            assert time.monotonic() < deadline, shown.getvalue()
            time.sleep(0.1)
        bars("training", 2, 4, {})
        bars.tell("a line")
        last = shown.getvalue()
    assert re.search(r"2/4 00:0(\d), 00:0\1 left", last)
    assert "a line" in last


def test_a_notebook_has_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that stays ends its line, one that makes room is wiped out."""
    for in_notebook, stay in ((False, 2), (True, 0)):
        shown = Terminal()
        monkeypatch.setattr(sys, "stderr", shown)
        if in_notebook:
            monkeypatch.setitem(sys.modules, "ipykernel", sys)
        with Bars() as bars:
            for phase in ("training", "quantization"):
                bars(phase, 2, 2, {})
        assert shown.getvalue().count("\n") == stay


def test_elsewhere_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a log or a pipe gets: at most one line in `every` seconds, and no moves of a cursor."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    began = time.monotonic()
    with Bars(every=0.5) as bars:
        bars("training", 1, 9, {})
        for done in range(2, 5):
            time.sleep(0.4)
            bars("training", done, 9, {"loss": 0.4123, "validation_accuracy": 0.5})
    lines = shown.getvalue().splitlines()
    assert 1 <= len(lines) <= (time.monotonic() - began) / 0.5
    for line in lines:
        assert re.fullmatch(
            r"training [1-4]/9, \d s(, \d+ s left)?(, accuracy 50.0 %, loss 0.412)?", line
        )
    assert "\r" not in shown.getvalue()


def test_a_minute_goes_by_without_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    with Bars() as bars:
        for done in range(1000):
            bars("training", done, 1000, {"loss": 0.4})
        time.sleep(2.5)
    assert shown.getvalue() == ""
