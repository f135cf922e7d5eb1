"""The site builds without a warning with the extra docs alone, and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)[^>]*\ssrc=\"?(?:https?:)?//"
    r"|<link(?![^>]*rel=\"?canonical)[^>]*\shref=\"?(?:https?:)?//"
    r"|url\(['\"]?(?:https?:)?//"
)


pytestmark = pytest.mark.long


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


def test_settings_say_what_they_inherit(site: Path) -> None:
    built = (site / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
    assert "inherited" in built
