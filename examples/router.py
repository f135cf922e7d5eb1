"""A composition of four experts under a budget, offline and in a minute.

    python examples/router.py                                all of it
    python examples/router.py embedding.kind=ngrams          with other settings of router.yaml

The experts of this small world are programs (router_world.py), and what each is good at is known,
so the mapping can be checked. Only every eighth question has its category; all teach the mapping.
"""

from pathlib import Path

import judge_world
import router_world

from micronas.cli.ending import one_line_errors, stoppable
from micronas.language.rows import json_lines
from micronas.router.jobs import evaluate_file, evaluation_table, fit_file, router_table
from micronas.router.mapping import ParameterBudget

HERE = Path(__file__).parent
RUN = HERE.parent / "runs" / "router"
CONFIG = HERE / "router.yaml"


def main(overrides: list[str]) -> None:
    # 1. Scores: each expert answers each question, and an answer is right or wrong.
    questions = {row["text"]: row["category"] for row in judge_world.questions(1200, seed=0)}
    rows = [
        {"prompt": text, "category": category, "scores": scores(text)}
        for text, category in questions.items()
    ]
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / "scores.jsonl").write_bytes(json_lines(rows))

    # 2. Both steps: questions to categories, categories to experts within the budget.
    router = fit_file(CONFIG, overrides)
    router.save(RUN / "fitted")
    print(router_table(router))

    # 3. Another budget is another mapping of the same categories.
    for active in (1e9, 3e9, 10e9, 30e9):
        plan = router.map(ParameterBudget(active=active)).plan
        print(f"\nwithin {active / 1e9:g}B: score {plan.score:.3f}", end="")
    print("\n")

    # 4. Beside simpler ways to choose, on questions that were not fitted on.
    found = evaluate_file(CONFIG, overrides, sweep=["2B", "5B", "10B", "20B"], splits=2)
    print(evaluation_table(found))

    # 5. Why a prompt goes where it goes; the last one is of no category.
    for prompt in (
        "What is the sum of the prices 17, 250, 33?",
        "Arrange the list from A to Z, please: walnut anchor forest",
        "Quelle heure est-il à Reykjavík ?\n\n{\\LaTeX}",
    ):
        decision = router.route([prompt])[0]
        print(f"\n{prompt!r}\n  {decision.expert}: {decision.reason}")


def scores(question: str) -> dict[str, float]:
    """1 for each expert whose answer is right, 0 for the others."""
    right = judge_world.solve(question)
    messages = [{"role": "user", "content": question}]
    return {name: float(expert(messages) == right) for name, expert in router_world.EXPERTS.items()}


if __name__ == "__main__":
    with one_line_errors(), stoppable():
        main(judge_world.overrides(__doc__))
