"""What comes from elsewhere is data and never code, and nothing listens to or tells the world."""

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from micronas.checkpoint import Checkpoint
from micronas.errors import ConfigError, ModelError
from micronas.router.serve.settings import ServeSettings
from micronas.settings import read_mapping, with_overrides
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph
from tests.command import command, complaints

ROOT = Path(__file__).parents[1]
CALLS_NEED = {"torch.load": {"weights_only": "True"}}
FORBIDDEN = {
    *("eval", "exec", "compile", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load"),
    "yaml.load",  # `micronas.settings` bounds what is read
    *("pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "joblib.load"),
}
KEYWORDS = {("shell", "True"), ("allow_pickle", "True"), ("verify", "False")}
_CALLED = "|".join(name.split(".")[-1] for name in FORBIDDEN | CALLS_NEED.keys())
OF_INTEREST = rf"\b(?:{_CALLED})\(|\b(?:{'|'.join(name for name, _ in KEYWORDS)})="


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.mkdir, (self.target,)  # type: ignore[return-value]


def calls() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Every call of interest in the package: where, what, with which keywords."""
    for path in (ROOT / "micronas").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if re.search(OF_INTEREST, text) else ():
            if isinstance(node, ast.Call):
                given = {each.arg or "": ast.unparse(each.value) for each in node.keywords}
                yield f"{path.name}:{node.lineno}", ast.unparse(node.func), given


def test_no_call_runs_what_it_reads() -> None:
    seen = set()
    for place, name, given in calls():
        seen.add(name)
        assert name not in FORBIDDEN, place
        assert not KEYWORDS & given.items(), place
        for keyword, value in CALLS_NEED.get(name, {}).items():
            assert given.get(keyword) == value, place
    assert seen >= CALLS_NEED.keys()


def test_nothing_listens_to_the_world_by_default() -> None:
    assert ServeSettings.model_fields["host"].default == "127.0.0.1"
    for path in (ROOT / "micronas").rglob("*.py"):
        assert "0.0.0.0" not in path.read_text(), path


def test_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "run"
    for name, save in (("torch.pt", torch.save), ("plain.pt", _pickled)):
        save({"train": Payload(proof)}, tmp_path / name)
        with pytest.raises(ModelError, match="must be a file micronas wrote"):
            Checkpoint(tmp_path / name)
        assert not proof.exists()
    torch.load(tmp_path / "torch.pt", weights_only=False)
    assert proof.exists()  # the payload works where it is let


def _pickled(value: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(value))


def test_yaml_makes_no_objects(tmp_path: Path) -> None:
    path, proof = tmp_path / "run.yaml", tmp_path / "run"
    path.write_text(f"board: !!python/object/apply:os.mkdir ['{proof}']\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_mapping(path)
    with pytest.raises(ConfigError, match="must be YAML"):
        with_overrides({}, [f"board=!!python/object/apply:os.mkdir ['{proof}']"])
    assert not proof.exists()


def test_arrays_hold_no_objects(tmp_path: Path) -> None:
    proof = tmp_path / "run"
    (tmp_path / "net.tflite").write_bytes(to_flatbuffer(random_int8_graph(3, family="ds_cnn")))
    np.save(tmp_path / "x.npy", np.array([Payload(proof)], object), allow_pickle=True)
    done = command("verify", "net.tflite", "--inputs", "x.npy", cwd=tmp_path)
    assert done.returncode == 2
    assert complaints(done.stderr).startswith("error: examples must be a .npy file")
    assert not proof.exists()
