import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from micronas.cli.router import router_app
from micronas.errors import BudgetError, ConfigError, DataError
from micronas.language.rows import json_lines
from micronas.router.scores import ScoreTable
from tests.router.world import EXPERTS, table

ROOT = Path(__file__).parents[2]


def write(path: Path, scores: ScoreTable) -> None:
    by_expert = (dict(zip(scores.experts, row, strict=True)) for row in scores.scores.tolist())
    rows = zip(scores.prompts, scores.categories, by_expert, strict=True)
    keys = ("prompt", "category", "scores")
    path.write_bytes(json_lines(dict(zip(keys, row, strict=True)) for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("router")
    write(path / "scores.jsonl", table(100))
    config = {
        "scores": "scores.jsonl",
        "experts": [each.model_dump(include={"name", "active", "total"}) for each in EXPERTS],
        "embedding": {"kind": "ngrams", "dimensions": 64},
        "budget": {"active": "12B"},
    }
    (path / "router.yaml").write_text(yaml.safe_dump(config))
    done = run("fit", path / "router.yaml", "--out", path / "fitted", "--json")
    assert json.loads(done.stdout)["budget"] == {"active": 12e9, "total": None}
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(router_app, [str(each) for each in arguments], catch_exceptions=False)


def test_map_to_another_budget(folder: Path) -> None:
    shown = run("map", folder / "fitted", "--budget", "3B", "--dry", "--json")
    assert json.loads(shown.stdout)["active"] <= 3e9
    text = run("map", folder / "fitted", "--budget", "12B").stdout
    assert re.search(r"best one expert +(small|reckoner|linguist)\nminus that one +\+", text)
    assert "code" in text
    assert "large" in text
    with pytest.raises(BudgetError, match="can be met is 1B"):
        run("map", folder / "fitted", "--budget", "500M")
    with pytest.raises(ConfigError, match="positive number such as 7B"):
        run("map", folder / "fitted", "--budget", "much")


def test_explain(folder: Path) -> None:
    prompt = "Add 17 to 250 and take 33 away from the sum"
    done = run("explain", prompt, "--router", folder / "fitted", "--json")
    decision = json.loads(done.stdout)
    assert decision["category"] == "sums"
    assert decision["expert"] == "reckoner"
    assert "sums" in run("explain", prompt, "--router", folder / "fitted").stdout
    with pytest.raises(DataError, match="must hold a fitted router"):
        run("explain", prompt, "--router", folder)


@pytest.mark.long
def test_eval(folder: Path) -> None:
    out = folder / "eval.json"
    config = folder / "router.yaml"
    done = run("eval", config, "--sweep", "3B,12B", "--splits", 1, "--out", out, "--json")
    rows = json.loads(done.stdout)
    assert json.loads(out.read_text()) == rows
    assert {row["budget"] for row in rows} == {3e9, 12e9}


@pytest.mark.long
def test_eval_on_another_table(folder: Path) -> None:
    write(folder / "test.jsonl", table(60, seed=11))
    config = folder / "router.yaml"
    done = run("eval", config, "--sweep", "12B", "--test", folder / "test.jsonl")
    assert "oracle" in done.stdout
    with pytest.raises(DataError, match="both fitted and tested on, but 100 are"):
        run("eval", config, "--sweep", "12B", "--test", folder / "scores.jsonl")


def test_wrong_settings_name_the_key(folder: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'familiar'"):
        run("fit", folder / "router.yaml", "categories.familar=0.9", "--out", folder / "other")
    with pytest.raises(ConfigError, match=r"categories\.seed: .* but got -1"):
        run("fit", folder / "router.yaml", "categories.seed=-1", "--out", folder / "other")
    with pytest.raises(DataError, match="name their key or column as category"):
        run("fit", folder / "router.yaml", "category=topic", "--out", folder / "other")
    with pytest.raises(DataError, match="readable file"):
        run("fit", folder / "router.yaml", "scores=none.csv", "--out", folder / "other")


@pytest.mark.slow
def test_the_example_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "router.py", "embedding.kind=ngrams"],
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    assert "arithmetic" in done.stdout
