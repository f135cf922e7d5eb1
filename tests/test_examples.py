"""The example scripts as programs: their help, and what they say of arguments that are wrong."""

import ast
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.command import command, complaints

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, since the scripts write beside themselves."""
    return shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("checkout") / "examples")


def start(folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(*arguments, script=folder / f"{name}.py")


@pytest.mark.parametrize("name", ["kws", "judge", "router"])
def test_a_wrong_setting_ends_in_one_line(name: str, folder: Path) -> None:
    done = start(folder, name, "sede=1")
    assert done.returncode == 2
    assert complaints(done.stderr).startswith("error: ")
    assert complaints(done.stderr).count("\n") == 1
    assert "sede" in done.stderr


@pytest.mark.parametrize("name", ["vww", "judge", "router"])
def test_help_is_the_text_above_the_script(name: str, folder: Path) -> None:
    done = start(folder, name, "--help")
    assert done.returncode == 0
    assert f"python examples/{name}.py" in done.stdout
    assert "KEY=VALUE" in done.stdout


def test_a_run_folder_of_other_settings_is_kept(folder: Path) -> None:
    taken = folder / "taken"
    taken.mkdir()
    (taken / "config.yaml").write_text("seed: 1\n")
    done = start(folder, "vww", "budget.latency=90ms", "--out", str(taken), "seed=2")
    assert done.returncode == 2
    assert complaints(done.stderr).startswith("error: a run folder must belong to one run")
    assert "choose another --out" in done.stderr
    assert [path.name for path in taken.iterdir()] == ["config.yaml"]


@pytest.mark.long
def test_the_notebook_runs_and_every_object_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cells in order, as a kernel would run them."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]
    names: dict[str, object] = {"__name__": "notebook"}
    shown = []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        *statements, last = ast.parse("".join(cell["source"])).body
        exec(compile(ast.Module(statements, []), "notebook", "exec"), names)
        if isinstance(last, ast.Expr):
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
        else:
            exec(compile(ast.Module([last], []), "notebook", "exec"), names)
    tables = [each for each in shown if hasattr(each, "_repr_html_")]
    assert len(tables) == 4  # board, space, result, profile
    assert all(each._repr_html_().startswith("<table>") for each in tables)
    float_accuracy, int8_accuracy = shown[-2]
    assert 0 <= int8_accuracy <= 1
    assert abs(float_accuracy - int8_accuracy) < 0.3


@pytest.mark.long
def test_out_names_the_run_folder_and_holds_all_three(folder: Path) -> None:
    short = ["search.steps=2", "search.finalists=1"]
    epochs = [f"{name}.epochs=1" for name in ("search.trial", "train", "quantize")]
    done = start(folder, "vww", *short, *epochs, "--out", str(folder / "mine"))
    assert done.returncode == 0, done.stderr
    assert "tflm_mismatches 0" in done.stdout
    trained = {path.parent for path in folder.glob("**/metrics.json")}
    assert trained == {folder / "mine", folder / "mine/largest", folder / "mine/uniform"}
    assert not (folder.parent / "runs" / "vww").exists()
