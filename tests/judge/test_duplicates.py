import itertools
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.judge.duplicates import find_duplicates
from micronas.judge.recipe import Duplicates

SUBJECTS = ["a violin", "the heart", "an election", "a volcano", "the stock market", "a compiler"]
VERBS = ["Describe the history of", "How would you teach children about", "What can go wrong with"]
ENDS = ["in the nineteenth century?", "for somebody in a hurry.", "when money is no object?"]
TEXTS = [" ".join(parts) for parts in itertools.product(VERBS, SUBJECTS, ENDS)]


def pairs(texts: list[str], **settings: object) -> list[tuple[int, int]]:
    found = find_duplicates(texts, Duplicates.model_validate(settings))
    return [(each.index, each.of) for each in found]


def test_exact_up_to_case_blanks_and_punctuation() -> None:
    texts = ["What is 9 - 5?", "what  is\n9  - 5", "What is 9 + 5?", "¿What is 9 - 5?!"]
    found = find_duplicates(texts, Duplicates(threshold=1.0))
    assert [(each.index, each.of, each.similarity) for each in found] == [(1, 0, 1.0), (3, 0, 1.0)]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("What is 17 times 4?", "What is 17 times 5?"),
        ("Write hello world in C++ please", "Write hello world in C# please"),
        ("Tell me what 12 + 3 is as a word", "Tell me what 12 * 3 is as a word"),
        ("Tell me what 12 + 3 is as a word", "Tell me what 12 - 3 is as a word"),
        ("!!!???", "...;;;"),
    ],
)
def test_small_but_decisive_differences(first: str, second: str) -> None:
    assert pairs([first, second], threshold=0.5) == []


def test_numbers_may_be_ignored() -> None:
    text = "A train leaves the station of Basel at {} and arrives in Bern after an hour; how fast?"
    texts = [text.format(8), text.format(9)]
    assert pairs(texts) == []
    assert pairs(texts, same_numbers=False) == [(1, 0)]


def edits(text: str, rng: random.Random) -> list[str]:
    place = rng.randrange(len(text) - 1)
    return [
        text.upper(),
        "Please answer: " + text,
        text + " Thank you!",
        text[:place] + text[place + 1 :],
        text[:place] + text[place + 1] + text[place] + text[place + 2 :],
    ]


def test_planted_edits_are_found_and_others_stay() -> None:
    rng = random.Random(0)
    planted = [(i, edit) for i, text in enumerate(TEXTS) for edit in edits(text, rng)]
    found = dict(pairs(TEXTS + [edit for _, edit in planted]))
    assert [i for i in found if i < len(TEXTS)] == []
    right = [found.get(len(TEXTS) + at) == i for at, (i, _) in enumerate(planted)]
    assert sum(right) >= 0.95 * len(planted)


def test_the_similarity_is_the_weighted_share_of_common_grams() -> None:
    # 1-grams " abcd" and " abce" of three texts: 4 letters and a blank, a third text alike "x"
    texts = ["abcd", "abce", "x"]
    found = find_duplicates(texts, Duplicates(characters=1, threshold=0.1))
    # ln(1 + n / df): the blank is in 3 of 3, a b c in 2, d and e in 1
    import math

    blank, twice, once = math.log(2), math.log(2.5), math.log(4)
    assert found[0].similarity == pytest.approx(
        (blank + 3 * twice) / (blank + 3 * twice + 2 * once)
    )


@given(st.lists(st.text(max_size=40), max_size=12))
def test_what_stays_has_no_duplicate_and_what_goes_has_one(texts: list[str]) -> None:
    found = find_duplicates(texts, Duplicates())
    gone = {each.index for each in found}
    assert all(each.of < each.index and each.of not in gone for each in found)
    assert all(each.similarity >= 0.7 for each in found)
    stay = [text for index, text in enumerate(texts) if index not in gone]
    assert len(set(stay)) == len(stay)


def test_prompts_of_one_template_are_compared_at_once() -> None:
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=6)) for _ in range(200)]
    template = "Translate the text between the marks; keep names and units as they are. " * 4
    texts = [template + " ".join(rng.choices(words, k=9)) for _ in range(600)]
    start = time.process_time()
    assert pairs([*texts, f"Please: {texts[7]}"]) == [(600, 7)]
    assert time.process_time() - start < 1.5
