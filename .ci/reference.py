"""Write the generated parts of docs/reference; the tests compare.

Commands stand in commands.md below their comment, and what `micronas config SECTION` prints in
configuration/SECTION.yaml, which the site shows in configuration.md.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from micronas.cli import app
from micronas.cli.config import section_keys, sections
from micronas.keys import as_yaml

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
_COMMANDS = re.compile(r"(<!-- commands -->\n).*", re.DOTALL)


def files() -> dict[Path, str]:
    """Return the files as they should be."""
    page = REFERENCE / "commands.md"
    block = "\n".join(["```text", *commands(), "```", ""])
    listed = _COMMANDS.sub(lambda match: match[1] + block, page.read_text("utf-8"))
    keys = {
        REFERENCE / "configuration" / f"{section}.yaml": f"{as_yaml(section_keys(section))}\n"
        for section in sections()
    }
    return {page: listed, **keys}


def commands() -> Iterator[str]:
    """Yield the arguments and the first clause of the help of every command, in two columns."""
    rows = [
        (" ".join([path, *words(command)]), re.split(r"\n\n|[:;]", command.help or "")[0])
        for path, command in below(typer.main.get_command(app), "")
    ]
    width = max(len(call) for call, _ in rows)
    for call, clause in rows:
        yield f"{call:{width}}  {' '.join(clause.split()).rstrip('.')}"


def below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its path."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, each in inner.items():
        yield from below(each, f"{path} {name}".strip())


def words(command: Any) -> Iterator[str]:
    """Yield a command's arguments but for settings, which the page explains."""
    for each in command.params:
        if each.param_type_name == "argument" and each.metavar != "[KEY=VALUE]...":
            word = each.metavar or each.name.upper()
            yield word if each.required else f"[{word}]"


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
