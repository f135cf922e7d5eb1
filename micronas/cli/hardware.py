"""Commands about boards and what networks cost there: boards, spaces, profile and calibrate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from micronas.cli.complete import board_names, networks
from micronas.cli.shared import Json, print_json


def boards(
    network: Annotated[
        Path | None,
        typer.Argument(
            help="A .tflite, an architecture or a run folder: does it fit each board?",
            autocompletion=networks,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the boards: memory, clock, and how well their latency is known."""
    from micronas.hardware.board import Board, available
    from micronas.text import boards_table, known_boards_table

    known = [Board.load(name) for name in available()]
    if network is None:
        views = [board.view() for board in known]
        if as_json:
            print_json(views)
        else:
            typer.echo(known_boards_table(views))
        return
    from micronas.hardware.profile import on_boards
    from micronas.runs.folder import model_file
    from micronas.space.load import load

    loaded = load(model_file(network))
    found = on_boards(loaded.graph, known, flash_bytes=loaded.flash_bytes)
    if as_json:
        print_json(found)
    else:
        typer.echo(boards_table(found))


def spaces(as_json: Json = False) -> None:
    """List the shipped search spaces: what is chosen, and their smallest and largest networks."""
    from micronas.graph.counts import count
    from micronas.quantities import format_macs
    from micronas.resources import names
    from micronas.space.search_space import SearchSpace
    from micronas.text import table

    described: list[dict[str, Any]] = []
    for name in names("search_spaces"):
        space = SearchSpace.load(name)
        low, high = (
            count(space.architecture(choice).graph()).macs
            for choice in (space.smallest(), space.largest())
        )
        described.append(
            {
                "name": name,
                "input": list(space.input),
                "classes": space.classes,
                "decisions": len(space.decisions),
                "networks": float(space.count()),
                "smallest_macs": low,
                "largest_macs": high,
            }
        )
    if as_json:
        print_json(described)
        return
    rows = [
        [
            each["name"],
            "x".join(map(str, each["input"])),
            str(each["decisions"]),
            f"{each['networks']:.0e}",
            format_macs(each["smallest_macs"]),
            format_macs(each["largest_macs"]),
        ]
        for each in described
    ]
    typer.echo(table(["space", "input", "decisions", "networks", "smallest", "largest"], rows))


def profile(
    network: Annotated[
        Path,
        typer.Argument(help="A .tflite, an architecture, a run folder.", autocompletion=networks),
    ],
    board: Annotated[
        list[str] | None,
        typer.Option(
            "--board",
            help="A board of `micronas boards`; may be repeated, or all.",
            autocompletion=board_names,
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Latency model: ops, terms or instructions.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Count MACs, flash, arena, latency and energy on a board, in total and for each layer."""
    from micronas.hardware.board import Board, available
    from micronas.hardware.forms import check_form
    from micronas.hardware.profile import on_boards
    from micronas.hardware.profile import profile as measure
    from micronas.runs.folder import model_file
    from micronas.space.load import load
    from micronas.space.published import paper_figures, paper_ops
    from micronas.text import profile_table

    named = board or ["stm32f446re"]
    loaded_boards = [Board.load(name) for name in (available() if named == ["all"] else named)]
    boards = [each.using(check_form(form)) for each in loaded_boards]
    loaded = load(model_file(network))
    graph, size = loaded.graph, loaded.flash_bytes
    described = measure(graph, boards[0], flash_bytes=size) | {"metadata": loaded.metadata}
    paper = paper_figures(network, boards[0].name)
    if paper is not None:
        described["paper"] = paper | {"ops_by_its_rounding": paper_ops(graph)}
    if len(boards) > 1:
        described["boards"] = on_boards(graph, boards, flash_bytes=size)
    if as_json:
        print_json(described)
        return
    typer.echo(profile_table(described))
