"""Published networks, as the script that fits the boards describes them."""

import importlib.util
from pathlib import Path
from types import ModuleType

from micronas.graph.ir import Graph


def load_script() -> ModuleType:
    """Import ``benchmarks/fit_boards.py``, which is no part of the package."""
    path = Path(__file__).parents[1] / "benchmarks" / "fit_boards.py"
    spec = importlib.util.spec_from_file_location("fit_boards", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NETWORKS: dict[str, Graph] = {name: graph for name, (_, graph) in load_script().NETWORKS.items()}
