"""The site builds without a warning, loads nothing from elsewhere, has every command and key."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from micronas.cli import app
from micronas.cli.config import sections
from tests.docs.markdown import PAGES, ROOT, blocks

LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)[^>]*\ssrc=\"?(?:https?:)?//"
    r"|<link(?![^>]*rel=\"?canonical)[^>]*\shref=\"?(?:https?:)?//"
    r"|url\(['\"]?(?:https?:)?//"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    assert LOADED.search('<script src="https://cdn.example/x.js">')
    assert LOADED.search("<link rel=stylesheet href=//fonts.example/css>")
    assert not LOADED.search('<a href="https://arxiv.org/abs/2010.11267">')
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 20
    assert site / "example" / "report.html" in files
    assert not [file for file in files if LOADED.search(file.read_text(encoding="utf-8"))]


def test_equations_are_drawn_by_the_browser_itself(site: Path) -> None:
    page = (site / "method" / "index.html").read_text(encoding="utf-8")
    equations = re.findall(r"<math.*?</math>", page, re.DOTALL)
    assert len(equations) == (ROOT / "docs/method.md").read_text().count("```math")
    assert not [each for each in equations if "\\" in each]


def test_the_reference_is_what_the_code_says(site: Path) -> None:
    """If not, run ``python .ci/reference.py``."""
    script = runpy.run_path(str(ROOT / ".ci" / "reference.py"))
    wrong = [path.name for path, text in script["files"]().items() if path.read_text() != text]
    assert not wrong
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert set(re.findall(r'--8<-- "docs/reference/(.*)"', page)) == {
        f"configuration/{section}.yaml" for section in sections()
    }
    built = (site / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
    assert "inherited" in built


def _commands(command: Any, path: str) -> list[tuple[str, Any]]:
    below = getattr(command, "commands", {})
    if not below:
        return [(path, command)]
    return [each for name, inner in below.items() for each in _commands(inner, f"{path} {name}")]


def test_commands_that_pages_name_exist() -> None:
    """Also those in blocks that are not run, with their options."""
    known = dict(_commands(typer.main.get_command(app), "micronas"))
    seen = 0
    for page in PAGES:
        for block in blocks(page):
            if block.language != "bash":
                continue
            for line in block.text.replace("\\\n", " ").splitlines():
                words = line.split(" #")[0].split()
                if words[:1] != ["micronas"]:
                    continue
                path = next(
                    (" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in known), ""
                )
                assert path, f"{page}: {line}"
                options = {option for each in known[path].params for option in each.opts}
                given = {word.split("=")[0] for word in words if word.startswith("--")}
                assert given <= {*options, "--help"}, f"{page}: {line}"
                seen += 1
    assert seen > 30
