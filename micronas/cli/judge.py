"""Commands on judged comparisons: make an evaluation set, judge answers on it, rate, report."""

import sys
from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from micronas.cli.ending import stoppable
from micronas.cli.shared import Json, Overrides, Quiet, show

if TYPE_CHECKING:
    from micronas.judge.build import Build

judge_app = typer.Typer(
    no_args_is_help=True,
    help="Build an evaluation set of a domain, judge models on it, measure its quality.",
)

_RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file of a recipe.")]
_SetFolder = Annotated[Path, typer.Option("--out", help="Folder of the evaluation set.")]
Config = Annotated[Path, typer.Argument(help="YAML file of a judge run.")]
_SetPath = Annotated[
    Path, typer.Option("--set", help="Evaluation set: folder, JSON lines or a store.")
]
_Answers = Annotated[
    Path | None,
    typer.Option(help="Answers of the models: JSON lines of prompt_id, model, text, or a store."),
]
_StoreOut = Annotated[
    Path, typer.Option("--out", help="SQLite file of the run, which continues if it exists.")
]
Null = Annotated[
    bool, typer.Option("--null", help="Judge constant answers, too, to see if they fool the judge.")
]
_StorePath = Annotated[Path, typer.Argument(metavar="STORE", help="SQLite file of a judge run.")]
_JudgeName = Annotated[str | None, typer.Option("--judge", help="Verdicts of this judge alone.")]
_StrongWeight = Annotated[float, typer.Option(help="Weight of a 'much better' verdict.")]
_Rounds = Annotated[int, typer.Option(help="Bootstrap rounds.")]
_Level = Annotated[float, typer.Option(help="Level of intervals.")]
_Prior = Annotated[
    float,
    typer.Option(
        help="Number of added draws of each model; 1 where a model wins or loses nearly all."
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")]


class _Format(str, Enum):
    """Tools whose files `import` reads."""

    arena_hard = "arena-hard"
    alpaca_eval = "alpaca-eval"
    llmfao = "llmfao"
    judgebench = "judgebench"
    rewardbench2 = "rewardbench2"


@judge_app.command()
def build(
    recipe: _RecipePath,
    out: _SetFolder,
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make an evaluation set from a recipe."""
    from micronas.judge.jobs import strata_table
    from micronas.progress import Bars

    with Bars(quiet=quiet or as_json) as bars:
        manifest = _build(recipe, out, overrides, quiet=as_json, progress=bars).run()
    show(manifest, as_json, lambda: strata_table(manifest))


@judge_app.command()
def label(
    recipe: _RecipePath,
    out: _SetFolder,
    size: Annotated[int, typer.Option(min=1, help="Prompts to label by hand.")] = 100,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write a sheet of prompts to be labelled by hand; they spread over all prompts."""
    from micronas.judge.build import REVIEW

    written, sheet = _build(recipe, out, overrides, quiet=as_json).sheet(size), out / REVIEW
    said = f"{sheet}: {written} prompts; fill the column category, then review"
    show({"file": str(sheet), "prompts": written}, as_json, lambda: said)


@judge_app.command()
def review(
    recipe: _RecipePath, out: _SetFolder, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Read the filled sheet; the next build learns from it."""
    from micronas.errors import DataError
    from micronas.judge.build import LABELS, REVIEW
    from micronas.judge.recipe import read_recipe
    from micronas.judge.review import merge_review

    categories = read_recipe(recipe, overrides or []).recipe.categories
    sheet, labels = out / REVIEW, out / LABELS
    moved = merge_review(sheet, labels, categories)
    if not moved:
        raise DataError(
            f"{sheet} must have categories filled in, but has none; `micronas judge label` writes "
            "a sheet to fill"
        )
    said = f"{moved} labels from {sheet} are in {labels}"
    show({"file": str(labels), "labels": moved}, as_json, lambda: said)


@judge_app.command()
def sample(
    recipe: _RecipePath, out: _SetFolder, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Draw a built set again: after a change of quotas or sampling."""
    from micronas.judge.jobs import check_built

    check_built(out)
    build(recipe, out, overrides, as_json)


@judge_app.command()
def estimate(
    config: Config,
    prompts: _SetPath,
    out: _StoreOut,
    answers: _Answers = None,
    overrides: Overrides = None,
    null: Null = False,
    as_json: Json = False,
) -> None:
    """Estimate the calls, tokens and US dollars of a run; no call is made."""
    from micronas.judge.jobs import run_inputs
    from micronas.judge.run import estimate as estimate_run
    from micronas.text import pairs

    settings, asked, said = run_inputs(config, overrides or [], prompts, answers, null=null)
    expected = vars(estimate_run(settings, asked, said, out))
    show(expected, as_json, lambda: pairs(_in_dollars(expected)))


@judge_app.command()
def run(
    config: Config,
    prompts: _SetPath,
    out: _StoreOut,
    answers: _Answers = None,
    overrides: Overrides = None,
    null: Null = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as estimate.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge all models against the baseline in both orders; the same command resumes."""
    if dry_run:
        estimate(config, prompts, out, answers, overrides, null, as_json)
        return
    from micronas.judge.checks import null_models
    from micronas.judge.jobs import run_inputs
    from micronas.judge.run import run as run_judge
    from micronas.judge.store import verdicts_of
    from micronas.progress import Bars
    from micronas.text import pairs

    settings, asked, said = run_inputs(config, overrides or [], prompts, answers, null=null)
    with stoppable(), Bars(quiet=quiet or as_json) as bars:
        summary = vars(run_judge(settings, asked, said, out, progress=bars))
    show(summary, as_json, lambda: pairs(_in_dollars(summary)))
    for each in null_models(verdicts_of(out)) if null else ():
        print(f"constant answer {each.model} {each}", file=sys.stderr)
    warnings = {
        "refused": f"{summary['refused']} verdicts are missing: the endpoint refuses their "
        f"prompts, the first {summary['first_refusal']}; in ten minutes the same command asks "
        "again",
        "empty": f"{summary['empty']} answers of models are empty, and judged as they are; was "
        "max_tokens spent on hidden reasoning?",
        "stopped": "stopped by max_usd; raise it and run again to go on",
    }
    for text in (text for key, text in warnings.items() if summary[key]):
        print(text, file=sys.stderr)
    if summary["stopped"]:
        raise typer.Exit(1)


@judge_app.command()
def rate(
    store: _StorePath,
    judge: _JudgeName = None,
    strong_weight: _StrongWeight = 3.0,
    rounds: _Rounds = 1000,
    level: _Level = 0.95,
    prior: _Prior = 0.0,
    seed: Seed = 0,
    by_category: Annotated[
        bool, typer.Option("--by-category", help="Show win rates in each category instead.")
    ] = False,
    categories: Annotated[
        Path | None,
        typer.Option(
            help="CSV of prompt_id, category, with your own categories for --by-category."
        ),
    ] = None,
    equal_length: Annotated[
        bool, typer.Option("--equal-length", help="Rate as if all answers had the same length.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rank models with intervals: Bradley-Terry, by a bootstrap over prompts."""
    from micronas.judge.jobs import ratings
    from micronas.judge.leaderboard import Statistics

    rows, text, left_out = ratings(
        store,
        Statistics(rounds, level, prior, seed),
        judge=judge,
        strong_weight=strong_weight,
        by_category=by_category,
        categories=categories,
        equal_length=equal_length,
    )
    if left_out:
        print(left_out, file=sys.stderr)
    show(rows, as_json, lambda: text)


@judge_app.command()
def quality(
    store: _StorePath,
    reference: Annotated[
        Path | None, typer.Option(help="Ranking by people: CSV of model, score, lower, upper.")
    ] = None,
    top: Annotated[
        list[int] | None,
        typer.Option(min=2, help="Measure on the best N models, too; may be repeated."),
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Count agreement as 1, 0, -1 instead of 1, 0.5, 0.")
    ] = False,
    judge: _JudgeName = None,
    strong_weight: _StrongWeight = 3.0,
    rounds: _Rounds = 1000,
    level: _Level = 0.95,
    prior: _Prior = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure the set: how well it separates models, and ranks them as people do."""
    from dataclasses import asdict

    from micronas.judge.leaderboard import Statistics, leaderboard, read_reference
    from micronas.judge.quality import quality as measure
    from micronas.judge.store import battles_of
    from micronas.settings import nearest
    from micronas.text import pairs

    battles = battles_of(store, judge=judge, strong_weight=strong_weight)
    estimates = leaderboard(battles, Statistics(rounds, level, prior, seed)).estimates()
    people = None if reference is None else read_reference(reference, estimates.models)
    for name in () if people is None else people.models:
        if name not in estimates.models:
            hint = nearest(name, estimates.models)
            said = f"left out: {reference} ranks {name!r}, which has no battle; {hint}"
            print(said, file=sys.stderr)
    by = partial(measure, convention="signed" if signed else "half", level=level)
    found = [by(estimates, people, top=count) for count in (None, *(top or ()))]
    text = "\n".join(f"{pairs(each.shown())}\n" for each in found)
    show([asdict(each) for each in found], as_json, lambda: text)


@judge_app.command()
def report(
    store: _StorePath,
    out: Annotated[Path, typer.Option("--out", help="HTML file to write.")],
    title: Annotated[str, typer.Option(help="Title of the page.")] = "Judge report",
    texts: Annotated[
        int | None,
        typer.Option(min=0, help="Number of prompts whose texts the file holds; all by default."),
    ] = None,
    judge: _JudgeName = None,
    strong_weight: _StrongWeight = 3.0,
    rounds: _Rounds = 1000,
    level: _Level = 0.95,
    prior: _Prior = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write all figures and answers as one HTML file; it loads nothing."""
    from micronas.judge.leaderboard import Statistics
    from micronas.judge.report import write_report

    write_report(
        store,
        out,
        title=title,
        statistics=Statistics(rounds, level, prior, seed),
        judge=judge,
        strong_weight=strong_weight,
        texts=texts,
    )
    size = out.stat().st_size
    show({"file": str(out), "bytes": size}, as_json, lambda: f"{out}: {size / 1e6:.1f} MB")


@judge_app.command("import")
def import_(
    kind: Annotated[_Format, typer.Argument(help="Tool that wrote the files.")],
    sources: Annotated[list[Path], typer.Argument(help="Files, or folders of them.")],
    out: _StoreOut,
    baseline: Annotated[
        str | None, typer.Option(help="Baseline of arena-hard v0.1, whose rows do not name it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import another tool's verdicts; a store of them is rated and reported like a run's."""
    from micronas.judge.jobs import import_verdicts

    count = import_verdicts(kind.value, sources, out, baseline=baseline)
    said = (
        f"{out}: {count['verdicts']} verdicts, {count['invalid']} of them invalid, from files: "
        f"{count['files']}; set aside, a model against itself: {count['itself']}; replaced by "
        f"later ones on the same answers: {count['replaced']}; deleted, as a file has another "
        f"text of their prompt or answer: {count['deleted']}"
    )
    show({"file": str(out), **count}, as_json, lambda: said)


@judge_app.command()
def drop(
    store: _StorePath,
    reason: Annotated[str | None, typer.Option(help="Reason, kept with the verdicts.")] = None,
    model: Annotated[str | None, typer.Option(help="Verdicts on this model.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Verdicts against this model.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Verdicts on the prompt of this id.")] = None,
    judge: _JudgeName = None,
    undo: Annotated[bool, typer.Option("--undo", help="Restore dropped verdicts instead.")] = False,
    as_json: Json = False,
) -> None:
    """Set verdicts aside with a reason; they stay so until the judge or a text changes."""
    from micronas.errors import ConfigError
    from micronas.judge.jobs import drop as set_aside

    if undo == (reason is not None):
        raise ConfigError("give either --reason, to drop verdicts, or --undo, to take them back")
    count = set_aside(store, reason, model=model, baseline=baseline, prompt_id=prompt, judge=judge)
    said = f"{store}: verdicts {'taken back' if undo else 'set aside'}: {count}"
    show({"file": str(store), "verdicts": count}, as_json, lambda: said)


@judge_app.command()
def accuracy(
    store: _StorePath,
    judge: Annotated[str, typer.Option("--judge", help="Judge to check.")],
    humans: Annotated[
        list[str], typer.Option("--human", help="Judge taken as right; may be repeated.")
    ],
    as_json: Json = False,
) -> None:
    """Compare a judge with people's labels: their majority, by several rules for labels."""
    from micronas.judge import checks
    from micronas.judge.jobs import accuracy_table
    from micronas.judge.store import verdicts_of

    rows = verdicts_of(store)
    found = {each: checks.accuracy(rows, judge, humans, policy=each) for each in checks.POLICIES}
    first, *others = ({"policy": name, **vars(each)} for name, each in found.items())
    show({**first, "others": others}, as_json, lambda: accuracy_table(found))


@judge_app.command()
def repeat(
    store: _StorePath,
    other: Annotated[
        Path | None,
        typer.Argument(help="Another run on the same answers, repeated or with another rubric."),
    ] = None,
    judge: _JudgeName = None,
    as_json: Json = False,
) -> None:
    """Measure how often a judge repeats itself: with places swapped, and in another run."""
    from micronas.judge.jobs import repeated
    from micronas.text import pairs

    found = {name: vars(each) for name, each in repeated(store, other, judge).items()}
    show(found, as_json, lambda: "\n".join(f"{name}\n{pairs(found[name])}\n" for name in found))


def _in_dollars(values: Mapping[str, Any]) -> dict[str, Any]:
    from micronas.quantities import format_dollars

    return {k: format_dollars(v) if k.startswith("usd") else v for k, v in values.items()}


def _build(
    recipe: Path, out: Path, overrides: list[str] | None, *, quiet: bool, **more: Any
) -> "Build":
    from tqdm import tqdm

    from micronas.judge.build import Build
    from micronas.judge.recipe import read_recipe

    if not quiet:
        more["say"] = partial(tqdm.write, file=sys.stderr)  # above a bar
    return Build(read_recipe(recipe, overrides or []), out, **more)
