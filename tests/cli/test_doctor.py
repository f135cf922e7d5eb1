"""`micronas doctor`, the Tab key, and what goes to a terminal and what to a pipe."""

import json
import os
import pty
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from micronas.cli.installation import examine, missing_package, packages, problems
from micronas.progress import shown
from tests.command import command, here


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, environment=environment)


def test_versions_are_those_installed() -> None:
    done = run("doctor", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["problems"] == []
    assert found["dependencies"]["numpy"]["version"] == metadata.version("numpy")
    assert found["runtimes"]["TFLM"] == metadata.version("tflite-micro")
    assert Path(found["folders"]["search_spaces"], "kws.yaml").is_file()
    assert found["cores"] >= 1
    table = run("doctor").stdout
    assert f"numpy  {metadata.version('numpy')}".split() in [
        line.split()[:2] for line in table.splitlines()
    ]
    assert "nothing is missing" in table


def test_a_missing_or_old_package_is_a_problem() -> None:
    found = examine()
    assert problems(found) == []
    found["dependencies"]["torch"] = {"version": "1.0", "wanted": ">=2.6", "satisfied": False}
    found["dependencies"]["numpy"] = {"version": None, "wanted": ">=1.26", "satisfied": False}
    found["disk_free_bytes"] = 10**6
    torch, numpy, disk = problems(found)
    assert "torch>=2.6 must be installed, but 1.0 is" in torch
    assert "numpy>=1.26 must be installed, but none is" in numpy
    assert "1.00 MB left" in disk


def test_an_extra_is_asked_for_by_who_imports() -> None:
    def failing(part: str) -> ModuleNotFoundError:
        try:
            exec("import scipy_that_is_not_there", {"__name__": f"micronas.{part}.x"})
        except ModuleNotFoundError as error:
            error.name = "scipy.sparse"
            return error
        raise AssertionError

    for part in ("judge", "router"):
        assert f"'.[{part}]'" in (missing_package(failing(part)) or "")
    sound = ModuleNotFoundError(name="soundfile")
    assert "pip install '.[keywords]'" in (missing_package(sound) or "")
    plain = ModuleNotFoundError(name="torch")
    assert "install micronas again" in (missing_package(plain) or "")
    assert missing_package(ModuleNotFoundError(name="nobody_knows")) is None


def test_markers_are_obeyed() -> None:
    by_extra = {(each.name, each.extra) for each in packages()}
    assert ("torch", None) in by_extra
    assert ("onnx", "onnx") in by_extra
    assert ("onnx", None) not in by_extra


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("micronas profile --board stm32f76", {"stm32f767zi"}),
        ("micronas profile --board arduino_nano33", {"arduino_nano33"}),
        (
            "micronas search kws_",
            {"kws_small", "kws_streaming", "kws_strides", "kws_mixed", "kws_open"},
        ),
        ("micronas train published/vww_2", {"published/vww_2"}),
        ("micronas data check v", {"vww"}),
        ("micronas search kws budget.la", {"budget.latency="}),
        ("micronas search kws board=stm32f4", {"board=stm32f446re"}),
        ("micronas search kws board = stm32f4", {"stm32f446re"}),  # as bash cuts it
        ("micronas search kws board = stm32f446re see", {"seed="}),
        ("micronas search kws data.task =", {"kws", "images", "vww", "ad", "series", "arrays"}),
        ("micronas doc", {"doctor"}),
    ],
)
def test_the_tab_key(words: str, offered: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_MICRONAS_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert set(here("").out.split()) == offered


def test_completion_can_be_installed(tmp_path: Path) -> None:
    # the shell is found among the processes above; a second command keeps it there
    words = f"{shlex.quote(sys.executable)} -m micronas --install-completion; exit $?"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", words], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done
    script = next(path for path in tmp_path.rglob("*.sh"))
    assert "_MICRONAS_COMPLETE=complete_bash" in script.read_text()
    assert script.name in (tmp_path / ".bashrc").read_text()


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command writes where stdout is a terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "micronas", *arguments],
        env={**os.environ, "TERM": "xterm", **environment},
        stdout=follower,
        stderr=follower,
        stdin=follower,
    )
    os.close(follower)
    written = b""
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        written += piece
    os.close(leader)
    assert process.wait() == 0
    return written.decode()


@pytest.mark.long
def test_colours_are_for_terminals() -> None:
    bold_or_coloured = "\x1b["
    coloured = on_a_terminal("--help")
    assert bold_or_coloured in coloured
    without = on_a_terminal("--help", NO_COLOR="1")
    assert not any(f"\x1b[{code}" in without for code in (31, 32, 33, 34, 35, 36))
    assert bold_or_coloured not in run("--help").stdout
    assert bold_or_coloured not in run("boards").stdout


def test_a_step_is_shown_against_its_limits() -> None:
    numbers = {
        "step": 3.0,
        "loss": 0.5,
        "expected_sram": 20_000.0,
        "expected_latency": 41.25,
        "multiplier_sram": 0.1,
        "validation_accuracy": 0.875,
    }
    assert (
        shown(numbers, {"sram": 24_000.0})
        == "accuracy 87.5 %, loss 0.500, sram 20.0 KB of 24.0 KB, latency 41.2 ms"
    )
    assert shown({}, {"sram": 1.0}) == ""


def test_json_is_all_there_is(tmp_path: Path) -> None:
    made = run("data", "synth", "vww", str(tmp_path / "photos"), "--json")
    assert json.loads(made.stdout)["folder"] == str(tmp_path / "photos")
    plan = [str(tmp_path / "plan"), "--plan", "2", "--spaces", "kws_small", "--json"]
    written = json.loads(run("calibrate", *plan).stdout)
    assert written["networks"] == 2
    model = next((tmp_path / "plan/networks").glob("*.tflite"))
    exported = run("export", str(model), "--out", str(tmp_path / "x.tflite"), "--json")
    assert json.loads(exported.stdout)["bytes"] == (tmp_path / "x.tflite").stat().st_size
