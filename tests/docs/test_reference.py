"""The reference has every command and key, and pages name those that there are."""

import pkgutil
import re
import runpy
from typing import Any

import typer.main

from micronas.cli import app
from micronas.cli.config import sections
from tests.docs.markdown import PAGES, ROOT, blocks


def test_the_reference_is_what_the_code_says() -> None:
    """If not, run ``python .ci/reference.py``."""
    script = runpy.run_path(str(ROOT / ".ci" / "reference.py"))
    wrong = [path.name for path, text in script["files"]().items() if path.read_text() != text]
    assert not wrong
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert set(re.findall(r'--8<-- "docs/reference/(.*)"', page)) == {
        f"configuration/{section}.yaml" for section in sections()
    }


def test_names_that_the_reference_lists_exist() -> None:
    """The site leaves out a name that a module lacks, and says nothing."""
    listed = []
    for page in (ROOT / "docs" / "reference").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        listed += re.findall(r"^::: (\S+)\n +options: {members: \[(.*)\]}", text, re.MULTILINE)
    assert len(listed) > 20
    for module, names in listed:
        assert set(names.split(", ")) <= {*dir(pkgutil.resolve_name(module))}, module


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
