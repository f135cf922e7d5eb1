"""Rankings from battles, and rankings by people from files."""

from pathlib import Path

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.categories import by_categories
from micronas.judge.leaderboard import (
    Statistics,
    at_equal_length,
    baseline_of,
    leaderboard,
    read_reference,
)
from micronas.judge.review import read_labels


def test_a_star_is_rated_against_its_centre() -> None:
    # a wins 3 of 4 against the baseline z, b 1 of 4: Bradley-Terry is the odds, in closed form
    battles = Battles.of_names(
        ["a"] * 4 + ["z"] * 4,
        ["z"] * 4 + ["b"] * 4,
        [1, 1, 1, 0, 1, 1, 1, 0],
        prompt=["p1", "p2", "p3", "p4"] * 2,
    )
    board = leaderboard(battles, Statistics(rounds=300, prior=0.01, seed=1))
    assert board.baseline == "z"
    assert board.models == ("a", "z", "b")
    assert board.scores == pytest.approx([np.log(3), 0, -np.log(3)], abs=0.01)
    assert board.rates == pytest.approx([0.75, 0.5, 0.25], abs=0.01)
    assert board.prompts == (4, 4, 4)
    again = leaderboard(battles, Statistics(rounds=300, prior=0.01, seed=1))
    assert np.array_equal(board.samples, again.samples)
    assert board.rows()[0]["model"] == "a"


def test_a_tournament_has_no_baseline_and_two_models_have_the_right_one() -> None:
    ring = Battles.of_names(["a", "b", "c"], ["b", "c", "a"], [1, 1, 1])
    assert baseline_of(ring) is None
    assert leaderboard(ring, Statistics(rounds=10, prior=1)).rates == pytest.approx([0.5] * 3)
    assert baseline_of(Battles.of_names(["a"], ["b"], [1])) == "b"


def test_a_reference_may_have_bounds_or_not(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("score,model,lower,upper\n1200,x,1190,1215\n1100,y,,\n", encoding="utf-8-sig")
    people = read_reference(path)
    assert people.models == ("x", "y")
    assert people.lower.tolist() == [1190, 1100]
    assert people.upper.tolist() == [1215, 1100]
    path.write_text("model,score\nModèle,1\n Mode\u0300le 2\u00a0,2\nother,3\n", encoding="utf-8")
    known = ("Mode\u0300le", "Modèle 2 ")
    assert read_reference(path, known).models == (*known, "other")
    lines = tmp_path / "people.jsonl"
    lines.write_text(
        '{"model": 7, "score": 0, "lower": -1, "upper": 0}\n{"model": "x", "score": 2}\n'
    )
    people = read_reference(lines)
    assert (people.models, people.scores.tolist()) == (("7", "x"), [0, 2])
    assert people.upper.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model,score\nx,1\ny,many\n", ":3: .*finite numbers"),
        ("model,elo\nx,1\n", ":2: .*columns model, score"),
        ("model,score\nx,nan\n", ":2: "),
        ("model,score\nx,1\nx,2\n", "once"),
        ("model,score\n", "at least one"),
        ("model,score,lower,upper\nx,1,2,1.5\n", "end before they begin"),
    ],
)
def test_a_bad_reference_is_one_error(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "people.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_reference(tmp_path / "people.csv")
    with pytest.raises(DataError, match="readable"):
        read_reference(tmp_path / "none.csv")


def longer_wins(rounds: int = 200) -> Battles:
    """Two equal models; one writes twice as much, and length alone decides nine times in ten."""
    rng = np.random.default_rng(3)
    long_first = rng.random(rounds) < 0.5
    wins = np.where(rng.random(rounds) < 0.9, long_first, ~long_first)
    swap = rng.random(rounds) < 0.8  # the wordy model's answer is the long one in eight of ten
    left = np.where(long_first == swap, "wordy", "terse")
    right = np.where(left == "wordy", "terse", "wordy")
    return Battles.of_names(
        left.tolist(),
        right.tolist(),
        wins.astype(float).tolist(),
        prompt=[f"p{number}" for number in range(rounds)],
        length_left=np.where(long_first, 200.0, 100.0).tolist(),
        length_right=np.where(long_first, 100.0, 200.0).tolist(),
    )


def test_at_equal_length_equal_models_are_equal() -> None:
    battles, statistics = longer_wins(), Statistics(rounds=100, prior=0.01)
    board = leaderboard(battles, statistics)
    assert board.models[0] == "wordy"
    assert board.scores[0] - board.scores[-1] > 0.5
    rows = {row["model"]: row for row in at_equal_length(battles, statistics)}
    assert abs(rows["wordy"]["score"] - rows["terse"]["score"]) < 0.5
    assert rows["wordy"]["length_effect"] > 1
    for row in rows.values():
        assert row["low"] <= row["rate"] <= row["high"]


def test_a_lead_on_the_same_prompts_is_told_where_intervals_overlap() -> None:
    """Of 40 prompts half are won by everybody; the better model wins one in ten more, always."""
    prompts = [f"p{number}" for number in range(40)]
    won = {"good": [1.0] * 20 + [0.0] * 12 + [1.0] * 8, "fair": [1.0] * 20 + [0.0] * 20}
    battles = Battles.of_names(
        [model for model in won for _ in prompts],
        ["base"] * 80,
        [each for wins in won.values() for each in wins],
        prompt=prompts * 2,
    )
    good, fair, base = leaderboard(battles, Statistics(rounds=500, prior=0.01)).rows()
    assert [each["model"] for each in (good, fair, base)] == ["good", "fair", "base"]
    assert good["low"] < fair["high"]
    assert good["lead"] == pytest.approx(0.2, abs=0.01)
    # eight of forty prompts: a binomial share of .2
    assert 0.05 < good["lead_low"] < 0.12
    assert 0.28 < good["lead_high"] < 0.35
    assert (base["lead"], base["lead_low"], base["lead_high"]) == (None, None, None)


def test_categories_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt_id,category\np0,easy\np1,easy\np2,hard\np3,hard\np4,hard\n")
    own = read_labels(path, name="prompt_id")
    assert own == {"p0": "easy", "p1": "easy", "p2": "hard", "p3": "hard", "p4": "hard"}
    rows = by_categories(longer_wins(), Statistics(rounds=50), own)
    assert {(row["category"], row["prompts"]) for row in rows} == {("easy", 2), ("hard", 3)}
    path.write_text("prompt_id,category\np0,\n,easy\n")
    with pytest.raises(DataError, match=":3: 'easy' must have its prompt, but prompt_id is blank"):
        read_labels(path, name="prompt_id")
