"""What starts quickly imports no library that takes long."""

import json
import subprocess
import sys

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


def test_importing_is_cheap() -> None:
    command = [sys.executable, "-c", PROGRAM, json.dumps(IMPORTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{modules} []" for modules in IMPORTS]
