"""The router on prompts in other words, and on real chat: what moves, and what it costs.

    python -m benchmarks.router_robust SCORES MODELS [CHAT...] [--embedding multilingual]
        [--forms NAME...] [--prompts N]

SCORES and MODELS as in router_heldout; CHAT are JSON lines of real chat (``prompt``,
``instruction`` or ``turns``; .gz too). 60 % of the prompts (of N drawn ones) are fitted on, three
times; the others are asked as they are, in eleven other forms (or those named), none of whose
phrases is one of `micronas.router.rewordings`, and translated into Spanish and Catalan, of which
the fit sees no more than greetings. The translator is Apertium, whose rules come as the Debian
packages apertium, apertium-eng-spa and apertium-eng-cat. Printed for routers that learned from 0, 1
and 2 rewordings of each prompt: the share that reaches `general`, in points more than the plain
prompts, and scores less those of the plain prompts, with the interval of a bootstrap over prompts
at 31 B, and the least of five budgets. Then, for shares of seen prompts that are kept, those of
chat that reach `general`.
"""

import argparse
import gzip
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.router_heldout import read, step1_of
from micronas.router.embedding import Embedding, embedded_cores, embedder_of
from micronas.router.evaluate import paired_interval
from micronas.router.fit import embedded_rewordings
from micronas.router.mapping import ParameterBudget
from micronas.router.plan import make_plan
from micronas.text import table

Floats = NDArray[np.float64]
BUDGETS = (8.2e9, 12e9, 20e9, 31e9, 52e9)
TOLD = 3
"""Place of the budget whose interval is printed."""
COPIES, KEPT, SPLITS = (0, 1, 2), (0.95, 0.9, 0.8, 0.7), 3


def _mistyped(prompt: str) -> str:
    draw, letters = random.Random(prompt), list(prompt)
    for place in range(len(letters) - 1):
        if letters[place].isalpha() and draw.random() < 0.03:
            letters[place : place + 2] = reversed(letters[place : place + 2])
    return "".join(letters)


def _last_first(prompt: str) -> str:
    first, *rest = reversed([each for each in re.split(r"(?<=[.?!])\s+|\n+", prompt) if each])
    return "\n".join([first, *reversed(rest)])


FORMS: dict[str, Callable[[str], str]] = {
    "thanks": lambda prompt: f"{prompt} Thanks a lot!",
    "greeting": lambda prompt: f"Hi there! Could you please help me with this? {prompt}",
    "roles": lambda prompt: f"User: {prompt}\nAssistant:",
    "chat template": lambda p: f"<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n",
    "last sentence first": _last_first,
    "typing errors, 3 %": _mistyped,
    "lower case": str.lower,
    "one line": lambda prompt: " ".join(prompt.split()),
    "fence and advice": lambda prompt: (
        f"I have a question.\n```\n{prompt}\n```\nAnswer it step by step, and be brief."
    ),
    "German around it": lambda prompt: (
        f"Bitte beantworte die folgende Frage auf Deutsch:\n{prompt}\n"
        "Vielen Dank im Voraus, das hilft mir sehr!"
    ),
    "other German around it": lambda prompt: (
        f"Könntest du mir hier bitte weiterhelfen?\n{prompt}\nIch danke dir, das ist sehr nett!"
    ),
}


LANGUAGES = {"in Spanish": "eng-spa", "in Catalan": "eng-cat"}
_MARK = re.compile(r"\n\[\[(\d+)\]\]\n")


def translated(prompts: Sequence[str], pair: str) -> list[str]:
    """Translate prompts by Apertium, all in one run; words that it does not know stay."""
    text = "\n".join(f"\n[[{place}]]\n\n{each}\n" for place, each in enumerate(prompts))
    command = ["apertium", "-u", pair]
    done = subprocess.run(
        command, input=text.encode("utf-8", "replace"), stdout=subprocess.PIPE, check=True
    )
    _, *parts = _MARK.split(done.stdout.decode("utf-8", "replace"))
    assert parts[::2] == [str(place) for place in range(len(prompts))]
    return parts[1::2]


def chats(path: Path) -> list[str]:
    """Return the first turns of a file of chat."""
    data = path.read_bytes()
    rows = (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()
    found: list[Any] = []
    for row in map(json.loads, rows):
        turn = row.get("prompt") or row.get("instruction") or row["turns"][0]
        found.append(turn if isinstance(turn, str) else turn["content"])
    return found


def nonsense(count: int) -> list[str]:
    """Return words of random letters."""
    draw = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        " ".join("".join(draw.choices(letters, k=draw.randint(3, 9))) for _ in range(6))
        for _ in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scores")
    parser.add_argument("models")
    parser.add_argument("chat", nargs="*", type=Path)
    parser.add_argument("--embedding", default="wordllama")
    parser.add_argument("--forms", nargs="+", default=[*FORMS, *LANGUAGES])
    parser.add_argument("--prompts", type=int)
    given = parser.parse_args()
    judged, active = read(given.scores, given.models)
    if given.prompts:
        judged = judged.rows(np.random.default_rng(0).permutation(len(judged))[: given.prompts])
    cache = Path(tempfile.gettempdir()) / "micronas_router_vectors.sqlite"
    embed = embedder_of(Embedding(kind=given.embedding), cache)

    def of(prompts: Sequence[str]) -> Floats:
        return embedded_cores(embed, prompts)

    own = of(judged.prompts)
    asked = {}
    for name in given.forms:
        pair = LANGUAGES.get(name)
        asked[name] = of(
            translated(judged.prompts, pair) if pair else [*map(FORMS[name], judged.prompts)]
        )
    other = embedded_rewordings(embed, judged.prompts, max(COPIES))
    assert other is not None
    talk = {path.name.split(".")[0]: of(chats(path)) for path in given.chat}
    talk["nonsense"] = of(nonsense(200))
    size = len(judged)
    general = {
        (copies, name): np.full((SPLITS, size), np.nan)
        for copies in COPIES
        for name in ["", *asked]
    }
    gained = {
        (copies, name): np.full((len(BUDGETS), SPLITS, size), np.nan)
        for copies in COPIES
        for name in ["", *asked]
    }
    caught: dict[tuple[int, float, str], list[float]] = {}
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(size)
        part, test = order[: int(0.6 * size)], order[int(0.6 * size) :]
        for copies in COPIES:
            reworded = other[:copies, part] if copies else None
            found = step1_of(own[:, part], judged.rows(part), active, reworded)
            familiar = np.quantile(found.validation.classified.distance, KEPT)
            for name, vectors in {"seen": own[:, test], **talk}.items():
                distance = found.model.classify(vectors).distance
                for kept, most in zip(KEPT, familiar, strict=True):
                    share = float((distance > most).mean())
                    caught.setdefault((copies, kept, name), []).append(share)
            last = len(found.model.names)
            plans = [make_plan(found.evidence, ParameterBudget(active=b)) for b in BUDGETS]
            for name, vectors in {"": own, **asked}.items():
                category = found.model.classify(vectors[:, test]).category
                general[copies, name][split, test] = category == last
                for place, plan in enumerate(plans):
                    score = judged.scores[test, plan.experts[category]]
                    gained[copies, name][place, split, test] = score
        print("split", split + 1, "of", SPLITS, file=sys.stderr, flush=True)

    header = ["rewordings", "general, %", *(f"{budget / 1e9:g} B" for budget in BUDGETS)]
    rows = [
        [
            str(copies),
            f"{100 * np.nanmean(general[copies, '']):.1f}",
            *(f"{np.nanmean(each):.4f}" for each in gained[copies, ""]),
        ]
        for copies in COPIES
    ]
    print(f"{size} prompts, {given.embedding}: plain\n{table(header, rows)}\n")
    rows = []
    for name in asked:
        cells = []
        for copies in COPIES:
            moved = 100 * np.nanmean(general[copies, name] - general[copies, ""])
            less = gained[copies, name] - gained[copies, ""]
            mean, low, high = paired_interval(less[TOLD], rounds=500)
            least = np.nanmean(less, axis=(1, 2)).min()
            cells += [f"{moved:+.1f}", f"{mean:+.4f} ({low:+.4f} to {high:+.4f})", f"{least:+.4f}"]
        rows.append([name, *cells])
    header = ["form"]
    for copies in COPIES:
        header += [f"general, {copies} rewordings", "score at 31 B", "least of five"]
    print(f"{table(header, rows)}\n")
    rows = [
        [
            str(copies),
            f"{kept:.0%}",
            *(f"{100 * np.mean(caught[copies, kept, name]):.0f}" for name in ["seen", *talk]),
        ]
        for copies in COPIES
        for kept in KEPT
    ]
    print("reach general, %")
    print(table(["rewordings", "kept", "seen", *talk], rows))


if __name__ == "__main__":
    main()
