import numpy as np
import pytest

from micronas.errors import DataError
from micronas.judge.battles import Battles


def example() -> Battles:
    return Battles.of_names(
        ["b", "a", "c", "b"],
        ["a", "c", "b", "c"],
        [1, 0.5, 0, 1],
        prompt=["p2", "p1", "p1", "p3"],
        weight=[1, 2, 3, 4],
        category={"p1": "law", "p3": "law"},
        length_left=[10, 20, 30, 40],
        length_right=[1, 2, 3, 4],
    )


def test_names_become_sorted_indices() -> None:
    battles = example()
    assert battles.models == ("a", "b", "c")
    assert battles.prompts == ("p1", "p2", "p3")
    assert battles.category == ("law", "", "law")
    assert battles.left.tolist() == [1, 0, 2, 1]
    assert battles.right.tolist() == [0, 2, 1, 2]
    assert battles.prompt.tolist() == [1, 0, 0, 2]
    assert len(battles) == 4


def test_without_prompts_each_battle_is_one() -> None:
    battles = Battles.of_names(["a", "b"], ["b", "a"], [1, 1])
    assert len(battles.prompts) == 2
    assert battles.prompt.tolist() == [0, 1]
    assert battles.weight.tolist() == [1, 1]


def test_a_category_keeps_its_prompts_and_all_models() -> None:
    law = example().of_prompts(np.array(example().category) == "law")
    assert law.prompts == ("p1", "p3")
    assert law.models == ("a", "b", "c")
    assert law.prompt.tolist() == [0, 0, 1]
    assert law.weight.tolist() == [2, 3, 4]
    assert law.length_left.tolist() == [20, 30, 40]


@pytest.mark.parametrize(
    ("left", "outcome", "more", "said"),
    [
        (["b"], [1], {}, "'b' fights itself"),
        (["a"], [2], {}, "outcomes must be in"),
        (["a"], [float("nan")], {}, "outcomes must be in"),
        (["a"], [1, 0], {}, "vectors of one length"),
        (["a"], [1], {"length_left": [3]}, "both sides"),
        (["a"], [1], {"weight": [-1]}, "weights .*, but got -1"),
        (["a"], [1], {"weight": [float("inf")]}, "weights .*, but got inf"),
        (["a"], [1], {"weight": [float("nan")]}, "weights .*, but got nan"),
    ],
)
def test_rows_that_are_no_battle(
    left: list[str], outcome: list[float], more: dict[str, list[float]], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        Battles.of_names(left, ["b"], outcome, **more)


def test_an_index_that_points_nowhere() -> None:
    one = np.array([1])
    with pytest.raises(DataError, match=r"0\.\.1"):
        Battles(("a", "b"), ("p",), one + 1, one, one - 1, one, one, ("",))


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(DataError, match="choose one of a, b, c"):
        example().index("gpt")
