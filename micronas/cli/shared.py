"""What several commands need."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from micronas.cli.complete import settings
from micronas.errors import ModelError

if TYPE_CHECKING:
    from micronas.graph.ir import Graph
    from micronas.graph.kernels.codes import Values

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress bars.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings, e.g. budget.latency=100ms",
        autocompletion=settings,
    ),
]


def random_inputs(graph: "Graph", count: int, seed: int) -> "Values":
    import numpy as np

    if not graph.inputs:
        raise ModelError("a model must have an input to be run, but has none; convert it again")
    shape = (count, *graph.tensors[graph.inputs[0]].shape[1:])
    return np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2))
