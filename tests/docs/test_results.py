"""Tables of the results that are shipped with the repository are what their command prints."""

import json
from pathlib import Path

from tests.command import command
from tests.docs.markdown import ROOT, blocks

START = "python -m benchmarks."
PRINT = """
import contextlib, io, json, runpy, sys
printed = {}
for command in sys.argv[1:]:
    module, *sys.argv[1:] = command.split()[2:]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    printed[command] = out.getvalue().splitlines()
print(json.dumps(printed))
"""


def shown() -> dict[str, list[str]]:
    """Lines of the pages below a command that needs nothing but `benchmarks/results`."""
    found: dict[str, list[str]] = {}
    for page in sorted((ROOT / "docs" / "results").glob("*.md")):
        for block in blocks(page):
            lines = block.text.splitlines()
            commands = [line for line in lines if line.startswith(START)]
            if commands and ("--table" in commands[-1] or commands[-1].endswith(".levers")):
                below = lines[lines.index(commands[-1]) + 1 :]
                found.setdefault(commands[-1], []).extend(line.rstrip() for line in below if line)
    return found


def test_tables_are_what_their_command_prints(tmp_path: Path) -> None:
    pages, script = shown(), tmp_path / "print.py"
    assert len(pages) >= 5
    script.write_text(PRINT)
    done = command(*pages, script=script, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for each, lines in json.loads(done.stdout).items():
        assert not set(pages[each]) - {line.rstrip() for line in lines}, each
