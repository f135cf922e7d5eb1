"""How to make a run again, for its page: command, versions, data, files. Imports no torch."""

import shlex
from pathlib import Path
from typing import Any

import yaml

from micronas._version import VERSION
from micronas.runs.folder import ARCHITECTURE, CONFIG, RunFolder, own_module


def reproduction(run: RunFolder) -> dict[str, Any]:
    """Return facts, as names and values, and the texts of the files."""
    config = run.path / CONFIG
    shape = run.path / ARCHITECTURE
    again = (
        ["micronas", "search", config]
        if "space" in run.settings
        else ["micronas", "train", shape, "--config", config]
    )
    module = own_module(run.path)
    facts = [
        [
            "Again",
            f"the same call of micronas.run, with the module {module} in Python"
            if module
            else _command([*again, "--out", Path("NEW_FOLDER")]),
        ],
        ["Seed", str(run.settings.get("seed", "not known"))],
    ]
    made = run.parts.get("made")
    if made:
        facts += [
            ["Was started as", made.command],
            ["Versions", f"micronas {made.micronas}, Python {made.python}, torch {made.torch}, "
             f"NumPy {made.numpy}"],
            ["Machine", made.machine],
        ]  # fmt: skip
    data = run.parts.get("data")
    if data:
        parts = ", ".join(f"{count:,} {name}" for name, count in data.examples.items())
        facts += [["Examples", parts], ["Data", data.summary]]
    facts += [[f"SHA-256 of {name}", digest] for name, digest in run.hashes().items()]
    facts.append(["Report by", f"micronas {VERSION}"])
    files = dict(run.texts())
    if run.board:
        values = run.board.model_dump(mode="json", exclude_none=True)
        files[f"{run.board.name}.yaml (board)"] = yaml.safe_dump(values, sort_keys=False)
    return {"facts": facts, "files": [{"name": n, "text": t} for n, t in files.items()]}


def _command(words: list[Any]) -> str:
    return shlex.join(map(str, words))
