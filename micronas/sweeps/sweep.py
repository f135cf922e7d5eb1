"""Run a sweep: hand points to workers, try failed ones again, record attempts. Imports no torch."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

from micronas.errors import BudgetError, ConfigError
from micronas.progress import Progress, nobody
from micronas.runs.folder import METRICS
from micronas.runs.tracking import check_names
from micronas.sweeps.cluster import Cluster
from micronas.sweeps.local import Processes
from micronas.sweeps.made import Made, made_by
from micronas.sweeps.points import Over, Point, plan
from micronas.sweeps.store import Store, SweepPoint, leading, points_of
from micronas.sweeps.worker import Job, PointResult

if TYPE_CHECKING:
    from micronas.data import DataSet
    from micronas.space.searchable import Searchable

_WAIT = 1.0
"""Longest wait in seconds for a finished worker before points are checked again."""


def sweep(
    config: str | Path,
    over: Over,
    *,
    overrides: Sequence[str] = (),
    out: str | Path | None = None,
    workers: int | None = None,
    cpus: int = 1,
    ray: str | None = None,
    retries: int = 1,
    track: Sequence[str] = (),
    space: Callable[[], "Searchable"] | None = None,
    data: Callable[[], "DataSet"] | None = None,
    tell: Callable[[str], None] | None = None,
    progress: Progress = nobody,
) -> list[SweepPoint]:
    """Search at every combination of budgets, boards, seeds or any other settings.

    Each point is an ordinary run folder under ``out/points``, with the same bytes as from `micronas
    search` alone. Points that differ only in board, budget or final training share the supernet's
    warm-up. The same call resumes a stopped sweep, and tries failed points again.

    Parameters
    ----------
    config
        YAML file of a run, or a search space; see `micronas.runs.settings.load_run`.
    over
        Values of each varied setting: ``{"budget.latency": ["20 ms", "50 ms"]}``.
    overrides
        Settings of all points as ``key=value``.
    out
        Folder of the sweep; ``runs/NAME_sweep`` by default. Its ``sweep.sqlite`` holds points,
        attempts and metrics.
    workers
        Number of points at once; by default the number of processors divided by `cpus`.
    cpus
        Number of trial trainings at once in each point. No result depends on it.
    ray
        Address of Ray (``local``, ``auto`` or ``HOST:PORT``); None for processes of this machine.
    retries
        Number of times a failed point is tried again. A budget that no network can meet is no
        failure.
    track
        Trackers of each point; see `micronas.runs.tracking`.
    space
        Function that returns the space to search in place of the configuration's, such as a result
        of `micronas.convert`: ``def space(): return micronas.convert(module, x)``. The process of
        every point calls it, so it must be at the top of a file, and return the same each time.
        Torch's random numbers start from one seed.
    data
        Function that likewise returns the data set, in place of that at ``data.path``.

    Returns
    -------
    list of SweepPoint
        All points in the order of `over`, the last key varying fastest.

    Raises
    ------
    ConfigError
        Before any run, if settings are not valid, the folder holds another sweep, or `space` or
        `data` cannot be called in another process.
    """
    for name, value, least in (("workers", workers, 1), ("cpus", cpus, 1), ("retries", retries, 0)):
        if value is not None and not (isinstance(value, Integral) and value >= least):
            raise ConfigError(f"{name} must be {least} or more, but got {value!r}; leave it out")
    check_names(track)
    made: dict[str, Made] = {}
    searched: Searchable | None = None
    if space is not None:
        made["space"], searched = made_by("space", space)
    if data is not None:
        made["data"], _ = made_by("data", data)
    planned = plan(config, over, overrides, made=made)
    folder = Path(out or default_folder(config))
    count = min(workers or max((os.cpu_count() or 1) // cpus, 1), len(planned))
    with leading(folder, planned) as store:
        _refuse(store, planned, searched)
        waiting = store.waiting()
        if waiting:
            pool = Processes() if ray is None else Cluster(ray, workers=count, cpus=cpus)
            with closing(pool):
                _Leader(folder.resolve(), store, pool, planned, cpus, retries, track).run(
                    count, tell or (lambda line: None), progress
                )
        return points_of(folder)


def default_folder(config: str | Path) -> Path:
    """Return the default folder of a sweep."""
    return Path("runs") / f"{Path(config).stem}_sweep"


def _refuse(store: Store, planned: Sequence[Point], space: "Searchable | None") -> None:
    """Record infeasible points, before any worker starts."""
    for point in planned:
        try:
            # the meaning of a function's data is unknown before it is made
            known: dict[str, Any] | None = {} if "data" in point.made else None
            point.settings.problem(space, known=known).check_feasible()
        except BudgetError as error:
            store.refuse(point.name, str(error))


@dataclass
class _Leader:
    """Leader of a sweep, which hands points to workers until none waits."""

    folder: Path
    store: Store
    pool: Processes | Cluster
    planned: Sequence[Point]
    cpus: int
    retries: int
    track: Sequence[str]

    def __post_init__(self) -> None:
        waiting = self.store.waiting()
        self._waiting = [point for point in self.planned if point.name in waiting]
        self._running: dict[str, Point] = {}
        self._left = dict.fromkeys(waiting, self.retries)

    def run(self, count: int, tell: Callable[[str], None], progress: Progress) -> None:
        while self._waiting or self._running:
            while len(self._running) < count and (point := self._ready()):
                self._start(point)
            done = len(self.planned) - len(self._waiting) - len(self._running)
            progress("sweep", done, len(self.planned), {})
            for name, outcome in self.pool.finished(_WAIT):
                tell(self._end(self._running.pop(name), outcome))
        progress("sweep", len(self.planned), len(self.planned), {})

    def _ready(self) -> Point | None:
        """Return the first point that does not wait for a supernet that another one trains."""
        training = {point.shared for point in self._running.values()}
        for point in self._waiting:
            file = self._shared(point)
            if file is None or file.exists() or point.shared not in training:
                return point
        return None

    def _shared(self, point: Point) -> Path | None:
        return None if point.shared is None else self.folder / "shared" / f"{point.shared}.pt"

    def _run_folder(self, point: Point) -> Path:
        return self.folder / "points" / point.name

    def _start(self, point: Point) -> None:
        self._waiting.remove(point)
        self._running[point.name] = point
        self.store.start(point.name)
        shared = self._shared(point)
        self.pool.start(
            Job(
                name=point.name,
                settings=point.settings.model_dump(mode="json"),
                folder=str(self._run_folder(point)),
                shared=None if shared is None else str(shared),
                data=str(self.folder / f"data-{point.data}.pt"),
                cpus=self.cpus,
                track=[*self.track],
                directory=os.getcwd(),
                made=dict(point.made),
                modules=[str(Path(each).resolve()) for each in sys.path] if point.made else [],
            )
        )

    def _end(self, point: Point, outcome: PointResult) -> str:
        """Record an attempt's outcome; a failed point waits again while it has retries."""
        found = self._run_folder(point) / METRICS
        if outcome.state == "done" and not found.exists():
            reason = f"no {found} to be seen from here; all machines must share the sweep's folder"
            outcome = PointResult("failed", reason)
        again = outcome.state == "failed" and self._left[point.name] > 0
        self.store.end(
            point.name,
            outcome.state,
            state="waiting" if again else outcome.state,
            reason=outcome.reason,
            metrics=found.read_text() if outcome.state == "done" else None,
        )
        if again:
            self._left[point.name] -= 1
            self._waiting.insert(0, point)
        stated = f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state
        return f"{point.name}: {stated}{'; tried again' if again else ''}"
