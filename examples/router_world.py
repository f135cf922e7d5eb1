"""Experts of a small world, offline: programs that answer the questions of judge_world.py.

Each is a function from chat messages to a text, right as often as its table says, and says the same
each time.
"""

import random
from functools import partial

import judge_world

UNSKILLED = dict.fromkeys(("arithmetic", "spelling", "sorting", "counting"), 0.0)
SKILLS = {
    "small": dict.fromkeys(UNSKILLED, 0.45),
    "reckoner": {**UNSKILLED, "arithmetic": 0.92, "counting": 0.8, "sorting": 0.2},
    "linguist": {**UNSKILLED, "spelling": 0.9, "sorting": 0.55, "counting": 0.3},
    "large": {"arithmetic": 0.85, "spelling": 0.8, "sorting": 0.95, "counting": 0.75},
}


def answer(expert: str, messages: list[dict[str, str]]) -> str:
    """What an expert says to the last message."""
    question = messages[-1]["content"]
    skill = SKILLS[expert][judge_world.category_of(question)]
    if random.Random(f"{expert}: {question}").random() < skill:
        return judge_world.solve(question)
    return "I do not know."


small = partial(answer, "small")
reckoner = partial(answer, "reckoner")
linguist = partial(answer, "linguist")
large = partial(answer, "large")
EXPERTS = {"small": small, "reckoner": reckoner, "linguist": linguist, "large": large}
