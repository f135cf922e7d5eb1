"""Run a sweep: hand points to workers, try failed ones again, record attempts. Imports no torch."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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
"""Seconds between two looks at who may start."""


class _Workers(Protocol):
    """Where points are run."""

    def start(self, job: Job) -> None:
        """Start a worker on a job."""

    def finished(self, seconds: float) -> list[tuple[str, PointResult]]:
        """Names and outcomes of workers that ended; waits this long for a first one."""

    def close(self) -> None:
        """End the workers that still run."""


def sweep(
    config: str | Path,
    over: Over,
    *,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    workers: int | None = None,
    cpus: int = 1,
    ray: str | None = None,
    retries: int = 1,
    track: Sequence[str] = (),
    space: Callable[[], "Searchable"] | None = None,
    data: Callable[[], "DataSet"] | None = None,
    tell: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> list[SweepPoint]:
    """Search at every combination of budgets, boards, seeds or any other settings.

    Each point is an ordinary run folder under ``out/points``, to the same bytes as
    `micronas search` writes alone. Points that differ in board,
    budget or final training alone share the supernet's warm-up. The same call goes on with a sweep
    that was stopped, and tries failed points again.

    Parameters
    ----------
    config
        A run's YAML or a search space; see `micronas.runs.settings.load_run`.
    over
        Values of each setting that is varied: ``{"budget.latency": ["20 ms", "50 ms"]}``.
    overrides
        ``key=value`` settings of all points.
    out
        The sweep's folder; ``runs/NAME_sweep`` by default. ``sweep.sqlite`` in it keeps points,
        attempts and metrics.
    workers
        Points at once; by default as many as the machine has processors for `cpus` each.
    cpus
        Of each point: so many of its trial trainings run at once. No result depends on it.
    ray
        Address of Ray (``local``, ``auto`` or ``HOST:PORT``); processes of this machine if None.
    retries
        How often a failed point is tried again. A budget that no network can meet is no failure.
    track
        Trackers of each point; see `micronas.runs.tracking`.
    space
        Returns what is searched in place of the configuration's space, such as a module that
        `micronas.convert` made a space of: ``def space(): return micronas.convert(module, x)``.
        The process of every point calls it, so that it must be at the top of a file, and return
        the same each time. Torch's random numbers start from one seed.
    data
        Likewise the data set, in place of that at ``data.path``.
    tell
        Told a line about every attempt that ended.
    progress
        Told after every point that ended.

    Returns
    -------
    list of SweepPoint
        All points in the order of `over`, the last key varying fastest.

    Raises
    ------
    ConfigError
        Before anything is run, if settings are not valid, the folder holds another sweep, or
        `space` or `data` cannot be called in another process.
    """
    for name, value, least in (
        ("workers", workers, 1),
        ("cpus", cpus, 1),
        ("retries", retries, 0),
    ):
        if value is not None and value < least:
            raise ConfigError(f"{name} must be {least} or more, but got {value}; leave it out")
    check_names(track)
    made: dict[str, Made] = {}
    searched: Searchable | None = None
    if space is not None:
        made["space"], searched = made_by("space", space)
    if data is not None:
        made["data"], _ = made_by("data", data)
    planned = plan(config, over, overrides, made=made)
    folder = out or default_folder(config)
    count = min(workers or max((os.cpu_count() or 1) // cpus, 1), len(planned))
    with leading(folder, planned) as store:
        _refuse(store, planned, searched)
        waiting = store.waiting()
        if waiting:
            pool: _Workers = Processes() if ray is None else Cluster(ray, workers=count, cpus=cpus)
            with closing(pool):
                _Leader(folder.resolve(), store, pool, planned, cpus, retries, track).run(
                    count, tell or (lambda line: None), progress or nobody
                )
        return points_of(folder)


def default_folder(config: str | Path) -> Path:
    """Return the folder of a sweep that is not given one."""
    return Path("runs") / f"{Path(config).stem}_sweep"


def _refuse(store: Store, planned: Sequence[Point], space: "Searchable | None") -> None:
    """Record what no network can meet, before any worker starts."""
    for point in planned:
        try:
            # what data of a function means is not known before it is made
            point.settings.check_feasible(space, known={} if "data" in point.made else None)
        except BudgetError as error:
            store.refuse(point.name, str(error))


class _Leader:
    """Hands points to workers until none waits."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        pool: _Workers,
        planned: Sequence[Point],
        cpus: int,
        retries: int,
        track: Sequence[str],
    ) -> None:
        self._track = list(track)
        self._folder = folder
        self._store = store
        self._pool = pool
        self._cpus = cpus
        waiting = store.waiting()
        self._planned = len(planned)
        self._waiting = [point for point in planned if point.name in waiting]
        self._running: dict[str, Point] = {}
        self._left = {point.name: retries for point in self._waiting}

    def run(self, count: int, tell: Callable[[str], None], progress: Progress) -> None:
        while self._waiting or self._running:
            while len(self._running) < count and (point := self._ready()):
                self._start(point)
            done = self._planned - len(self._waiting) - len(self._running)
            progress("sweep", done, self._planned, {})
            for name, outcome in self._pool.finished(_WAIT):
                tell(self._end(self._running.pop(name), outcome))
        progress("sweep", self._planned, self._planned, {})

    def _ready(self) -> Point | None:
        """The first point that need not wait for what another one will share."""
        training = {point.shared for point in self._running.values()}
        for point in self._waiting:
            file = self._shared(point)
            if file is None or file.exists() or point.shared not in training:
                return point
        return None

    def _shared(self, point: Point) -> Path | None:
        return None if point.shared is None else self._folder / "shared" / f"{point.shared}.pt"

    def _run_folder(self, point: Point) -> Path:
        return self._folder / "points" / point.name

    def _start(self, point: Point) -> None:
        self._waiting.remove(point)
        self._running[point.name] = point
        self._store.start(point.name)
        shared = self._shared(point)
        self._pool.start(
            Job(
                name=point.name,
                settings=point.settings.model_dump(mode="json"),
                folder=str(self._run_folder(point)),
                shared=None if shared is None else str(shared),
                cpus=self._cpus,
                track=self._track,
                directory=os.getcwd(),
                made=dict(point.made),
                modules=[str(Path(each).resolve()) for each in sys.path] if point.made else [],
            )
        )

    def _end(self, point: Point, outcome: PointResult) -> str:
        """Write an attempt's outcome down; a point that failed waits again, if it may."""
        found = self._run_folder(point) / METRICS
        if outcome.state == "done" and not found.exists():
            reason = f"no {found} to be seen from here; all machines must share the sweep's folder"
            outcome = PointResult("failed", reason)
        again = outcome.state == "failed" and self._left[point.name] > 0
        self._store.end(
            point.name,
            outcome.state,
            state="waiting" if again else outcome.state,
            reason=outcome.reason,
            metrics=found.read_text() if outcome.state == "done" else None,
        )
        if again:
            self._left[point.name] -= 1
            self._waiting.insert(0, point)
        told = f"{outcome.state}: {outcome.reason}" if outcome.reason else outcome.state
        return f"{point.name}: {told}{'; tried again' if again else ''}"
