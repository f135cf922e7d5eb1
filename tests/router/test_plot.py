"""Pictures of evaluations need matplotlib, and nothing else of the router's packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from micronas.errors import ConfigError, DataError
from micronas.router.plot import plot, read_rows

ROWS = [
    {**dict.fromkeys(("difference", "low", "high"), 0.0), "budget": budget, "method": method}
    | {"active": 0.9 * budget, "score": score}
    for budget, method, score in (
        (3e9, "two steps", 0.5),
        (12e9, "two steps", 0.6),
        (3e9, "one expert", 0.4),
    )
]
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(("aiohttp", "scipy", "starlette", "tokenizers", "wordllama")))
from micronas.cli import main
main()
"""


def test_a_plot_needs_its_own_extra_alone(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    command = [sys.executable, "-c", WITHOUT, "router", "plot", "rows.json", "--out", "p.svg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "p.svg: written\n"), done.stderr
    drawn = (tmp_path / "p.svg").read_text()
    assert "two steps" in drawn
    assert "one expert" in drawn


def test_what_is_no_evaluation_or_no_picture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[{}]")
    with pytest.raises(DataError, match="eval --out"):
        read_rows(tmp_path / "rows.json")
    with pytest.raises(ConfigError, match="known format"):
        plot(ROWS, tmp_path / "pareto.what")
