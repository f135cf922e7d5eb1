"""Commands on boards, spaces and costs of networks: boards, spaces and profile."""

from pathlib import Path
from typing import Annotated

import typer

from micronas.cli.complete import board_names, networks, space_names
from micronas.cli.shared import Csv, Json, Wide, show, window


def boards(
    network: Annotated[
        Path | None,
        typer.Argument(
            help="A .tflite, an architecture or a run folder, to check its fit on each board; or a "
            "board's name or YAML, to show its details.",
            autocompletion=networks,
        ),
    ] = None,
    wide: Wide = False,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """List the boards: memory, clock, and the accuracy of their latency models."""
    from micronas.hardware.board import Board, available, is_board
    from micronas.hardware.table import board_notes, boards_table, known_boards_table

    seen = window(wide)
    if network is not None and is_board(network):
        view = Board.load(network).view()

        def text() -> str:
            return f"{known_boards_table([view], width=seen)}\n\n{board_notes(view, width=seen)}"

        show(view, as_json, text, as_csv=as_csv, rows=[view])
        return
    if network is None:
        views = [Board.load(name).view() for name in available()]
        show(views, as_json, lambda: known_boards_table(views, width=seen), as_csv=as_csv)
        return
    from micronas.runs.costs import describe_boards

    found = describe_boards(network)
    show(found, as_json, lambda: boards_table(found, width=seen), as_csv=as_csv)


def spaces(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name or YAML of a space, to show its decisions.", autocompletion=space_names
        ),
    ] = None,
    wide: Wide = False,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """List the shipped search spaces, or draw one as a tree of decisions."""
    seen = window(wide)
    if name is not None:
        from micronas.space.open_space import load_space
        from micronas.space.tree import describe_tree, tree_rows, tree_text

        tree = describe_tree(load_space(name))
        rows = tree_rows(tree)
        show(tree, as_json, lambda: tree_text(tree, width=seen), as_csv=as_csv, rows=rows)
        return
    from micronas.space.shipped import describe_spaces, spaces_table

    described = describe_spaces()
    show(described, as_json, lambda: spaces_table(described, width=seen), as_csv=as_csv)


def profile(
    network: Annotated[
        Path,
        typer.Argument(help="A .tflite, an architecture or a run folder.", autocompletion=networks),
    ],
    board: Annotated[
        list[str] | None,
        typer.Option(
            "--board",
            help="Board of `micronas boards`; may be repeated, or all. By default the run's own.",
            autocompletion=board_names,
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Latency model: ops, terms or instructions.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Engine of the network: tflm, or micronas (generated C).")
    ] = None,
    hop: Annotated[
        str | None,
        typer.Option(help="Time between inferences of a listening device, such as 100ms."),
    ] = None,
    wide: Wide = False,
    as_csv: Csv = False,
    as_json: Json = False,
) -> None:
    """Count costs on a board, in total and by layer: MACs, flash, arena, latency, energy."""
    from micronas.hardware.table import profile_table
    from micronas.runs.costs import describe_costs

    described = describe_costs(network, board or (), form=form, engine=engine, hop=hop)
    show(
        described,
        as_json,
        lambda: profile_table(described, width=window(wide)),
        as_csv=as_csv,
        rows=described.get("boards", described["layers"]),
    )
