"""The SQLite file of a sweep: its points, every attempt, and outcomes. Imports no torch.

Only the process that leads the sweep writes. A point's row changes together with its attempt, in
one transaction, and only a point in state ``running`` can end: so no result is recorded twice or
lost.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from micronas.errors import ConfigError, DataError, DiskError
from micronas.files import full_disk
from micronas.sweeps.points import Point

_State = Literal["waiting", "running", "done", "infeasible", "failed"]

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS points (
        name TEXT PRIMARY KEY, over TEXT NOT NULL, settings TEXT NOT NULL,
        state TEXT NOT NULL
            CHECK (state IN ('waiting', 'running', 'done', 'infeasible', 'failed')),
        reason TEXT NOT NULL, metrics TEXT
    )""",
    """CREATE TABLE IF NOT EXISTS attempts (
        id INTEGER PRIMARY KEY, point TEXT NOT NULL REFERENCES points (name),
        started REAL NOT NULL, ended REAL, outcome TEXT NOT NULL, reason TEXT NOT NULL
    )""",
)


_LEADER, _PATIENCE = ".leader", 0.5
"""File that the leader locks, and seconds to wait for those who look whether it is locked."""


@dataclass(frozen=True)
class SweepPoint:
    """State of a point."""

    name: str
    over: dict[str, Any]
    """Values of the varied keys."""
    state: _State
    reason: str
    """Reason in one line why it is infeasible or its last attempt failed; empty otherwise."""
    attempts: int
    metrics: dict[str, Any] | None
    """Contents of `metrics.json`; None unless done."""
    folder: Path
    """Run folder."""
    seconds: float | None
    """Seconds of all finished attempts, by the clock; None without any."""


class Store:
    """The file of a sweep, for the process that leads it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def claim(self, planned: Sequence[Point]) -> None:
        """Record the points, or resume them: interrupted and failed ones wait again.

        Raises ConfigError if the file holds other points.
        """
        wanted = {point.name: point.stored for point in planned}
        known = dict(self._sql.execute("SELECT name, settings FROM points"))
        if known and known != wanted:
            differing = [
                name for name in {**wanted, **known} if wanted.get(name) != known.get(name)
            ]
            raise ConfigError(
                "a sweep's folder must belong to one sweep, but holds one of other settings, or of "
                f"a space, board or function that has changed since: {len(differing)} points "
                f"differ, among them {differing[0]!r}; choose another --out, or repeat the command "
                "as it was"
            )
        with self._sql:
            self._sql.executemany(
                "INSERT OR IGNORE INTO points VALUES (?, ?, ?, 'waiting', '', NULL)",
                [(point.name, json.dumps(point.over), point.stored) for point in planned],
            )
            self._sql.execute("UPDATE points SET state = 'waiting' WHERE state = 'failed'")
        self.release()

    def release(self) -> None:
        """Let interrupted points wait again."""
        with self._sql:
            self._sql.execute(
                "UPDATE attempts SET outcome = 'stopped', ended = ? WHERE ended IS NULL",
                (time.time(),),
            )
            self._sql.execute("UPDATE points SET state = 'waiting' WHERE state = 'running'")

    def waiting(self) -> set[str]:
        """Return the names of the points to run."""
        return {
            name for (name,) in self._sql.execute("SELECT name FROM points WHERE state = 'waiting'")
        }

    def refuse(self, name: str, reason: str) -> None:
        """Record a waiting point as infeasible."""
        with self._sql:
            self._sql.execute(
                "UPDATE points SET state = 'infeasible', reason = ? "
                "WHERE name = ? AND state = 'waiting'",
                (reason, name),
            )

    def start(self, name: str) -> None:
        """Record that an attempt at a waiting point begins."""
        with self._sql:
            self._sql.execute("UPDATE points SET state = 'running' WHERE name = ?", (name,))
            self._sql.execute(
                "INSERT INTO attempts VALUES (NULL, ?, ?, NULL, 'running', '')", (name, time.time())
            )

    def end(
        self, name: str, outcome: str, *, state: _State, reason: str, metrics: str | None
    ) -> None:
        """Record the outcome of the attempt at a running point, and the point's state."""
        with self._sql:
            changed = self._sql.execute(
                "UPDATE points SET state = ?, reason = ?, metrics = ? "
                "WHERE name = ? AND state = 'running'",
                (state, reason, metrics, name),
            ).rowcount
            if changed != 1:
                raise DataError(
                    f"a point must be running to end, but {name!r} is not; was the sweep's file "
                    "changed by hand?"
                )
            self._sql.execute(
                "UPDATE attempts SET ended = ?, outcome = ?, reason = ? "
                "WHERE point = ? AND ended IS NULL",
                (time.time(), outcome, reason, name),
            )


@contextmanager
def leading(folder: Path, planned: Sequence[Point]) -> Iterator[Store]:
    """Open a sweep's file as the one process that leads it.

    Raises
    ------
    ConfigError
        If the folder cannot be written, holds other settings, or another process leads.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"a sweep's folder must be writable: {error}; choose another --out"
        ) from error
    try:
        # an open transaction on a separate file: a lock that ends with the process everywhere
        with (
            closing(sqlite3.connect(folder / _LEADER, timeout=_PATIENCE)) as lock,
            closing(sqlite3.connect(_file(folder))) as connection,
        ):
            lock.execute("BEGIN EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = WAL")
            # one transaction with the points: a reader sees a planned sweep, or none
            connection.execute("BEGIN")
            for statement in _SCHEMA:
                connection.execute(statement)
            store = Store(connection)
            store.claim(planned)
            try:
                yield store
            finally:
                store.release()
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise ConfigError(
                f"a sweep must be led by one process, but another is at work in {folder}; wait "
                "for it, or choose another --out"
            ) from error
        if "full" in str(error):
            raise DiskError(full_disk(f"{error}: {_file(folder)}")) from error
        raise _damaged(folder, error) from error


def points_of(folder: Path) -> list[SweepPoint]:
    """Return the points of a sweep, running or not, in planned order.

    Points that a killed leader left running wait.

    Raises DataError if the folder holds no sweep.
    """
    path = _file(folder)
    absent = DataError(f"a sweep's folder must hold sweep.sqlite, but {folder} does not; start it")
    if not path.is_file():
        raise absent
    try:
        with closing(sqlite3.connect(path)) as sql:
            rows = sql.execute(
                "SELECT name, over, state, reason, metrics, "
                "(SELECT count(*) FROM attempts WHERE point = name), "
                "(SELECT sum(ended - started) FROM attempts WHERE point = name) "
                "FROM points ORDER BY rowid"
            ).fetchall()
    except sqlite3.DatabaseError as error:
        if "no such table" in str(error):  # the leader was killed before planning
            raise absent from error
        raise _damaged(folder, error) from error
    is_led = _is_led(folder)
    return [
        SweepPoint(
            name=name,
            over=json.loads(over),
            state="waiting" if state == "running" and not is_led else state,
            reason=reason,
            attempts=attempts,
            metrics=metrics and json.loads(metrics),
            folder=folder / "points" / name,
            seconds=seconds,
        )
        for name, over, state, reason, metrics, attempts, seconds in rows
    ]


def _is_led(folder: Path) -> bool:
    uri = f"{(folder / _LEADER).absolute().as_uri()}?mode=ro"  # who looks writes no file
    try:
        with closing(sqlite3.connect(uri, uri=True, timeout=0)) as lock:
            lock.execute("SELECT name FROM sqlite_master")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    return False


def _damaged(folder: Path, error: sqlite3.DatabaseError) -> DataError:
    return DataError(
        f"a sweep's file must be sound and writable, but {_file(folder)} is not: {error}; "
        "delete it if it is damaged: the same command goes on from the runs in points"
    )


def _file(folder: Path) -> Path:
    return folder / "sweep.sqlite"
