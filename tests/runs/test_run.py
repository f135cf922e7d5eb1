"""The main job through the command line: sounds in, a verified flatbuffer out, killed or not."""

import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from micronas.errors import ConfigError
from micronas.export.verify import tflm_arena
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, measure
from micronas.nas.member import Member
from micronas.runs.run import run_search, run_training
from micronas.runs.settings import load_run, load_training
from micronas.space.space import Space
from micronas.tasks.keywords.load import load
from tests.command import command, complaints, start
from tests.kept import five_words
from tests.toy import data as toy_data

SHORT = (
    *("board=stm32f446re", "search.strategy=dnas", "search.steps=10", "search.warmup=10"),
    *("search.batch_size=16", "search.candidates=4", "search.finalists=1"),
    *("search.trial={epochs: 1, batch_size: 16}", "train={epochs: 2, batch_size: 16}"),
    "quantize={epochs: 2, batch_size: 16, learning_rate: 0.001}",
)
RESULTS = ("architecture.yaml", "model.tflite", "metrics.json")
BUDGET = ("budget.sram=22 KB", "budget.flash=96 KB", "budget.latency=41 ms")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return five_words(tmp_path_factory)


def words(corpus: Path, out: Path, *overrides: str) -> list[str]:
    keywords = "data.keywords=[yes, no, stop]"
    data = [f"data.path={corpus}", keywords, "data.silence_fraction=0.3"]
    settings = [*SHORT, *BUDGET, *data, "data.unknown_fraction=0.3", *overrides]
    return ["search", "kws_small", *settings, "--out", str(out)]


@pytest.fixture(scope="module")
def supernets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the finished run leaves its supernet."""
    return tmp_path_factory.mktemp("supernets")


@pytest.fixture(scope="module")
def finished(
    corpus: Path, supernets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float, str]:
    out = tmp_path_factory.mktemp("runs") / "whole"
    started = time.monotonic()
    done = command(*words(corpus, out), "--supernets", supernets, "--quiet")
    assert done.returncode == 0, done.stderr
    return out, time.monotonic() - started, done.stdout


def test_the_run_folder_holds_what_the_readme_says(finished: tuple[Path, float, str]) -> None:
    out, _, printed = finished
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("architecture.yaml", "checkpoint.pt", "checkpoint.pt.previous", "config.yaml"),
        *("history.json", "log", "metrics.json", "model.tflite", "report.html"),
    }
    metrics = json.loads((out / "metrics.json").read_text())
    model = (out / "model.tflite").read_bytes()
    assert metrics["version"] == 1
    assert metrics["flash_bytes"] == len(model)
    device = metrics["device"]
    front = device["front_end"]
    assert front["kind"] == "mfcc"
    assert device["flash_bytes"] == len(model) + device["code_bytes"] + front["flash_bytes"]
    assert device["flash_bytes"] <= metrics["budget"]["flash"]
    assert metrics["arena_bytes"] + front["buffer_bytes"] <= device["sram_bytes"]
    assert device["sram_bytes"] <= metrics["budget"]["sram"]
    assert device["latency_ms"] == metrics["latency_ms"] + front["step_ms"]
    assert metrics["used"]["latency"] == pytest.approx(device["latency_ms"] / 41)
    assert metrics["tflm_mismatches"] == 0
    assert metrics["tflm_bytes_compared"] > 0
    assert metrics["fits"] is True
    assert metrics["host_arena_bytes"] == tflm_arena(model).total <= metrics["budget"]["sram"]
    assert 0 <= metrics["int8_accuracy"] <= 1
    ahead = metrics["search"]
    lead = 100 * ahead["ahead_of_best_other_origin"]
    assert ahead["ahead_half_width"] is None  # one voice ranks
    assert f"winner: {ahead['winner']}, {lead:+.1f} points of accuracy" in printed
    assert set(metrics["int8_accuracy_per_class"]) == {"yes", "no", "stop", "silence", "unknown"}
    network = Space.load(out / "architecture.yaml")
    board = Board.load("stm32f446re")
    costs = measure(network.graph(), board, kind="kws")
    assert costs.flash_bytes == len(model)  # known before training, to the byte
    assert "fits true" in printed
    assert "winner: " in printed
    assert printed.endswith(f"report: {out / 'report.html'}\n")
    assert any((out / "log").iterdir())


def go_back() -> None:
    """Let each look at the clock see an hour less."""
    hours, begin = itertools.count(), time.time()
    time.time = lambda: begin - 3600.0 * next(hours)


@pytest.mark.long
def test_killed_twice_and_by_a_clock_that_goes_back_it_ends_in_the_same_bytes(
    corpus: Path, tmp_path: Path, finished: tuple[Path, float, str]
) -> None:
    whole, seconds, _ = finished
    out, source = tmp_path / "killed", random.Random(int(time.time()))
    moments = [source.uniform(*span) * seconds for span in ((0.25, 0.5), (0.5, 0.8))]
    for moment in moments:
        process = start(*words(corpus, out))
        process.join(moment)
        process.kill()
        process.join()
    done = command(*words(corpus, out), before=go_back)
    assert done.returncode == 0, done.stderr
    for name in RESULTS:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), (name, moments)
    told, expected = (json.loads((each / "history.json").read_text()) for each in (out, whole))
    for history in (told, expected):
        history.pop("made")  # the command names its folder
    assert told == expected, moments


@pytest.mark.slow
def test_memory_that_ends_is_one_line_and_nothing_is_lost(
    corpus: Path, tmp_path: Path, finished: tuple[Path, float, str]
) -> None:
    """Limits from what a process has at its begin to what a whole run takes."""
    out, ends = tmp_path / "run", set()
    for megabytes in (20, 30, 40, 50, 60, 80, 100, 150):

        def limit(bytes_: int = megabytes * 2**20) -> None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + bytes_, -1))

        done = command(*words(corpus, out), "--quiet", before=limit)
        ends.add(done.returncode)
        assert done.returncode in (0, 2), (megabytes, done.stderr)
        if done.returncode == 2:
            (line,) = done.stderr.splitlines()
            assert line.startswith("error: memory must suffice"), (megabytes, line)
    assert 2 in ends
    assert command(*words(corpus, out), "--quiet").returncode == 0
    for name in RESULTS:
        assert (out / name).read_bytes() == (finished[0] / name).read_bytes(), name


@pytest.mark.long
def test_with_its_newest_files_cut_short_it_ends_in_the_same_bytes(
    corpus: Path, tmp_path: Path, finished: tuple[Path, float, str]
) -> None:
    whole, out = finished[0], tmp_path / "cut"
    shutil.copytree(whole, out)
    for name in ("model.tflite", "metrics.json", "history.json"):
        (out / name).unlink()  # as before the run was finished
    for name in ("checkpoint.pt", "config.yaml"):
        os.truncate(out / name, (out / name).stat().st_size // 2)
    done = subprocess.run(  # pytest would take the warning of a fork
        [sys.executable, "-m", "micronas", *words(corpus, out), "--quiet"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"{out}/checkpoint.pt is damaged: going on from the state before it\n"
    for name in ("config.yaml", "architecture.yaml", "model.tflite", "metrics.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_folder_of_another_run_is_refused(
    corpus: Path, finished: tuple[Path, float, str], tmp_path: Path
) -> None:
    whole = finished[0]
    done = command(*words(corpus, whole, "seed=5"))
    assert done.returncode == 2
    assert "holds a run that differs in seed; " in done.stderr
    (tmp_path / "mine.txt").write_text("kept")
    settings = load_run("kws_small", ["board=stm32f446re", "data.path=x"])
    with pytest.raises(ConfigError, match="holds other files"):
        run_search(settings, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_ctrl_c_ends_in_one_line(corpus: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.pt"

    def interrupt() -> None:
        while not checkpoint.exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    def before() -> None:
        # a shell's background jobs ignore the signal, and so would what they start
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=interrupt, daemon=True).start()

    done = command(*words(corpus, tmp_path / "run"), "--quiet", before=before)
    assert done.returncode == 130
    assert done.stdout == ""
    assert complaints(done.stderr).splitlines() == [
        "stopped; the same command goes on from the last saved step"
    ]


def test_the_found_network_is_trained_again_from_its_file(
    tmp_path: Path, finished: tuple[Path, float, str]
) -> None:
    network = Space.load(finished[0] / "architecture.yaml")
    settings = load_training(finished[0] / "config.yaml")
    metrics = run_training(network, settings, tmp_path / "again").metrics
    assert load_training(tmp_path / "again" / "config.yaml").board == "stm32f446re"
    first = json.loads((finished[0] / "metrics.json").read_text())
    assert metrics["macs"] == first["macs"]
    assert metrics["fits"] is True
    assert metrics["tflm_mismatches"] == 0


@pytest.mark.slow
def test_twenty_random_budgets_are_kept(corpus: Path, tmp_path: Path) -> None:
    """Between the smallest and the largest network; one is kept in the runs above."""
    space, board = Space.load("kws_small"), Board.load("stm32f446re")
    problem = Member(space, board, Budget())
    low, high = (problem.costs(choice) for choice in (space.smallest(), space.largest()))
    source, data = random.Random(1), None
    once = ["train={epochs: 1, batch_size: 16}", "quantize={epochs: 1, batch_size: 16}"]
    for number in range(20):
        budget = Budget(
            sram=low.host_arena_bytes + source.random() * (high.arena_bytes - low.arena_bytes),
            flash=low.flash_bytes + source.random() * (high.flash_bytes - low.flash_bytes),
            latency=low.latency_ms + source.random() * (high.latency_ms - low.latency_ms),
            counts="network",
        )
        settings = load_run(
            "kws_small", [*SHORT, *once, f"data.path={corpus}", f"seed={number}"]
        ).model_copy(update={"budget": budget})
        data = data or load(settings.data.model_copy(update={"keywords": ("yes", "no", "stop")}))
        _, trained = run_search(settings, tmp_path / str(number), data=data, workers=1)
        assert tflm_arena(trained.model).total <= (budget.sram or 0)
        assert len(trained.model) <= (budget.flash or 0)
        assert trained.metrics["latency_ms"] <= (budget.latency or 0)
        assert trained.metrics["fits"] is True


def test_data_of_another_shape_is_refused_before_training(tmp_path: Path) -> None:
    settings = load_run("kws_small", ["board=stm32f446re", "data.path=x"])
    with pytest.raises(ConfigError, match=r"must agree on the number of classes|an input must"):
        run_search(settings, tmp_path / "run", data=toy_data())


@pytest.mark.long
def test_a_supernet_is_kept_and_loaded(
    corpus: Path, supernets: Path, finished: tuple[Path, float, str], tmp_path: Path
) -> None:
    whole, _, printed = finished
    assert f"supernet saved in {supernets}" in printed
    done = command(*words(corpus, tmp_path / "loads"), "--supernets", supernets, "--quiet")
    assert done.returncode == 0, done.stderr
    assert f"supernet loaded from {supernets}" in done.stdout
    assert len(list(supernets.glob("*.pt"))) == 1
    for name in ("architecture.yaml", "model.tflite"):
        assert (tmp_path / "loads" / name).read_bytes() == (whole / name).read_bytes()
    refused = command(
        *words(corpus, tmp_path / "x", "search={strategy: random}"), "--supernets", supernets
    )
    assert refused.returncode == 2
    assert "search.strategy=random shares none" in refused.stderr
