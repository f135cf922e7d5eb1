"""Commands on compositions of experts: fit, map, evaluate, serve and others."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from micronas.cli.shared import Json, Overrides, Quiet, show

if TYPE_CHECKING:
    from micronas.router.policy import Router

router_app = typer.Typer(
    no_args_is_help=True,
    help="Send each prompt to one of several experts, by its category, within a budget of "
    "parameters.",
)

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="YAML file of a router.")]
_Folder = Annotated[Path, typer.Argument(metavar="ROUTER", help="Folder of a fitted router.")]
_Out = Annotated[Path, typer.Option("--out", help="Folder of the fitted router.")]


@router_app.command()
def fit(
    config: Config,
    out: _Out,
    overrides: Overrides = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit categories and a mapping on scored prompts; choices are made on held-out ones."""
    from micronas.progress import Bars
    from micronas.router.jobs import fit_file

    with Bars(quiet=quiet or as_json) as bars:
        router = fit_file(config, overrides or [], progress=bars)
    router.save(out)
    _show(router, as_json)


@router_app.command("map")
def map_budget(
    folder: _Folder,
    budget: Annotated[
        str | None, typer.Option(help="Active parameters on average, such as 12B.")
    ] = None,
    total: Annotated[
        str | None, typer.Option(help="Parameters of all experts in use, such as 100B.")
    ] = None,
    dry: Annotated[bool, typer.Option("--dry", help="Print the mapping, change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Map categories to experts within another budget; without options, without limits."""
    from micronas.router.jobs import budget_of
    from micronas.router.policy import Router

    router = Router.load(folder).map(budget_of(budget, total))
    if not dry:
        router.save(folder)
    _show(router, as_json)


@router_app.command("eval")
def evaluate(
    config: Config,
    sweep: Annotated[str, typer.Option(help="Budgets of active parameters, such as 8B,12B,31B.")],
    test: Annotated[
        Path | None, typer.Option(help="Table of scores to test on, in place of random splits.")
    ] = None,
    splits: Annotated[
        int, typer.Option(min=1, help="Number of random splits, with 60 % to fit.")
    ] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the splits.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="JSON file to write the rows to.")
    ] = None,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Compare the router with other rules: single experts, mixes, score predictors, the oracle."""
    import json

    from micronas.files import write_atomically
    from micronas.router.jobs import evaluate_file, evaluation_table

    rows = evaluate_file(
        config,
        overrides or [],
        sweep=sweep.split(","),
        test=test,
        splits=splits,
        seed=seed,
        say=lambda line: typer.echo(line, err=True),
    )
    if out is not None:
        write_atomically(out, f"{json.dumps(rows, indent=2)}\n".encode())
    show(rows, as_json, lambda: evaluation_table(rows))


@router_app.command()
def explain(
    prompt: Annotated[str, typer.Argument(help="A prompt.")],
    folder: Annotated[Path, typer.Option("--router", help="Folder of a fitted router.")],
    as_json: Json = False,
) -> None:
    """Show the expert of a prompt, and the reason."""
    from micronas.router.policy import Router
    from micronas.text import pairs

    decision = vars(Router.load(folder).route([prompt])[0])
    show(decision, as_json, lambda: pairs(decision))


@router_app.command()
def serve(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="YAML file of a serve configuration.")
    ],
    overrides: Overrides = None,
) -> None:
    """Serve the experts behind one OpenAI-compatible address; Ctrl-C ends it, SIGHUP reloads."""
    from micronas.router.serve.server import serve as run
    from micronas.router.serve.settings import read_settings

    read = partial(read_settings, config, overrides or [])
    run(read(), read=read)


def _show(router: "Router", as_json: bool) -> None:
    from micronas.router.jobs import router_table

    show(router.summary(), as_json, lambda: router_table(router))
