"""Write the generated parts of docs/reference: commands, and keys of settings.

``python .ci/reference.py`` writes them anew; the tests compare. Below ``<!-- config SECTION -->``
stands what `micronas config SECTION` prints, below ``<!-- commands -->`` every command.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from micronas.cli import app
from micronas.cli.config import section_keys
from micronas.keys import as_yaml

PAGES = Path(__file__).parents[1] / "docs" / "reference"
_CONFIG = re.compile(r"(<!-- config (\S+) -->\n\n)(?:```yaml\n.*?```\n)?", re.DOTALL)
_COMMANDS = re.compile(r"(<!-- commands -->\n).*", re.DOTALL)


def filled(page: str) -> str:
    """Return a page with its generated parts as they should be."""
    page = _CONFIG.sub(
        lambda match: f"{match[1]}```yaml\n{as_yaml(section_keys(match[2]))}\n```\n", page
    )
    return _COMMANDS.sub(lambda match: "\n".join([match[1], *commands(), ""]), page)


def commands() -> Iterator[str]:
    """Yield a usage and the help of every command."""
    for path, command in below(typer.main.get_command(app), "micronas"):
        yield f"- `{' '.join([path, *words(command)])}`: {plain(command.help)}"


def below(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its words."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path, command
    for name, each in inner.items():
        yield from below(each, f"{path} {name}")


def words(command: Any) -> Iterator[str]:
    for each in command.params:
        if each.param_type_name == "argument":
            word = each.metavar or each.name.upper()
            yield word if each.required or word.startswith("[") else f"[{word}]"
        elif each.name != "help" and not each.hidden:
            yield f"[{each.opts[0]}]"


def plain(text: str | None) -> str:
    return " ".join((text or "").split())


def main() -> None:
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(filled(text), encoding="utf-8")


if __name__ == "__main__":
    main()
