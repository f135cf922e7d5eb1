"""Prompts in other words: marks of chat templates go, and categories are learned without them."""

import random

import numpy as np
import pytest

from micronas.router.fit import FitSettings, fit
from micronas.router.rewordings import plain, reworded
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


def test_other_words_are_a_function_of_prompt_and_seed() -> None:
    prompts = [f"Prompt {number}. It has parts. What of it?" for number in range(60)]
    first, second = reworded(prompts, 2)
    assert reworded(prompts[5:9], 1) == [first[5:9]]
    assert first != second != reworded(prompts, 2, seed=1)[1]
    same = [each for each, other in zip(prompts, first, strict=True) if each == other]
    assert len(same) < 20
    assert reworded(prompts, 0) == []


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
        (kind, f"Dear all, {prompt(kind, rng)} -- many thanks and kind regards!")
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
