import subprocess
import sys
import time
from pathlib import Path

import pytest

from micronas.cli.alive import sign_of_life


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "kws_open", "board=x"], "micronas search is at work\n"),
        (["router", "fit", "router.yaml"], "micronas router fit is at work\n"),
        (["search", "kws", "--quiet"], ""),
        (["boards", "--json"], ""),
        ([], ""),
    ],
)
def test_what_takes_long_says_that_it_goes_on_unless_it_is_to_be_silent(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with sign_of_life(words, after=0.05):
        time.sleep(0.5)
    assert capsys.readouterr().err == said


def test_what_is_quick_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with sign_of_life(["boards"], after=30):
        pass
    assert capsys.readouterr().err == ""


def test_the_shells_completion_is_not_disturbed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_MICRONAS_COMPLETE", "complete_bash")
    with sign_of_life(["boards"], after=0.05):
        time.sleep(0.3)
    assert capsys.readouterr().err == ""


def test_a_command_that_waits_for_its_data_shows_a_sign(tmp_path: Path) -> None:
    """A pipe that nobody writes to stands for a slow disk."""
    script = (
        "import sys, time; import micronas.settings as s; read = s.read_mapping\n"
        "s.read_mapping = lambda path: (time.sleep(4), read(path))[1]\n"
        "import micronas.runs.settings as r; r.read_mapping = s.read_mapping\n"
        "sys.argv = ['micronas', 'search', 'kws_open']; from micronas.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    first, last = done.stderr.splitlines()
    assert first == "micronas search is at work"
    assert last.startswith("error: a run must name its board")
