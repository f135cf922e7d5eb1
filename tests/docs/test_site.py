"""The site builds without a warning, loads nothing from elsewhere, and tells of every command."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from micronas.cli import app
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


def test_every_command_and_key_is_told(site: Path) -> None:
    told = (site / "reference" / "commands" / "index.html").read_text(encoding="utf-8")
    for path, command in _commands(typer.main.get_command(app), "micronas"):
        assert f">{path}<" in told, path
        for parameter in command.params:
            for option in parameter.opts:
                assert option in told or parameter.param_type_name == "argument"
    keys = (site / "reference" / "configuration" / "index.html").read_text(encoding="utf-8")
    for key in (
        *("budget.latency", "search.trial.epochs", "data.keywords", "data.annotations"),
        *("data.overlap", "blocks[].residual", "judge.price.prompt", "categories.NAME.quota"),
        *("experts[].active", "experts[].endpoint.base_url", "cool_down", "reserved.sram_bytes"),
    ):
        assert f"<code>{key}</code>" in keys, key


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
