"""The judge's commands, one after the other as a person would give them."""

import csv
import json
import shutil
import time
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from micronas.cli.judge import judge_app
from micronas.errors import ConfigError, DataError
from micronas.judge.checks import null_answers
from micronas.judge.manifest import load_prompts, write_prompts
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow
from micronas.judge.store import verdicts_of, writing
from micronas.language.rows import json_lines
from testing.odd_endpoint import serving
from tests.command import command
from tests.judge.judge_server import Judge, serve
from tests.judge.runs import answers_for, filtering, prompts_for

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPE = """\
name: small
sources: [{path: questions.jsonl, licence: CC0-1.0, category: category}]
categories: {sums: {quota: 6}, towns: {quota: 4}, general: {quota: 0}}
labelling: {neighbours: [1, 3], folds: 2}
sampling: {min_quality: 0.0}
"""
TOWNS = ("Lisbon", "Porto", "Madrid", "Toulouse", "Geneva", "Bologna", "Split", "Sofia", "Varna")


def run(*arguments: object) -> str:
    done = CliRunner().invoke(judge_app, [str(each) for each in arguments])
    if isinstance(done.exception, Exception):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def json_of(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    rows = [
        {"text": f"Please add the numbers {n} and {7 * n + 3}, then show the sum.", "category": ""}
        for n in range(11, 20)
    ]
    rows += [
        {"text": f"Which river flows through the town of {town}, and where to?", "category": ""}
        for town in TOWNS
    ]
    for row in (*rows[:4], *rows[-4:]):
        row["category"] = "sums" if "add" in row["text"] else "towns"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "questions.jsonl").write_text(lines)
    return tmp_path


def test_from_a_recipe_to_a_report(folder: Path) -> None:
    recipe, made = folder / "recipe.yaml", folder / "set"
    assert json_of("build", recipe, "--out", made)["prompts"] == 10
    table = run("sample", recipe, "categories.towns.quota=3", "--out", made)
    assert [line.split()[:3] for line in table.splitlines()[2:]] == [
        ["sums", "6", "6"],
        ["towns", "3", "3"],
        ["general", "0", "0"],
    ]
    prompts = load_prompts(made)

    worth = {"base": 5.0, "good": 5.2, "bad": 4.8}
    answers, store, config = folder / "answers.jsonl", folder / "run.sqlite", folder / "run.yaml"
    answers.write_text(
        "".join(
            json.dumps({"prompt_id": p.id, "model": model, "text": f"{model}: quality {value}"})
            + "\n"
            for p in prompts
            for model, value in worth.items()
        )
    )
    price = "price: {prompt: 2.0, completion: 10.0}"
    config.write_text(f"baseline: base\njudge: {{model: j, concurrency: 2, {price}}}\n")
    with serve(Judge(noise=1.0)) as url:
        inputs = [config, f"judge.base_url={url}", "--set", made, "--answers", answers]
        inputs += ["--out", store]
        expected = json_of("estimate", *inputs)
        assert expected["calls"] == 9 * 2 * 2
        assert json_of("run", *inputs, "--dry-run") == expected
        assert json_of("run", *inputs)["judged"] == 36
        assert json_of("run", *inputs)["calls"] == 0
        constant = json_of("run", *inputs, "--null")
        assert constant["judged"] == 9 * 2 * (2 + len(null_answers(prompts[:1], 5)))
        again = CliRunner().invoke(judge_app, ["run", *map(str, inputs), "--null"])
        said = "constant answer null:first lost: held its own on 0 of 9 prompts, 0 invalid"
        assert said in again.stderr
        held = json_of("run", *inputs[:4], "--answers", store, "--out", store, "--null")
        assert (held["judged"], held["calls"]) == (constant["judged"], 0)
    assert any(row.model.startswith("null:") for row in verdicts_of(store))

    board = json_of("rate", store, "--prior", 1, "--rounds", 100)
    assert [row["model"] for row in board] == ["good", "base", "bad"]
    assert "good" in run("rate", store, "--prior", 1, "--rounds", 100)

    cells = json_of("rate", store, "--by-category", "--rounds", 100)
    assert {(row["category"], row["model"]) for row in cells} == {
        (category, model) for category in ("sums", "towns") for model in worth
    }

    own = folder / "own.csv"
    asked = sorted({row.prompt_id for row in verdicts_of(store)})
    own.write_text("prompt_id,category\n" + "".join(f"{each},mine\n" for each in asked[1:]))
    done = CliRunner().invoke(judge_app, ["rate", str(store), "--categories", str(own)])
    said = f"left out: {own} gives 1 of {len(asked)} prompts no category, {asked[0]!r} first"
    assert said in done.stderr
    assert said not in done.stdout

    equal = json_of("rate", store, "--equal-length", "--prior", 1, "--rounds", 20)
    assert {row["model"] for row in equal} == set(worth)
    for wrong in ("rate --seed -1", "quality --top 1", "quality --top -1"):
        done = CliRunner().invoke(judge_app, [*wrong.split(), str(store)])
        assert (done.exit_code, "greater than or equal" in done.stderr) == (2, True)
    both = CliRunner().invoke(judge_app, ["rate", str(store), "--equal-length", "--by-category"])
    assert "leave one option out" in str(both.exception)

    people = folder / "people.csv"
    people.write_text("model,score,lower,upper\nbase,2,1.5,2.5\ngood,3,2.6,3.4\nbad,1,0.5,1.4\n")
    measured = json_of(
        "quality", store, "--reference", people, "--top", 2, "--prior", 1, "--rounds", 100
    )
    assert [each["models"] for each in measured] == [3, 2]
    assert measured[0]["strict_agreement"] == {"points": 3.0, "pairs": 3}
    assert "3 of 3 pairs" in run(
        "quality", store, "--reference", people, "--prior", 1, "--rounds", 100
    )
    people.write_text("model,score\nbase,2\ngood,3\nBad,1\n")
    odd = ["quality", str(store), "--reference", str(people), "--prior", "1", "--rounds", "20"]
    done = CliRunner().invoke(judge_app, odd)
    assert "ranks 'Bad', which has no battle; did you mean 'bad'" in done.stderr

    page = folder / "report.html"
    assert "MB" in run("report", store, "--out", page, "--prior", 1, "--rounds", 100)
    assert "Constant answer null:" in page.read_text()


def test_repeats_are_over_the_same_texts(tmp_path: Path) -> None:
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    for path in (one, two):
        with writing(path) as store:
            store.put_prompts([StoredPrompt("p", "Text"), StoredPrompt("q", "Other")])
            store.put_answers(Answer(each, "m", "said", 1) for each in "pq")
            store.put_verdicts(
                VerdictRow(each, "m", "base", order, "j", "A", 1.0)
                for each in "pq"
                for order in get_args(Order)[:2]
            )
    assert json_of("repeat", one, two)["other run"]["pairs"] == 4
    with pytest.raises(DataError, match=r"one.sqlite holds no verdict of the judge 'jj'; did you"):
        run("repeat", one, two, "--judge", "jj")
    rows = verdicts_of(two)
    with writing(two) as store:  # texts that are not known, as after imports, cannot differ
        store.put_prompts([StoredPrompt("p", "")])
        store.put_answers([Answer("p", "another", "not judged", 1)])
    assert json_of("repeat", one, two)["other run"]["pairs"] == 4
    with writing(two) as store:
        store.put_answers([Answer("q", "m", "says", 1)])
        store.put_verdicts(rows)
    with pytest.raises(DataError, match=r"of 'm' to 'q' is another in .*two.* than in .*one"):
        run("repeat", one, two)
    with writing(two) as store:
        store.drop("another answer", "prompt_id = 'q'")
        store.put_prompts([StoredPrompt("p", "Changed")])
        store.put_verdicts(rows)
    with pytest.raises(DataError, match="prompt 'p' is another"):
        run("repeat", one, two)


def written(folder: Path, more: str, answers: list[Answer]) -> list[str]:
    """Write a run of three prompts; return the words of its command, without addresses."""
    write_prompts(folder / "prompts.jsonl", prompts_for(3))
    (folder / "answers.jsonl").write_bytes(json_lines(map(vars, answers)))
    (folder / "run.yaml").write_text(f"baseline: m0\njudge: {{model: j}}\n{more}\n")
    words = ["run", folder / "run.yaml", "--set", folder / "prompts.jsonl", "--json"]
    words += ["--answers", folder / "answers.jsonl", "--out", folder / "run.sqlite"]
    return [str(each) for each in words]


def test_a_refused_prompt_is_asked_again_when_the_command_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = written(folder, "attempts: 1", answers_for(3, 1))
    with serving(filtering("question 2")) as url:

        def lost() -> int:
            done = CliRunner().invoke(judge_app, [*words, f"judge.base_url={url}"])
            assert "in ten minutes the same command asks again" in done.stderr
            return int(json.loads(done.stdout)["lost"])

        assert [lost(), lost()] == [2, 0]
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 601)
        assert lost() == 2


def test_empty_answers_are_counted(folder: Path) -> None:
    given = [*answers_for(3, 0), Answer("p0001", "m1", "said", 1)]
    words = written(folder, "answers: {m1: {model: m}}", given)

    class Silent(Judge):
        def text(self, messages: list[dict[str, str]]) -> str:
            return super().text(messages) if len(messages) == 2 else ""

    with serve(Silent()) as url:
        addresses = [f"{each}.base_url={url}" for each in ("judge", "answers.m1")]
        done = CliRunner().invoke(judge_app, [*words, *addresses])
    assert json.loads(done.stdout)["empty"] == 2
    assert "2 answers of models are empty" in done.stderr


def test_labels_by_hand_reach_the_set(folder: Path) -> None:
    recipe, made = folder / "recipe.yaml", folder / "set"
    run("label", recipe, "--out", made, "--size", 5)
    sheet = made / "review.csv"
    with sheet.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 1 <= len(rows) <= 5
    with sheet.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"category": "sums" if "add" in row["text"] else "towns"})
    assert run("review", recipe, "--out", made).startswith(f"{len(rows)} labels")
    more = ["categories.sums.quota=12", "categories.towns.quota=12", "sampling.shortage=accept"]
    manifest = json_of("build", recipe, *more, "--out", made)
    origins = [stratum["origins"] for stratum in manifest["categories"].values()]
    assert sum(each.get("hand", 0) for each in origins) == len(rows)


def test_votes_of_another_tool_can_be_rated(tmp_path: Path) -> None:
    votes = tmp_path / "votes.csv"
    rows = [("a", "b", "left"), ("a", "b", "tie"), ("b", "c", "left"), ("c", "a", "left")]
    lines = [
        f"{prompt},w{row},{winner},{left},{right}"
        for prompt in range(3)
        for row, (left, right, winner) in enumerate(rows)
    ]
    votes.write_text("\n".join(["prompt,worker,winner,left,right", *lines]) + "\n")
    said = run("import", "llmfao", votes, "--out", tmp_path / "s.sqlite")
    assert "12 verdicts, 0 of them invalid" in said
    board = json_of("rate", tmp_path / "s.sqlite", "--rounds", 20)
    assert {row["model"] for row in board} == {"a", "b", "c"}
    with pytest.raises(DataError, match=r"s\.sqlite has none with prompts such as '0'"):
        run("rate", tmp_path / "s.sqlite", "--by-category")


def test_verdicts_are_dropped_with_a_reason_and_taken_back(tmp_path: Path) -> None:
    votes, store = tmp_path / "votes.csv", tmp_path / "s.sqlite"
    lines = ["0,w,left,a,b", "0,x,left,a,b", "1,w,right,a,b", "1,x,right,a,b"]
    votes.write_text("\n".join(["prompt,worker,winner,left,right", *lines]) + "\n")
    run("import", "llmfao", votes, "--out", store)
    assert json_of("accuracy", store, "--judge", "w", "--human", "x")["accuracy"] == 1
    run("drop", store, "--judge", "x", "--prompt", 0, "--reason", "answered twice")
    assert json_of("accuracy", store, "--judge", "w", "--human", "x")["pairs"] == 1
    with pytest.raises(DataError, match=r"no verdict of prompt '0', judge 'x'; "):
        run("drop", store, "--judge", "x", "--prompt", 0, "--reason", "again")
    with pytest.raises(DataError, match=r"say which verdicts: .* model, prompt$"):
        run("drop", store, "--reason", "all")
    with pytest.raises(DataError, match="with a reason, but it is blank; say why"):
        run("drop", store, "--judge", "x", "--reason", " ")
    with pytest.raises(ConfigError, match="either --reason"):
        run("drop", store, "--judge", "x")
    assert "taken back: 1" in run("drop", store, "--judge", "x", "--undo")


def test_what_is_missing_is_said_in_one_line(folder: Path) -> None:
    with pytest.raises(DataError, match=r"no .*nothing\.sqlite"):
        run("rate", folder / "nothing.sqlite")
    with pytest.raises(DataError, match=r"review\.csv must have categories"):
        run("review", folder / "recipe.yaml", "--out", folder / "set")
    with pytest.raises(DataError, match="must be built before"):
        run("sample", folder / "recipe.yaml", "--out", folder / "set")
    with pytest.raises(ConfigError, match="quota"):
        run("build", folder / "recipe.yaml", "categories.sums.quota=many", "--out", folder / "set")


@pytest.mark.long
def test_the_example_runs_offline_and_writes_its_report(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    for path in EXAMPLES.glob("judge*"):
        shutil.copy(path, tmp_path / "examples")
    done = command(script=tmp_path / "examples" / "judge.py")
    assert done.returncode == 0, done.stderr
    assert "careful" in done.stdout.split("win rate")[1].splitlines()[2]
    assert (tmp_path / "runs" / "judge" / "report.html").stat().st_size > 100_000
