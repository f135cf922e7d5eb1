"""The floors of the house: which room may import from which.

A room imports from lower floors only, so that each can be read, tested and replaced without those
above it.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = (
    *("streaming", "objectives", "data", "graph", "tflite", "train", "space", "engine", "hardware"),
    *("evaluation", "export", "nas", "tasks", "calibration", "runs", "report", "sweeps"),
    *("language", "judge", "router", "cli"),
)
"""Rooms from the bottom.

What trains knows graphs alone, and a network of a space builds itself as one. A user's own network
becomes a space by the exporter's tracing. A router reads what a judge run wrote.
"""

IMPORTED = r"^\s*(?:from|import) (\w+)"
"""The first word of what a line imports."""

STATEMENT = r"^ *(?:import |from \S+ import )(?:\([^)]*\)|.*)$"

LOOSE = {
    *("arrays", "checkpoint", "cluster", "errors", "event_file", "files", "keys", "npz", "page"),
    *("progress", "quantities", "resources", "settings", "splits", "text", "views", "yaml_text"),
}
"""Modules of no room, below all of them."""


@cache
def modules() -> dict[str, ast.Module]:
    """Parse what every module of the package imports, by name: all of it takes seconds."""
    found = {}
    for path in sorted((ROOT / "micronas").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        imports = re.findall(STATEMENT, path.read_text(encoding="utf-8"), re.MULTILINE)
        blocks = ["if True:\n" * each.startswith(" ") + each for each in imports]
        found[name] = ast.parse("\n".join(blocks))
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield what import statements name, in functions and for type checkers too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules() else str(node.module)


def room_of(name: str) -> str:
    """Return the second word of a module's name; the package itself has none."""
    return ".".join(name.split(".")[1:2])


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    known = modules()
    return {name: {*imported(tree)} & known.keys() for name, tree in known.items()}


def test_every_module_is_in_a_room() -> None:
    rooms = {room_of(name) for name in modules()}
    assert rooms <= {*FLOORS, *LOOSE, "", "__main__", "_version"}


def test_what_tests_share_is_not_imported() -> None:
    wanted = {each for tree in modules().values() for each in imported(tree)}
    assert not [each for each in wanted if each.split(".")[0] in ("testing", "tests", "benchmarks")]


def test_no_import_circle(imports: dict[str, set[str]]) -> None:
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_rooms_import_from_lower_floors(imports: dict[str, set[str]]) -> None:
    def floor(name: str) -> int:
        room = room_of(name)
        # the package names what is above it, loaded at first use
        return FLOORS.index(room) if room in FLOORS else -1 if room in LOOSE else len(FLOORS)

    upward = {
        (name, each)
        for name, wanted in imports.items()
        for each in wanted
        if floor(each) > floor(name) and room_of(each) != "_version"
    }
    assert not upward


@pytest.mark.parametrize("room", ["judge", "router"])
def test_optional_rooms_load_without_torch_and_search(room: str) -> None:
    """Follow the statements outside functions through micronas, as Python would run them."""
    waiting = {name for name in modules() if room_of(name) == room}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        kept = [n for n in modules()[name].body if isinstance(n, ast.Import | ast.ImportFrom)]
        wanted = set(imported(ast.Module(kept, [])))
        heavy = {each for each in wanted if each.split(".")[0] == "torch" or room_of(each) == "nas"}
        assert not heavy, f"{name} imports {heavy}"
        waiting |= {each for each in wanted if each in modules()} - seen


def test_tests_benchmarks_and_examples_do_not_import_each_other() -> None:
    folders = ("tests", "benchmarks", "examples")
    assert re.findall(IMPORTED, "  from tests.toy import data") == ["tests"]
    found = [
        (str(path.relative_to(ROOT)), each)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        # by their text, one statement a line: to parse all files takes seconds
        for each in re.findall(IMPORTED, path.read_text(encoding="utf-8"), re.MULTILINE)
        if each in {*folders} - {folder}
    ]
    assert not found
