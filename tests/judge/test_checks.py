from collections import Counter

import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.checks import accuracy, null_answers, null_models, position_bias, repeatability
from micronas.judge.rows import Order, VerdictRow
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
    rows = [*pair("p", 1.0, 1.0), said("first", 1.0, "q", "human")]
    with pytest.raises(DataError, match="by 'j' and by humans of human, but there is none"):
        accuracy(rows, "j", ["human"])
    for judge, humans in (("judge", ["human"]), ("j", ["human", "humam"])):
        with pytest.raises(DataError, match=r"holds no verdict of the judge '(judge|humam)'; "):
            accuracy(rows, judge, humans)


def test_a_pair_is_the_same_whichever_model_is_named_first() -> None:
    games = [("p", 1, 1), ("q", 1, 1), ("r", 1, 0), ("s", 0, 1), ("t", 0, 0)]
    rows = [VerdictRow(prompt, "a", "b", "first", "j", None, one) for prompt, one, _ in games]
    rows += [VerdictRow(prompt, "a", "b", "first", "human", None, two) for prompt, _, two in games]
    found = accuracy(rows, "j", ["human"])
    assert (found.pairs, found.accuracy) == (5, pytest.approx(0.6))
    for turned in (slice(1, None, 2), slice(5, None), slice(4, 8)):
        mixed = list(rows)
        for row in rows[turned]:
            other = VerdictRow(
                row.prompt_id, "b", "a", "first", row.judge, None, 1 - (row.outcome or 0)
            )
            mixed[rows.index(row)] = other
        assert accuracy(mixed, "j", ["human"]) == found


def said(order: Order, label: float | None, prompt: str, judge: str = "j") -> VerdictRow:
    return VerdictRow(prompt, "m", "base", order, judge, None, label)


def test_repeatability_by_hand() -> None:
    rng = np.random.default_rng(0)
    labels = [1.0, 0.5, 0.0, None]
    one = rng.choice(4, 200, p=[0.4, 0.2, 0.3, 0.1])
    other = np.where(rng.random(200) < 0.7, one, rng.permutation(one))
    rows = [said("first", labels[c], f"p{n}") for n, c in enumerate(one)]
    rows += [said("second", labels[c], f"p{n}") for n, c in enumerate(other)]
    found = repeatability(rows)["swapped"]
    assert found.pairs == 200
    assert found.accuracy == pytest.approx(np.mean(one == other))
    chance = sum(Counter(one)[each] * Counter(other)[each] for each in range(4)) / 200**2
    assert found.kappa == pytest.approx((found.accuracy - chance) / (1 - chance))
    # a share of independent prompts is binomial
    error = (found.accuracy * (1 - found.accuracy) / 200) ** 0.5
    assert found.accuracy_high - found.accuracy_low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found.kappa_low < found.kappa < found.kappa_high
    both = repeatability(rows, rows)
    assert both["swapped"] == found
    assert (both["other run"].pairs, both["other run"].accuracy_low) == (400, pytest.approx(1))
    with pytest.raises(DataError, match="labelled in both orders, but there is none"):
        repeatability(rows[:200])
    with pytest.raises(DataError, match="labelled in both runs"):
        repeatability(rows, [said("first", 1.0, "q")])
    with pytest.raises(DataError, match="a run has 'j' and 'k'; choose by --judge"):
        repeatability([*rows, said("first", 1.0, "q", "k")])
