import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.rows import StoredPrompt, VerdictRow
from micronas.judge.store import writing
from micronas.router.scores import ScoreTable, check_apart, joined, read_scores

ROWS = [
    {"prompt": "1 + 1", "task": "sums", "scores": {"small": 0, "large": 1}},
    {"prompt": "Hello", "scores": {"large": 0.5, "small": 1}},
]


def lines(rows: list[dict[str, object]]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def test_json_lines_and_csv_are_the_same_table(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS)))
    (tmp_path / "a.csv").write_text("prompt,task,small,large\n1 + 1,sums ,0,1\nHello, ,1,0.5\n")
    for name in ("a.jsonl.gz", "a.csv"):
        table = read_scores(tmp_path / name, category="task")
        assert table.prompts == ("1 + 1", "Hello")
        assert table.experts == ("small", "large")
        assert table.scores.tolist() == [[0, 1], [1, 0.5]]
        assert table.categories == ("sums", "")
    assert table.of_experts(["large"]).scores.tolist() == [[1], [0.5]]
    assert table.rows([1]).prompts == ("Hello",)
    assert table.rows(np.array([True, False])).categories == ("sums",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "x", "scores": {"small": 1}}, r":3: every prompt .*'large' is missing"),
        ({"prompt": "x", "scores": {"small": 1, "large": 0, "new": 0}}, "'new' is new"),
        ({"prompt": "x", "scores": {"small": 1, "large": "good"}}, r":3: a score .* 'large' has "),
        ({"prompt": "x", "scores": {"small": 1, "large": None}}, r":3: a score .* 'large' has "),
        ({"prompt": "x", "scores": {"small": 1, "large": float("nan")}}, r":3: .* 'large' has nan"),
        ({"prompt": "x", "scores": {"small": 1, "large": 1e300}}, r"in 1e100, .* has 1e\+300"),
        (
            {"prompt": "x", "scores": {"small": 1, "large": 10**400}},
            r":3: a score .* 'large' has 1",
        ),
        ({"prompt": " ", "scores": {"small": 1, "large": 1}}, r":3: a prompt must have a text"),
        ({"prompt": "Hello", "scores": {"small": 1, "large": 1}}, "'Hello' occurs twice"),
        ({"scores": {"small": 1, "large": 1}}, r":3: a row of scores must have the text prompt"),
        ({"prompt": "x", "task": 5, "scores": {"small": 1, "large": 1}}, "text task"),
        ({"prompt": "x"}, r":3: a row of scores"),
    ],
)
def test_a_wrong_row_is_one_error(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([*ROWS, row]))
    with pytest.raises(DataError, match=message):
        read_scores(path, category="task")


def test_files_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines(ROWS))[:-9])
    (tmp_path / "no.csv").write_text("prompt\nx\n")
    (tmp_path / "id.csv").write_text("prompt,id,small\nx,q1,0.5\n")
    for name, message in (
        ("id.csv", r":2: .*'id' has 'q1'; .* or the column that is no expert's"),
        ("empty.jsonl", "at least one prompt"),
        ("cut.jsonl.gz", "readable file"),
        ("none.csv", "readable file"),
        ("no.csv", "a prompt and an expert"),
        ("a.txt", "readable file"),
    ):
        with pytest.raises(DataError, match=message):
            read_scores(tmp_path / name)


def test_an_expert_without_scores_is_named() -> None:
    table = ScoreTable(("x",), ("small", "large"), np.zeros((1, 2)), ("",))
    with pytest.raises(DataError, match="'lage' has none; did you mean 'large'"):
        table.of_experts(["lage"])


def test_no_prompt_in_both_parts() -> None:
    fit = ScoreTable(("x", "y"), ("a", "b"), np.array([[0.0, 1.0], [1.0, 0.0]]), ("", ""))
    test = ScoreTable(("z",), ("b", "a"), np.array([[0.25, 0.5]]), ("c",))
    assert joined(fit, test).scores.tolist() == [[0, 1], [1, 0], [0.5, 0.25]]
    with pytest.raises(DataError, match="both fitted and tested on, but 1 are, such as 'y'"):
        check_apart(fit, fit.rows([1]))


def test_scores_of_a_judge_run(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    outcomes = {("p", "a"): (1.0, 0.5), ("p", "b"): (0.0, 0.0), ("q", "a"): (1.0, None)}
    with writing(path) as store:
        store.put_prompts([StoredPrompt("p", "Text of p", "sums"), StoredPrompt("q", "Text of q")])
        store.put_verdicts(
            VerdictRow(prompt, model, "base", order, "judge", "A", outcome)
            for (prompt, model), pair in outcomes.items()
            for order, outcome in zip(("first", "second"), pair, strict=True)
        )
        store.put_verdicts([VerdictRow("p", "null:first", "base", "first", "judge", "A", 0.0)])
    table = read_scores(path)
    # q has no verdict on b
    assert table.prompts == ("Text of p",)
    assert table.experts == ("base", "a", "b")
    assert table.scores.tolist() == [[0.5, 0.75, 0.0]]
    assert table.categories == ("sums",)
    assert read_scores(path, experts=["base", "a"]).scores.tolist() == [[0.5, 0.75], [0.5, 1.0]]
    with writing(path) as store:
        store.put_prompts([StoredPrompt("r", "Text of q")])
        store.put_verdicts([VerdictRow("r", "a", "base", "first", "judge", "A", 0.0)])
    assert read_scores(path, experts=["base", "a"]).scores.tolist() == [[0.5, 0.75], [0.5, 0.5]]
    with writing(path) as store:  # as imports do that have no texts
        store.put_prompts(StoredPrompt(each, "") for each in "pqr")
    with pytest.raises(DataError, match="must hold a prompt with its text"):
        read_scores(path)
    with writing(path) as store:
        store.put_verdicts([VerdictRow("p", "a", "other", "first", "judge", "A", 0.0)])
    with pytest.raises(
        DataError, match=r"has base, other; .*`micronas judge drop --baseline NAME`"
    ):
        read_scores(path)
    with writing(path) as store:
        store.drop("all", "1")
    with pytest.raises(DataError, match="no valid verdict"):
        read_scores(path)


def test_results_of_other_projects(tmp_path: Path) -> None:
    bench = tmp_path / "bench"
    (bench / "gsm8k").mkdir(parents=True)
    for model, right in (("gpt", (1.0, 0.0)), ("qwen", (0.5, 1.0))):
        records = [
            {"index": n, "origin_query": f"sum {n}", "prompt": f"Q: sum {n}", "score": each}
            for n, each in enumerate(right)
        ]
        whole = {"model_name": model, "dataset_name": "gsm8k", "records": records}
        (bench / "gsm8k" / f"{model}.json").write_text(json.dumps(whole, indent=2))
        judged = [{"score": each, "metric": "mcq_accuracy"} for each in right]
        rows: list[dict[str, object]] = [
            {
                "global_index": f"MMLUPro_law_{n}",
                "question": f"law {n}",
                "llm_selected": model,
                "evaluation_result": each,
            }
            for n, each in enumerate([*judged, None])
        ]
        (bench / f"{model}.jsonl").write_bytes(lines(rows))
    found = read_scores(bench)
    assert found.experts == ("gpt", "qwen")
    assert found.prompts == ("law 0", "law 1", "sum 0", "sum 1")
    assert found.categories == ("MMLUPro_law", "MMLUPro_law", "gsm8k", "gsm8k")
    assert found.scores.tolist() == [[1, 0.5], [0, 1], [1, 0.5], [0, 1]]
    rows[0] |= {"question": "law 9", "evaluation_result": judged[0]}
    (bench / "y.jsonl").write_bytes(lines(rows[:1]))  # of qwen alone
    assert len(read_scores(bench)) == 4
    assert read_scores(bench, experts=["qwen"]).prompts[-1] == "law 9"
    (bench / "z.jsonl").write_text('{"question": "x"}')
    with pytest.raises(DataError, match=r"z\.jsonl:1: must be of LLMRouterBench or RouterArena"):
        read_scores(bench)
    row = {"question": "q", "llm_selected": "y", "global_index": "sum_0"}
    (bench / "z.jsonl").write_bytes(lines([row | {"evaluation_result": {"score": 10**400}}]))
    with pytest.raises(DataError, match=r"z\.jsonl:1: .* OverflowError"):
        read_scores(bench)
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="a score of every model, but has none"):
        read_scores(tmp_path / "none")
