"""What starts quickly imports no library that takes long; what scripts import is there."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

LIBRARIES = ("numpy", "scipy", "torch")
IMPORTS = {
    "micronas, micronas.export": LIBRARIES,
    "micronas.cli.router": LIBRARIES,
    "micronas.hardware.board, micronas.hardware.latency, micronas.train.recipe": ("torch",),
    "micronas.calibration.fit, micronas.calibration.host, micronas.calibration.plan": ("torch",),
    "micronas.graph.counts, micronas.graph.memory": ("torch",),
}
"""In the order of one process, and what is not loaded then."""
PROGRAM = """
import json, sys
for modules, libraries in json.loads(sys.argv[1]).items():
    exec(f"import {modules}")
    print(modules, [name for name in libraries if name in sys.modules])
"""


def test_scripts_and_pages_import_names_that_there_are() -> None:
    """No other test runs them: ten benchmarks and a page imported what was gone."""
    root = Path(__file__).parents[1]
    imported = r"^from ((?:micronas|testing)\.[\w.]+) import (\([^)]*\)|.*)$"
    places = ("benchmarks/*.py", "examples/*.py", "docs/**/*.md")
    for script in (path for place in places for path in root.glob(place)):
        for module, text in re.findall(imported, script.read_text(), re.MULTILINE):
            file = root / f"{module.replace('.', '/')}.py"
            assert file.is_file() or file.with_suffix("").is_dir(), f"{script}: no {module}"
            for name in re.findall(r"(\w+)(?: as \w+)?", text) if file.is_file() else ():
                defined = rf"^(?:def |class | *){name}\b|import .*\b{name}\b"
                there = re.search(defined, file.read_text(), re.MULTILINE)
                assert there, f"{script}: {module} has no {name}"


@pytest.mark.parametrize("script", ["machines", "firmware_budgets", "front_ends"])
def test_a_benchmark_without_its_arguments_says_its_usage(
    script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.delenv("TFLM_SOURCE", raising=False)
    with pytest.raises(SystemExit, match=rf"(?s)\n\n.*python -m benchmarks\.{script} "):
        runpy.run_module(f"benchmarks.{script}", run_name="__main__")


def test_importing_is_cheap() -> None:
    command = [sys.executable, "-c", PROGRAM, json.dumps(IMPORTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{modules} []" for modules in IMPORTS]
