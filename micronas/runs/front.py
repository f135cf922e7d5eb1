"""The front door: from data, a space, a board and a budget to a verified int8 file, in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from micronas.data import DataSet
from micronas.errors import ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, Costs
from micronas.nas.search import SearchResult
from micronas.nas.settings import StrategySettings
from micronas.nas.table import Picture
from micronas.progress import Bars
from micronas.runs.run import run_search
from micronas.runs.settings import settings_of
from micronas.runs.table import search_summary
from micronas.runs.tracking import tracked
from micronas.runs.trained import trained_network
from micronas.runs.training import Metrics
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.searchable import Searchable
from micronas.space.space import Space
from micronas.tasks.arrays.loaders import as_data_set
from micronas.text import html_table, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    """Folder of all files; see docs/reference/metrics.md and the tutorial."""
    search: SearchResult
    """Result of the search, with all networks tried, the best first."""
    model: bytes
    """Contents of the int8 .tflite file, checked on TFLM."""
    metrics: Metrics
    """Contents of metrics.json."""

    @property
    def costs(self) -> Costs:
        """Exact costs of the network on the board."""
        return self.search.winner.costs

    @property
    def network(self) -> nn.Module | None:
        """Trained float network: a user's own module, narrowed, where the space was made of one."""
        return trained_network(self.folder, self.search.winner.architecture)

    def table(self) -> str:
        """Return trials, measures, and each cost beside its limit."""
        return search_summary(self.search, self.metrics)

    def plot(self, kind: Picture = "front", *, axes: "Axes | None" = None) -> "Axes":
        """Draw the trials; see `SearchResult.plot`."""
        return self.search.plot(kind, axes=axes)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        scores = self.metrics["scores"]
        rows = [
            ("network", str(self.metrics["network"])),
            *((f"int8 {each['name']}", quantity(each["int8"], each["unit"])) for each in scores),
            ("file", f"{len(self.model):,} bytes"),
            ("arena", f"{self.costs.arena_bytes:,} bytes"),
            ("latency", f"{self.costs.latency_ms:.1f} ms on {self.metrics['board']}"),
            ("fits", str(self.metrics["fits"]).lower()),
            ("TFLM mismatches", str(self.metrics["tflm_mismatches"])),
        ]
        return html_table(("", ""), rows, title=str(self.folder))


def run(
    data: Any,
    space: str | Path | Searchable | OpenSpace,
    *,
    board: str | Path | Board,
    folder: str | Path | None = None,
    quiet: bool = False,
    workers: int | None = None,
    track: Sequence[str] = (),
    **settings: Any,
) -> Run:
    """Search, train with quantisation, export and verify.

    Raises BudgetError before data is read, if no network of the space can fit; ConfigError if a
    name or a setting is wrong, or the folder holds a run of other settings; DataError if the data
    is not usable.

    Parameters
    ----------
    data
        Path in the layout of the space's task; a mapping of ``data`` settings; a `DataSet`; or
        torch Datasets or DataLoaders, see `micronas.tasks.arrays.loaders.as_data_set`.
    space
        Name of a shipped space, path of a YAML file, or a space. Its number of classes and its
        input are adapted to those of the data.
    board
        Name of a shipped board, path of a YAML file, or a shipped board.
    folder
        Run folder; by default ``runs/NAME``, by the name of the space. The same call resumes a
        killed run, and returns a finished one at once.
    workers
        Number of trial trainings at once; no written file depends on it.
    track
        Trackers to log to, ``mlflow`` or ``wandb``, beside TensorBoard's files in the folder.
    **settings
        Other keys of a run, as in its YAML: ``budget={"sram": "24 KB"}``, ``seed=1``,
        ``search={"draws": 8}``, ``train={"epochs": 20}``.
    """
    values = {**settings, "board": _named(board)}
    is_read = not isinstance(data, str | Path | Mapping)
    if is_read:
        values["data"] = {"task": "arrays"}
    else:
        values["data"] = dict(data) if isinstance(data, Mapping) else {"path": str(data)}
    for key in ("budget", "search"):
        if isinstance(values.get(key), Budget | StrategySettings):
            values[key] = values[key].model_dump(mode="json")
    given = load_space(space) if isinstance(space, str | Path) else space
    named = given if isinstance(given, Space | OpenSpace) else None
    values["space"] = str(space) if isinstance(space, str | Path) else given.title
    checked = settings_of(values, space=named)
    loaded = as_data_set(data, seed=checked.seed) if is_read else None
    if loaded is not None:
        given = _following(given, loaded)
    where = Path("runs") / Path(values["space"]).stem if folder is None else Path(folder)
    said = checked.model_dump(mode="json")
    with Bars(quiet=quiet) as bars, tracked(where, said, track, shown=bars) as progress:
        result, trained = run_search(
            checked,
            where,
            progress=progress,
            data=loaded,
            space=None if isinstance(space, str | Path) and loaded is None else given,
            workers=workers,
            tell=None if quiet else bars.tell,
        )
    return Run(where, result, trained.model, trained.metrics)


def _following(space: Searchable | OpenSpace, data: DataSet) -> Searchable | OpenSpace:
    """Return a space with the data's classes and, where its input does not suit the data, input."""
    if not isinstance(space, Space | OpenSpace):
        return space
    update: dict[str, Any] = {"classes": len(data.classes)}
    if space.input is not None:
        try:
            data.view.check(data.input, space.input)
        except ConfigError:
            update["input"] = data.input
    return space.model_copy(update=update)


def _named(board: str | Path | Board) -> str:
    if not isinstance(board, Board):
        return str(board)
    if Board.load(board.name) == board:
        return board.name
    raise ConfigError(
        f"a run must name its board, so that its folder repeats it, but {board.name!r} is not as "
        "shipped; board.save(PATH) and give the path"
    )
