"""A search's network beside plain alternatives: shared by the examples."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from pathlib import Path

from micronas.cli.ending import one_line_errors, stoppable
from micronas.data import DataSet
from micronas.graph.counts import count
from micronas.nas.search import SearchResult
from micronas.progress import Progress
from micronas.quantities import format_bytes, format_macs
from micronas.report.write import report_line
from micronas.runs.run import run_search, run_training
from micronas.runs.settings import RunSettings
from micronas.runs.table import search_summary
from micronas.runs.training import Trained
from micronas.space.open_space import OpenSpace
from micronas.space.space import Space
from micronas.text import percent, table

ACCURACY = {"float": "float_accuracy", "int8": "int8_accuracy"}


def start(main: Callable[[list[str], Path], None], *, about: str | None, out: Path) -> None:
    """Call `main` with the settings and the run folder of the command line.

    What is wrong with them, and Ctrl-C, end in one line.
    """
    parser = ArgumentParser(description=about, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="settings, e.g. budget.latency=100ms"
    )
    parser.add_argument("--out", type=Path, default=out, help="run folder; %(default)s")
    given = parser.parse_intermixed_args()
    with one_line_errors(), stoppable():
        main(given.settings, given.out)


def compare(
    settings: RunSettings,
    data: DataSet,
    folder: Path,
    bars: Progress,
    scores: Mapping[str, str] = ACCURACY,
) -> str:
    """Search, train the winner and the networks it has to beat, and return what to print.

    Parameters
    ----------
    folder
        The search's run folder; those of the others are in it, by name.
    scores
        Columns of the table, between 0 and 1: header and name in the metrics.
    """
    # Search, quantization-aware training, export, verification.
    result, found = run_search(settings, folder, data=data, progress=bars)

    # Is it any good? Rivals train for as many epochs as trials and training together.
    plain = rivals(settings, data, result, found)
    epochs = settings.train.epochs + result.epochs
    recipe = settings.train.model_copy(update={"epochs": epochs})
    alike = settings.for_training().model_copy(update={"train": recipe})
    trained = {"found": found} | {
        name: run_training(
            network,
            alike,
            folder / name,
            data=data,
            progress=bars,
        )
        for name, network in plain.items()
    }
    header = ["network", *scores, "MACs", "flash", "arena", "latency", "TFLM", "fits"]
    rows = [row(name, each.metrics, scores) for name, each in trained.items()]
    return "\n".join(
        [
            search_summary(result, found.metrics),
            "",
            table(header, [*rows, limits(settings, found.metrics, scores)]),
            f"epochs: found {settings.train.epochs}, after {epochs - settings.train.epochs} of "
            f"trials; the others {epochs}",
            "",
            f"tflm_mismatches {found.metrics['tflm_mismatches']}",
            f"fits {str(found.metrics['fits']).lower()}",
            f"the network: {folder / 'model.tflite'}",
            report_line(folder),
        ]
    )


def rivals(
    settings: RunSettings, data: DataSet, result: SearchResult, found: Trained
) -> dict[str, Space]:
    """Return networks to beat.

    Where the search chose the family too: the textbook network that did best in the trials, as wide
    as the budget allows, if any fits. In a space of one family: its largest network, and the one
    narrowed uniformly that comes closest to the winner's MACs.
    """
    space = settings.load_space()
    if isinstance(space, OpenSpace):
        textbook = [each for each in result.candidates if each.origin == "textbook"]
        return {each.origin: each.architecture for each in textbook[:1]}
    space = space.model_copy(update={"classes": len(data.classes)})
    uniform = min(
        (space.architecture(space.uniform(percentage / 100)) for percentage in range(101)),
        key=lambda network: abs(macs(network) - found.metrics["macs"]),
    )
    return {"largest": space.architecture(space.largest()), "uniform": uniform}


def macs(network: Space) -> int:
    return count(network.graph()).macs


def row(name: str, metrics: dict, scores: Mapping[str, str]) -> list[str]:
    return [
        name,
        *(percent(metrics[key]) for key in scores.values()),
        format_macs(metrics["macs"]),
        format_bytes(metrics["flash_bytes"]),
        format_bytes(metrics["host_arena_bytes"]),
        f"{metrics['latency_ms']:.0f} ms",
        str(metrics["tflm_mismatches"]),
        "yes" if metrics["fits"] else "no",
    ]


def limits(settings: RunSettings, metrics: dict, scores: Mapping[str, str]) -> list[str]:
    budget = metrics["budget"]
    return [
        f"budget, {settings.board}",
        *("" for _ in scores),
        format_macs(budget["macs"]) if "macs" in budget else "",
        format_bytes(budget["flash"]),
        format_bytes(budget["sram"]),
        f"{budget['latency']:.0f} ms" if "latency" in budget else "",
        "",
        "",
    ]
