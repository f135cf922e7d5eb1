"""An evaluation set, a judge, a ranking and a report, offline and in a minute.

    python examples/judge.py                            all of it
    python examples/judge.py judge.concurrency=2        with other settings of judge.yaml

The same command goes on where a stopped one ended; verdicts that are stored are not asked again.
The questions, models and judge of this small world are programs (judge_world.py): their ranking
says nothing about real models, but what each is good at is known, so the report can be checked.
"""

import csv
from pathlib import Path

import judge_world as world

from micronas.cli.ending import one_line_errors, stoppable
from micronas.judge.build import Build
from micronas.judge.leaderboard import Statistics, leaderboard, read_reference
from micronas.judge.manifest import load_prompts
from micronas.judge.quality import quality
from micronas.judge.recipe import read_recipe
from micronas.judge.report import write_report
from micronas.judge.rows import Answer, read_answers
from micronas.judge.run import JudgeSettings, estimate, run
from micronas.judge.store import battles_of
from micronas.language.rows import json_lines
from micronas.settings import read_settings
from micronas.text import pairs, table

HERE = Path(__file__).parent
RUN = HERE.parent / "runs" / "judge"


def main(overrides: list[str]) -> None:
    # 1. An evaluation set: questions, most without a category, to a stratified sample of them.
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / "questions.jsonl").write_bytes(json_lines(world.questions(600, seed=0)))
    Build(read_recipe(HERE / "judge_recipe.yaml"), RUN / "set", say=print).run()
    prompts = load_prompts(RUN / "set")

    # 2. What the models answer; real answers come as such a file.
    answers = [
        {"prompt_id": prompt.id, "model": model, "text": world.answer(model, prompt.text)}
        for prompt in prompts
        for model in world.MODELS
    ]
    (RUN / "answers.jsonl").write_bytes(json_lines(answers))

    # 3. The judge, on 127.0.0.1: every pair in both orders.
    store = RUN / "run.sqlite"
    with world.judge() as address:
        settings = read_settings(
            HERE / "judge.yaml", JudgeSettings, [f"judge.base_url={address}", *overrides]
        )
        said: list[Answer] = read_answers(RUN / "answers.jsonl")
        expected = estimate(settings, prompts, said, store)
        print(f"\n{expected.calls} calls, about {expected.usd:.2f} US dollars were they real")
        done = run(settings, prompts, said, store)
        print(f"{done.judged} verdicts, {done.invalid} of them invalid, {done.usd:.2f} dollars\n")

    # 4. The ranking, and whether it agrees with what the models are known to be worth.
    statistics = Statistics(rounds=1000, seed=0)
    board = leaderboard(battles_of(store), statistics)
    rows = zip(board.models, board.rates, board.lower, board.upper, strict=True)
    print(table(["model", "win rate", "low", "high"], [[m, *map(percent, r)] for m, *r in rows]))
    with (RUN / "reference.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "score"])
        writer.writerows((name, sum(skill.values())) for name, (skill, _) in world.MODELS.items())
    measured = quality(board.estimates(), read_reference(RUN / "reference.csv"))
    print("\n" + pairs(measured.shown()))

    # 5. Everything on one page.
    write_report(store, RUN / "report.html", title="A small world", statistics=statistics)
    print(f"\nreport: {RUN / 'report.html'}")


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


if __name__ == "__main__":
    with one_line_errors(), stoppable():
        main(world.overrides(__doc__))
