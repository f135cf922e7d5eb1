"""A small world for `micronas.judge`, offline: questions, models, and a judge on 127.0.0.1.

Every question has an answer that a program can find, so the judge is one: it solves the question,
prefers the right answer, then the shorter one, and now and then just the answer it saw first.
"""

import hashlib
import json
import random
import re
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOUNS = """
anchor basket candle desert engine forest garden hammer island jungle kitten ladder magnet needle
orange pencil quartz ribbon saddle tunnel velvet walnut yellow zipper bridge copper dragon falcon
goblet helmet jacket lantern marble nectar oyster parrot rocket shovel timber violin window barrel
cactus donkey feather guitar harbor insect jigsaw kettle lizard meadow
"""
WORDS = NOUNS.split()

# share of right answers by category, and how many words an answer is wrapped in
MODELS = {
    "plain": ({"arithmetic": 0.75, "spelling": 0.75, "sorting": 0.75, "counting": 0.75}, 8),
    "careful": ({"arithmetic": 0.95, "spelling": 0.9, "sorting": 0.95, "counting": 0.9}, 12),
    "chatty": ({"arithmetic": 0.7, "spelling": 0.75, "sorting": 0.65, "counting": 0.7}, 60),
    "hasty": ({"arithmetic": 0.9, "spelling": 0.3, "sorting": 0.5, "counting": 0.3}, 2),
}
FIRST_PREFERRED = 0.12
UNREADABLE = 0.01


def overrides(about: str | None) -> list[str]:
    """Return the settings of the command line."""
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings of the YAML")
    return parser.parse_args().settings


def questions(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of a source: texts, and the category of every eighth."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        words = rng.sample(WORDS, 6)
        numbers = [rng.randint(11, 999) for _ in range(6)]
        text = rng.choice(
            [
                f"Please add up and give the total: {' + '.join(map(str, numbers))}",
                f"What is the sum of the prices {', '.join(map(str, numbers))}?",
                f"Spell every word backwards, keep their order: {' '.join(words)}",
                f"Reverse the letters of each word in this list: {' '.join(words)}",
                f"Put these words into alphabetical order: {' '.join(words)}",
                f"Arrange the list from A to Z, please: {' '.join(words)}",
                f"How many times does the letter e occur in: {' '.join(words)}",
                f"Count the occurrences of the letter e here: {' '.join(words)}",
            ]
        )
        rows.append({"text": text, "category": "" if index % 8 else category_of(text)})
    return rows


def category_of(question: str) -> str:
    """The true category of a question."""
    signs = {"backwards": "spelling", "Reverse": "spelling", "alphabetical": "sorting"}
    signs |= {"A to Z": "sorting", "letter e": "counting"}
    return next((name for sign, name in signs.items() if sign in question), "arithmetic")


def solve(question: str) -> str:
    """The right answer to a question."""
    words = question.rpartition(": ")[2]
    category = category_of(question)
    if category == "spelling":
        return " ".join(word[::-1] for word in words.split())
    if category == "sorting":
        return " ".join(sorted(words.split()))
    if category == "counting":
        return str(words.count("e"))
    return str(sum(map(int, re.findall(r"\d+", question))))


def answer(model: str, question: str) -> str:
    """What a model says: the same each time, right as often as its table says."""
    skill, length = MODELS[model]
    category = category_of(question)
    right = solve(question)
    rng = random.Random(f"{model}: {question}")
    if rng.random() >= skill[category]:
        right = " ".join(reversed(right.split())) if " " in right else str(int(right) + 1)
    around = " ".join(rng.choices(WORDS, k=length))
    return f"Thinking of {around}.\nAnswer: {right}"


def verdict(question: str, first: str, second: str) -> str:
    """``A>B``, ``B>A`` and so on, for two answers in the order shown."""
    chance = int(hashlib.sha256(f"{question}{first}{second}".encode()).hexdigest()[:8], 16) / 2**32
    if chance < FIRST_PREFERRED:
        return "A>B"
    right = solve(question)
    good = [text.endswith(f"Answer: {right}") for text in (first, second)]
    if good[0] != good[1]:
        return "A>>B" if good[0] else "B>>A"
    if abs(len(first) - len(second)) < 50 or not good[0]:
        return "A=B"
    return "A>B" if len(first) < len(second) else "B>A"


def reply(messages: list[dict[str, str]]) -> str:
    """The judge's text for a question of `micronas.judge.rubric`."""
    asked = messages[1]["content"]
    tag, question = re.findall(r"<<(\w+) PROMPT>>\n(.*?)\n<</\1 PROMPT>>", asked, re.DOTALL)[0]
    first, second = (
        asked.split(f"<<{tag} ANSWER {side}>>\n")[1].split(f"\n<</{tag} ANSWER {side}>>")[0]
        for side in "AB"
    )
    if random.Random(asked).random() < UNREADABLE:
        return "Both answers have their merits."
    label = verdict(question, first, second)
    return f"The right answer is {solve(question)}.\nVerdict {tag}: [[{label}]]"


class _Judge(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with suppress(ConnectionError, json.JSONDecodeError):  # who asked was stopped
            super().handle()

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = reply(request["messages"])
        asked = sum(len(message["content"]) for message in request["messages"])
        usage = {"prompt_tokens": asked // 4, "completion_tokens": len(text) // 4}
        message = {"role": "assistant", "content": text}
        body = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def judge() -> Iterator[str]:
    """Serve the judge as an OpenAI-compatible endpoint; gives its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        server.server_close()
