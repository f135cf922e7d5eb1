"""Prompts in other words: marks of chat templates go, and categories are learned without them."""

import random

import numpy as np
import pytest

from micronas.router.fit import FitSettings, fit
from micronas.router.rewordings import cores, plain, reworded
from micronas.router.scores import ScoreTable
from tests.router.test_policy import SETTINGS
from tests.router.world import EXPERTS, prompt, table


@pytest.mark.parametrize(
    "wrapped",
    [
        "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
        "<s>[INST] {} [/INST]",
        "<start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
        "User: {}\nAssistant:",
        "Human: {}\n\nAI:",
        "```python\n{}\n```",
    ],
)
def test_what_chat_templates_put_around_a_prompt_is_gone(wrapped: str) -> None:
    said = "Is <b> for x > 3\na user: or an assistant?"
    assert plain(wrapped.replace("{}", said)) == said
    assert plain(said) == said


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        ("Hello there! Can you help?\n", ""),
        ("Bitte beantworte das auf Deutsch: ", "\nVielen Dank im Voraus, das hilft mir!"),
        ("", "\n\nThanks. Bye."),
        ("---\nA. B.\n", "\n***\nC! D?"),
    ],
)
def test_a_core_lacks_what_stands_around_a_prompt(before: str, behind: str) -> None:
    said = "Take 3.5 and 4.\nHow many are they?"
    found = cores(before + said + behind)
    assert said in found
    assert found[0] == before + said + behind
    assert all(each in found[0] for each in found)


def test_cores_hold_a_sentence_at_least() -> None:
    assert [cores(each) for each in ("", "One.", "...\n")] == [[""], ["One."], ["...\n"]]
    assert cores("A. B. C.") == ["A. B. C.", "A. B.", "A.", "B. C.", "B.", "C."]


def test_sentences_around_a_prompt_move_no_category() -> None:
    """The fit has no rewordings, so that cores alone can help."""
    settings = FitSettings.model_validate({**SETTINGS.model_dump(), "rewordings": 0})
    router = fit(table(180), EXPERTS, settings=settings)
    rng = random.Random(7)
    asked = [prompt(kind, rng) for kind in sorted(set(table(9).categories)) for _ in range(20)]
    around = [f"Kannst du mir bitte kurz helfen?\n{each}\nHerzlichen Dank!" for each in asked]
    own = [each.category for each in router.route(asked)]
    moved = [each.category for each in router.route(around)]
    whole = router.categories.classify(router.embed(around)[None]).category
    assert np.mean([a == b for a, b in zip(own, moved, strict=True)]) > 0.95
    assert np.mean([a == router.names[b] for a, b in zip(own, whole, strict=True)]) < 0.9


def test_other_words_are_a_function_of_prompt_and_seed() -> None:
    prompts = [f"Prompt {number}. It has parts. What of it?" for number in range(60)]
    first, second = reworded(prompts, 2)
    assert reworded(prompts[5:9], 1) == [first[5:9]]
    assert first != second != reworded(prompts, 2, seed=1)[1]
    same = [each for each, other in zip(prompts, first, strict=True) if each == other]
    assert len(same) < 20
    assert reworded(prompts, 0) == []


@pytest.mark.long
def test_categories_are_learned_from_what_stays() -> None:
    """Each kind of prompt has a form of its own, which tells it until the form changes."""
    frame = {"sums": "Question: {}\nAnswer:", "words": "= {} =\n\n\n", "code": "{}"}
    bare = table(180)
    framed = [
        frame[kind].replace("{}", each)
        for each, kind in zip(bare.prompts, bare.categories, strict=True)
    ]
    scores = ScoreTable(tuple(framed), bare.experts, bare.scores, bare.categories)
    rng = random.Random(7)
    asked = [
        (kind, f"Dear all.\n{prompt(kind, rng)}\nMany thanks and kind regards!")
        for kind in sorted(set(bare.categories))
        for _ in range(20)
    ]
    right = []
    for copies in (0, 2):
        settings = FitSettings.model_validate({**SETTINGS.model_dump(), "rewordings": copies})
        found = fit(scores, EXPERTS, settings=settings).route([text for _, text in asked])
        categories = [each.category for each in found]
        right.append(np.mean([a == kind for a, (kind, _) in zip(categories, asked, strict=True)]))
    assert right[1] > right[0] + 0.1
