import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.checks import POLICIES, accuracy
from micronas.judge.importers import alpaca_eval, arena_hard, judgebench, llmfao, rewardbench2
from micronas.judge.jobs import import_verdicts, run_inputs
from micronas.judge.rows import VerdictRow
from micronas.judge.run import run
from micronas.judge.store import battles_of, verdicts_of, writing
from testing.pandalm import pandalm
from tests.judge.judge_server import Judge, serve
from tests.judge.runs import dropped_of, settings_for


def write(path: Path, rows: list[Any], *, lines: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(row) for row in rows) + "\n" if lines else json.dumps(rows)
    path.write_text(text)
    return path


def game(score: str | None) -> dict[str, Any]:
    return {"score": score, "judgment": {"answer": f"[[{score}]]"}, "prompt": "..."}


def test_arena_hard_v2(tmp_path: Path) -> None:
    # first game: A is the baseline; second game: A is the model
    games = (
        [game("B>>A"), game("A>B")],
        [game("A<B"), game("A=B")],
        [game(None), game("B>A")],
        [None, game("A>>B")],
    )
    of = {"category": "hard", "judge": "j", "model": "m", "baseline": "o3"}
    rows = [{**of, "uid": f"u{n}", "games": each} for n, each in enumerate(games)]
    found = arena_hard(write(tmp_path / "judge" / "m.jsonl", rows, lines=True))
    assert len(found.verdicts) == 8
    assert sum(row.outcome is None for row in found.verdicts) == 2
    found.save(tmp_path / "run.db")
    battles = battles_of(tmp_path / "run.db")
    # arena-hard repeats strong verdicts three times; by hand: 3+1, 1+.5, 0, 3 of 10
    weighted = float((battles.outcome * battles.weight).sum() / battles.weight.sum())
    assert weighted == pytest.approx((3 + 1 + 1 + 0.5 + 0 + 3) / (3 + 1 + 1 + 1 + 1 + 3))
    assert set(battles.category) == {"hard"}
    assert [row.verdict for row in found.verdicts[:4]] == ["B", "A", "B", "tie"]
    assert len(verdicts_of(tmp_path / "run.db")) == 8


def test_arena_hard_v01_needs_its_baseline(tmp_path: Path) -> None:
    row = {"question_id": "q", "model": "m", "judge": "j", "games": [game("A>B")] * 2}
    path = write(tmp_path / "m.jsonl", [row], lines=True)
    with pytest.raises(DataError, match="do not name their baseline"):
        arena_hard(path)
    rows = arena_hard(path, baseline="gpt-4-0314").verdicts
    assert [(row.model, row.baseline, row.outcome) for row in rows] == [
        ("m", "gpt-4-0314", 0),
        ("m", "gpt-4-0314", 1),
    ]


def alpaca_rows(model: str, preferences: Sequence[float | None]) -> list[dict[str, Any]]:
    return [
        {"instruction": f"do {n}", "dataset": "koala", "generator_1": "base", "generator_2": model,
         "output_1": "a" * 40, "output_2": "b" * 20, "annotator": "gpt", "preference": preference,
         "price_per_example": 0.01}
        for n, preference in enumerate(preferences)
    ]  # fmt: skip


def test_alpaca_eval(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    found = alpaca_eval(write(path, alpaca_rows("m", [1.0, 2.0, 1.25, 0, None, float("nan")])))
    assert [row.outcome for row in found.verdicts] == [0.0, 1.0, 0.25, 0.5, None, None]
    found.save(tmp_path / "run.db")
    battles = battles_of(tmp_path / "run.db")
    assert battles.models == ("base", "m")
    np.testing.assert_array_equal(battles.length_left, [5] * 4)
    np.testing.assert_array_equal(battles.length_right, [10] * 4)
    for wrong, said in ((3, "preference must be 0 or 1 to 2, but got 3"), (10**400, "Overflow")):
        with pytest.raises(DataError, match=rf"row 2 .* {said}"):
            alpaca_eval(write(path, alpaca_rows("m", [1.0, wrong])))


def test_a_model_named_as_constant_answers_are_is_refused(tmp_path: Path) -> None:
    (row,) = alpaca_rows("m", [1.0])
    for name in ("generator_1", "generator_2"):
        rows = [row | {name: "null:m"}]
        with pytest.raises(DataError, match=r"annotations.json has 'null:"):
            alpaca_eval(write(tmp_path / "annotations.json", rows))


@pytest.mark.parametrize("name", ["", " ", "\x1b[31mred", "two\nlines"])
def test_a_model_must_have_a_name_that_can_be_printed(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"must be text that can be printed, but .*annotations"):
        alpaca_eval(write(tmp_path / "annotations.json", alpaca_rows(name, [1.0])))


def test_a_folder_of_alpaca_eval_is_one_import(tmp_path: Path) -> None:
    for model in ("m1", "m2", "base"):
        folder = tmp_path / "results" / model
        write(folder / "gpt" / "annotations.json", alpaca_rows(model, [2.0, 1.0, None]))
    alone = write(tmp_path / "more" / "annotations.json", alpaca_rows("m3", [2.0, 1.0, None]))
    count = import_verdicts("alpaca-eval", [tmp_path / "results", alone], tmp_path / "s.db")
    assert count.items() >= {"files": 4, "verdicts": 9, "invalid": 3, "itself": 3}.items()
    assert (count["replaced"], count["deleted"]) == (0, 0)
    assert import_verdicts("alpaca-eval", [alone] * 2, tmp_path / "twice.db")["replaced"] == 3
    # the baseline's own file says nothing, and is in nobody's way
    assert battles_of(tmp_path / "s.db").models == ("base", "m1", "m2", "m3")
    assert alpaca_eval(tmp_path / "results/base/gpt/annotations.json").fought() == []
    aside = dropped_of(tmp_path / "s.db")
    assert {(row.model, why) for row, why in aside} == {("base", "a model against itself")}
    with pytest.raises(DataError, match=r"must hold files \*.jsonl of judgebench"):
        import_verdicts("judgebench", [tmp_path / "results"], tmp_path / "s.db")
    # a file with other answers of the baseline: what was won against its former ones is no more
    rows = [row | {"output_1": "another"} for row in alpaca_rows("m4", [2.0, 1.0, None])]
    other = write(tmp_path / "other" / "annotations.json", rows)
    assert import_verdicts("alpaca-eval", [other], tmp_path / "s.db")["deleted"] == 9
    assert battles_of(tmp_path / "s.db").models == ("base", "m4")


# how often each label came with each pair of decisions in two of JudgeBench's published outputs,
# and the figures its authors give; a game is A>B, B>A, A=B or missing (-), and the second one shows
# the answers the other way round
JUDGES: list[tuple[str, float, dict[str, int]]] = [
    ("claude-3-haiku-20240307", 32.22, {
        "<==": 28, ">==": 26, "><>": 23, ">><": 22, "<><": 20, ">>>": 19, "<>>": 18,
        "<=>": 17, "<<>": 16, ">=>": 15, ">>=": 14, "<<=": 7, ">=<": 7, "<=<": 6,
        "<>=": 6, "><=": 6, "><<": 5, "<-=": 3, "<->": 3, "<<<": 2, ">->": 2, ">=-": 2,
        "<-<": 1, ">-<": 1, ">-=": 1,
    }),
    ("Skywork-Reward-Gemma-2-27B", 64.29, {
        ">><": 120, "<<>": 105, "><>": 70, "<><": 52, "><<": 3,
    }),
]  # fmt: skip


@pytest.mark.parametrize(("judge", "published", "counts"), JUDGES)
def test_judgebench_gives_the_published_figures(
    tmp_path: Path, judge: str, published: float, counts: dict[str, int]
) -> None:
    said = {">": "A>B", "<": "B>A", "=": "A=B", "-": None}
    pairs = [[said[each] for each in seen] for seen, often in counts.items() for _ in range(often)]
    rows = [
        {"pair_id": f"p{n}", "source": "law", "question": "q", "response_model": "gpt",
         "response_A": "a", "response_B": "b", "judge_name": "arena_hard", "label": label,
         "judgments": [each and {"decision": each, "judgment": {}} for each in games]}
        for n, (label, *games) in enumerate(pairs)
    ]  # fmt: skip
    name = f"dataset=judgebench,judge_name=arena_hard,judge_model={judge}.jsonl"
    path = write(tmp_path / "outputs" / name, rows, lines=True)
    import_verdicts("judgebench", [path.parent], tmp_path / "s.db")
    measured = accuracy(verdicts_of(tmp_path / "s.db"), judge, ["label"])
    assert (measured.pairs, round(100 * measured.accuracy, 2)) == (len(pairs), published)


PAIRS: list[dict[str, Any]] = [
    {"pair_id": f"p{n}", "original_id": "o", "source": "livebench-math", "question": f"q{n}",
     "response_model": "gpt", "response_A": "quality 0.9", "response_B": "quality 0.1",
     "label": label}
    for n, label in enumerate(["A>B", "A>B", "B>A"])
]  # fmt: skip
BEST_OF_FOUR: list[dict[str, Any]] = [
    {"id": f"{n}", "prompt": f"prompt {n}", "chosen": [chosen], "rejected": rejected,
     "num_correct": 1, "num_incorrect": 3, "total_completions": 4, "subset": "Math",
     "models": ["a", "b", "c", "d"], "additional_metadata": None}
    for n, (chosen, rejected) in enumerate([
        ("quality 0.9", ["quality 0.1", "quality 0.2", "quality 0.3"]),
        ("quality 0.5", ["quality 0.1", "quality 0.8", "quality 0.3"]),
    ])
] + [
    {"id": "t", "prompt": "name a colour", "chosen": ["red", "blue"], "rejected": ["seven"],
     "num_correct": 2, "num_incorrect": 1, "total_completions": 3, "subset": "Ties",
     "models": [], "additional_metadata": None}
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "rows", "baseline", "pairs", "right", "whole"),
    [
        ("judgebench", PAIRS, "B", 3, 2 / 3, 2 / 3),
        ("rewardbench2", BEST_OF_FOUR, "chosen", 6, 5 / 6, 1 / 2),
    ],
)
def test_benchmarks_of_judges_are_judged_anew(
    tmp_path: Path,
    kind: str,
    rows: list[Any],
    baseline: str,
    pairs: int,
    right: float,
    whole: float,
) -> None:
    """A judge that sees nothing but quality; of the data's labels one is against it."""
    store, config = tmp_path / "s.sqlite", tmp_path / "judge.yaml"
    import_verdicts(kind, [write(tmp_path / "data" / "x.jsonl", rows, lines=True)], store)
    with serve(Judge(noise=0)) as url:
        config.write_text(settings_for(url, baseline=baseline).model_dump_json())
        settings, asked, said = run_inputs(config, [], store, store, null=False)
        run(settings, asked, said, store)
    found = accuracy(verdicts_of(store), "judge-1", ["label"])
    assert (found.pairs, found.accuracy, found.whole) == (pairs, pytest.approx(right), whole)
    assert found.whole_low <= whole <= found.whole_high


def test_prompts_without_a_text_are_not_asked(tmp_path: Path) -> None:
    store, config = tmp_path / "s.sqlite", tmp_path / "judge.yaml"
    config.write_text(settings_for("http://127.0.0.1:9/v1").model_dump_json())
    row = {"uid": "u", "judge": "j", "model": "m", "baseline": "o3", "games": [game("A>B")] * 2}
    import_verdicts("arena-hard", [write(tmp_path / "m.jsonl", [row], lines=True)], store)
    with pytest.raises(DataError, match=r"the texts of its prompts, but .* lacks 1, of 'u' first"):
        run_inputs(config, [], store, None, null=False)
    with writing(tmp_path / "empty.sqlite"), pytest.raises(DataError, match="has no prompt; give"):
        run_inputs(config, [], tmp_path / "empty.sqlite", store, null=False)


def test_rows_that_are_no_best_of_four_are_refused(tmp_path: Path) -> None:
    for change in ({"chosen": ["a", "b"]}, {"rejected": "a"}, {"prompt": None}, {"rejected": [1]}):
        path = write(tmp_path / "x.jsonl", [{**BEST_OF_FOUR[0], **change}], lines=True)
        with pytest.raises(DataError, match=r"row 1 of .* as RewardBench 2 writes it"):
            rewardbench2(path)


def test_labels_depend_on_the_policy() -> None:
    """By hand: games in both orders of five pairs whose first answer is right, but for a tie."""
    games = [("A", "B"), ("A", "A"), ("A", "tie"), ("tie", "B"), (None, None)]
    win = {"A": 1.0, "B": 0.0, "tie": 0.5, None: None}
    rows = [VerdictRow(f"p{n}", "m", "b", "first", "label", "A", 1.0) for n in range(5)]
    for n, (first, second) in enumerate(games):
        swapped = None if win[second] is None else 1 - win[second]
        rows.append(VerdictRow(f"p{n}", "m", "b", "first", "j", None, win[first]))
        rows.append(VerdictRow(f"p{n}", "m", "b", "second", "j", None, swapped))
    rows.append(VerdictRow("p5", "m", "b", "first", "j", "A", 1.0))
    rows.append(VerdictRow("p5", "m", "b", "first", "label", "tie", 0.5))
    found = {policy: accuracy(rows, "j", ["label"], policy=policy) for policy in POLICIES}
    # p0 wins twice; p1 cancels; p2 and p3 are a win and a tie; p4 says nothing; p5 is people's tie
    right = {"both orders": (3, 6), "first order": (3, 6), "agreeing": (1, 6), "decided": (3, 3)}
    assert {name: (round(e.accuracy * e.pairs), e.pairs) for name, e in found.items()} == right


def test_llmfao(tmp_path: Path) -> None:
    path = tmp_path / "votes.csv"
    path.write_text(
        "id,prompt,model_x,model_y,worker,winner,left,right\n"
        "0,8,1,2,58,tie,X,Y\n0,8,1,2,59,right,X,Y\n1,9,1,2,58,left,Y,X\n"
    )
    rows = llmfao(path).verdicts
    assert [(row.model, row.outcome) for row in rows] == [("X", 0.5), ("X", 0), ("Y", 1)]
    path.write_text("prompt,worker,winner,left,right\n8,58,neither,X,Y\n")
    said = r"row 2 of .* as LLMFAO writes it, but .* left, right or tie, but got 'neither'"
    with pytest.raises(DataError, match=said):
        llmfao(path)
    path.write_text("prompt,worker,winner,left,right\n")
    with pytest.raises(DataError, match="verdicts of llmfao, but 1 files hold none"):
        import_verdicts("llmfao", [path], tmp_path / "none.db")


def test_pandalm(tmp_path: Path) -> None:
    rows = [
        {"idx": n, "motivation_app": "app", "cmp_key": "bloom-7b_llama-7b", "instruction": "i",
         "input": "", "response1": "abcd", "response2": True, "annotator1": a, "annotator2": b,
         "annotator3": c}
        for n, (a, b, c) in enumerate([(1, 1, 2), (2, 2, 2), (0, 0, 1), (0, 1, 2)])
    ]  # fmt: skip
    results = [
        {"idx": n, "gpt_result": result, "gpt_reason": "r"}
        for n, result in enumerate(["1", "garbage", "Tie", "2"])
    ]
    found = pandalm(
        write(tmp_path / "testset.json", rows), {"gpt": write(tmp_path / "gpt.json", results)}
    )
    humans = ["annotator1", "annotator2", "annotator3"]
    # the last pair has no majority; two of three are right; by chance 1/9 (A) + 1/9 (tie)
    measured = accuracy(found.verdicts, "gpt", humans)
    assert measured.pairs == 3
    assert measured.accuracy == pytest.approx(2 / 3)
    assert measured.kappa == pytest.approx((2 / 3 - 2 / 9) / (1 - 2 / 9))
    assert measured.accuracy_low < 2 / 3 < measured.accuracy_high == 1
    outcomes = [row.outcome for row in found.verdicts if row.judge == "gpt"]
    assert outcomes == [1, None, 0.5, 0]
    results.append({"idx": 77, "gpt_result": "1"})
    with pytest.raises(DataError, match=r"row 5 of .* it has no 77; mend it"):
        pandalm(tmp_path / "testset.json", {"gpt": write(tmp_path / "gpt.json", results)})


@pytest.mark.data
def test_published_accuracies_of_pandalm() -> None:
    folder = Path(os.environ["MICRONAS_DATA"]) / "judge" / "pandalm"
    found = pandalm(
        folder / "testset-v1.json",
        {
            "gpt-3.5": folder / "gpt-3.5-turbo-testset-v1.json",
            "pandalm": folder / "pandalm-7b-testset-v1.json",
        },
    )
    humans = ["annotator1", "annotator2", "annotator3"]
    for judge, share, kappa in (("gpt-3.5", 0.6977, 0.476), ("pandalm", 0.6677, 0.435)):
        measured = accuracy(found.verdicts, judge, humans)
        assert measured.pairs == 999
        assert measured.accuracy == pytest.approx(share, abs=5e-5)
        assert measured.kappa == pytest.approx(kappa, abs=5e-4)


@pytest.mark.parametrize("text", ["{", "[1]", "{}", '[{"idx": 1}]'])
def test_damaged_files_end_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    for read in (alpaca_eval, pandalm, arena_hard, judgebench):
        with pytest.raises(DataError) as refused:
            read(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match="readable"):
        arena_hard(tmp_path / "missing.jsonl")
