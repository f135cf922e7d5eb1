import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.battles import Battles
from micronas.judge.checks import (
    accuracy,
    length_bias,
    null_answers,
    null_models,
    position_bias,
)
from micronas.judge.rows import VerdictRow
from micronas.judge.rubric import RubricSettings, ask
from micronas.judge.verdict import Scale, parse
from tests.judge.runs import prompts_for


def pair(
    prompt: str, first: float | None, second: float | None, model: str = "m"
) -> list[VerdictRow]:
    return [
        VerdictRow(prompt, model, "base", "first", "j", "tie", first),
        VerdictRow(prompt, model, "base", "second", "j", "tie", second),
    ]


def test_position_bias_by_hand() -> None:
    rows = [
        *pair("p1", 1.0, 1.0),
        *pair("p2", 1.0, 0.0),  # the first place won both times
        *pair("p3", 0.5, 0.0),
        *pair("p4", 0.0, 1.0),  # the second place
        *pair("p5", 1.0, None),
    ]
    found = position_bias(rows)
    assert found.pairs == 4
    assert found.consistent == 0.25
    assert found.first_share == pytest.approx((0.5 + 1 + 0.75 + 0) / 4)
    assert found.p_value == 1.0  # 2 of 3
    assert not found.biased


def test_position_bias_counts_prompts_not_pairs() -> None:
    # one prompt, judged for 20 models, is one observation; twenty prompts are twenty
    one = [row for n in range(20) for row in pair("p", 1.0, 0.0, f"m{n}")]
    twenty = [row for n in range(20) for row in pair(f"p{n}", 1.0, 0.0)]
    assert position_bias(one).p_value == 1.0
    assert position_bias(twenty).p_value == pytest.approx(2 * 0.5**20)
    assert position_bias(twenty).biased


def test_position_bias_needs_both_orders() -> None:
    with pytest.raises(DataError, match="both orders"):
        position_bias([VerdictRow("p", "m", "base", "unknown", "j", None, 1.0)] * 2)


def battles(seed: int, slope: float) -> Battles:
    rng = np.random.default_rng(seed)
    count = 4000
    lengths = rng.uniform(50, 150, (2, count))
    relative = (lengths[0] - lengths[1]) / lengths.sum(0)
    model = rng.integers(0, 4, count)
    chance = 0.3 + 0.1 * model + slope * relative
    return Battles.of_names(
        [f"m{m}" for m in model],
        ["base"] * count,
        (rng.random(count) < chance).astype(float),
        prompt=[f"p{n // 4}" for n in range(count)],
        length_left=lengths[0],
        length_right=lengths[1],
    )


def test_length_bias_finds_the_planted_slope() -> None:
    for seed, slope in ((1, 0.5), (2, 0.0)):
        found = length_bias(battles(seed, slope))
        assert found.error < 0.05
        assert abs(found.slope - slope) < 3 * found.error
        assert found.interval == pytest.approx(
            (found.slope - 1.96 * found.error, found.slope + 1.96 * found.error)
        )


def test_length_bias_equals_least_squares_with_an_intercept_for_each_model() -> None:
    given = battles(3, 0.3)
    assert given.length_left is not None
    assert given.length_right is not None
    x = (given.length_left - given.length_right) / (given.length_left + given.length_right)
    design = np.column_stack([x, *(given.left == m for m in range(1, 5))]).astype(float)
    solution, *_ = np.linalg.lstsq(design, given.outcome, rcond=None)
    assert length_bias(given).slope == pytest.approx(solution[0], abs=1e-10)
    # sandwich with prompts as clusters
    bread = np.linalg.inv(design.T @ design)
    scores = design * (given.outcome - design @ solution)[:, None]
    sums = np.array([scores[given.prompt == p].sum(0) for p in range(len(given.prompts))])
    error = np.sqrt((bread @ (sums.T @ sums) @ bread)[0, 0])
    assert length_bias(given).error == pytest.approx(error, rel=1e-9)


def test_swapping_sides_changes_no_length_bias() -> None:
    given = battles(4, 0.3)
    assert length_bias(given.swapped()).slope == pytest.approx(length_bias(given).slope)
    assert length_bias(given.swapped()).longer_share == length_bias(given).longer_share


def test_length_bias_needs_lengths_that_vary() -> None:
    with pytest.raises(DataError, match="length of every answer"):
        length_bias(Battles.of_names(["m"], ["base"], [1.0]))
    same = Battles.of_names(["m"] * 2, ["b"] * 2, [1.0, 0], length_left=[5, 5], length_right=[4, 4])
    with pytest.raises(DataError, match="do not vary"):
        length_bias(same)


@pytest.mark.parametrize("scale", [3, 5])
def test_null_answers_plant_labels_of_the_scale(scale: Scale) -> None:
    answers = null_answers(prompts_for(3), scale)
    assert len(answers) == 3 * 4
    by_model = {answer.model: answer.text for answer in answers}
    planted = [parse(by_model[model], scale) for model in ("null:first", "null:second")]
    assert [verdict.winner for verdict in planted if verdict] == ["A", "B"]
    assert parse(by_model["null:refusal"], scale) is None
    settings = RubricSettings(scale=scale)
    assert ask(settings, prompt="p", answer_a=by_model["null:first"], answer_b="x").planted


def test_null_models_that_fool_a_judge_are_found() -> None:
    rows = []
    for n in range(40):
        rows += pair(f"p{n}", 0.0, 0.0, "null:refusal")
        rows += pair(f"p{n}", 1.0, 1.0, "null:first")
        rows += pair(f"p{n}", float(n < 2), 0.0, "null:second")  # one order on two prompts
        rows += pair(f"p{n}", None, 0.0, "null:order")
        rows += pair(f"p{n}", 1.0, 1.0, "honest")
    found = {each.model: each for each in null_models(rows)}
    assert set(found) == {"null:refusal", "null:first", "null:second", "null:order"}
    assert [each.model for each in found.values() if each.fooled] == ["null:first", "null:order"]
    assert found["null:refusal"].low == 0
    # Clopper-Pearson, all of n: (alpha / 2) ** (1 / n)
    assert found["null:first"].low == pytest.approx(0.025 ** (1 / 40))
    assert (found["null:second"].not_lost, found["null:second"].prompts) == (2, 40)
    assert found["null:order"].invalid == 40


def test_accuracy_needs_pairs_that_both_have_labelled() -> None:
    with pytest.raises(DataError, match="no pair is labelled"):
        accuracy(pair("p", 1.0, 1.0), "j", ["human"])
