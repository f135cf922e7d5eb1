"""The SQLite file of a judge run: prompts, answers, every request, and the verdicts.

``attempts`` has a row for each request, written before it is sent and updated with its outcome, so
that a killed process leaves a trace of each call in flight. ``verdicts`` has one row for each
prompt, model, order and judge; ``dropped`` holds those set aside, with the reason. Answers go to a
journal first (`judge.journal`).
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np

from micronas.errors import DataError
from micronas.files import hold
from micronas.judge.battles import Battles
from micronas.judge.endpoint import Reply
from micronas.judge.journal import Journal
from micronas.judge.rows import (
    NULL_PREFIX,
    Answer,
    Spending,
    StoredPrompt,
    VerdictRow,
    check_judges,
)
from micronas.language.answers import whole_characters

_VERDICT = """
    prompt_id TEXT NOT NULL, model TEXT NOT NULL, baseline TEXT NOT NULL, "order" TEXT NOT NULL,
    judge TEXT NOT NULL, verdict TEXT, outcome REAL, strength INTEGER NOT NULL, raw TEXT NOT NULL,
    prompt_hash TEXT NOT NULL, parameters TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, usd REAL NOT NULL, attempts INTEGER NOT NULL,
"""
_NAMES = [f'"{field.name}"' for field in fields(VerdictRow)]
_KEY = 'PRIMARY KEY (prompt_id, model, baseline, "order", judge)'
_IS_KEY = '(prompt_id, model, baseline, "order", judge) = (?1, ?2, ?3, ?4, ?5)'
_IN_ORDER = 'ORDER BY prompt_id, model, baseline, "order", judge'
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS prompts (
    prompt_id TEXT PRIMARY KEY, text TEXT NOT NULL, category TEXT NOT NULL, language TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS answers (
    prompt_id TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL, tokens INTEGER NOT NULL,
    PRIMARY KEY (prompt_id, model)
);
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    raw TEXT, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    usd REAL NOT NULL, time REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS attempts_key ON attempts (key);
CREATE TABLE IF NOT EXISTS verdicts ({_VERDICT}    {_KEY}
);
CREATE TABLE IF NOT EXISTS dropped ({_VERDICT}    reason TEXT NOT NULL, {_KEY}
);
"""

_STANDS = 600.0
"""Seconds for which a refusal is valid, so that a restarted run does not repeat the request."""
# a key is a purpose and 64 digits
_SPENDING = (
    "SELECT ifnull(sum(status = 'answered'), 0), ifnull(sum(status != 'answered'), 0), "
    "ifnull(sum(usd), 0.0), ifnull(max(usd), 0.0) FROM attempts "
    "WHERE ?1 IS NULL OR ?1 = substr(key, 1, max(0, length(key) - 64))"
)
_OBJECTS = (
    "SELECT lower(name), type || ' ' || tbl_name || ' ' || ifnull(sql, '') FROM sqlite_master"
)


class Store:
    """A store that one run writes to.

    Each change is a separate transaction, and an answer is in the journal before it is in the
    store: neither ``kill -9`` nor a full or locked store loses one. After a power cut the
    last few may be missing, as files are not flushed to the disk at every answer.

    Every method raises DataError if the file cannot be read or written.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, journal: Journal) -> None:
        self._sql, self._path, self._journal = connection, path, journal

    def put_prompts(self, prompts: Iterable[StoredPrompt]) -> int:
        """Add prompts, or replace those of the same id.

        Another text deletes the verdicts on it, whose number is returned.
        """
        rows = [_row(each) for each in prompts]
        with _translated(self._path), self._sql:
            # an import may not know the text
            deleted = self._delete(
                "prompt_id = ?1 AND EXISTS (SELECT 1 FROM prompts "
                "WHERE prompt_id = ?1 AND text != ?2 AND '' NOT IN (text, ?2))",
                [row[:2] for row in rows],
            )
            self._sql.executemany(
                "INSERT INTO prompts VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET text = ?2, "
                "category = ?3, language = ?4 WHERE (text, category, language) != (?2, ?3, ?4)",
                rows,
            )
        return deleted

    def put_answers(self, answers: Iterable[Answer]) -> int:
        """Add answers, or replace a model's answer to the same prompt.

        A different one deletes the verdicts on it, whose number is returned.
        """
        rows = [_row(each) for each in answers]
        with _translated(self._path), self._sql:
            deleted = self._delete(
                "prompt_id = ?1 AND ?2 IN (model, baseline) AND EXISTS (SELECT 1 FROM answers "
                "WHERE (prompt_id, model) = (?1, ?2) AND text != ?3)",
                [row[:3] for row in rows],
            )
            self._sql.executemany(
                "INSERT INTO answers VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET text = ?3, "
                "tokens = ?4 WHERE (text, tokens) != (?3, ?4)",
                rows,
            )
        return deleted

    def put_verdicts(self, rows: Iterable[VerdictRow]) -> None:
        """Add verdicts, or replace those of the same key; dropped ones stay dropped."""
        marks = [f"?{number}" for number, _ in enumerate(_NAMES, 1)]
        # do not rewrite equal rows: a run may be started often
        same = f"({', '.join(_NAMES[5:])}) IS ({', '.join(marks[5:])})"
        with _translated(self._path), self._sql:
            self._sql.executemany(
                f"INSERT OR REPLACE INTO verdicts SELECT {', '.join(marks)} WHERE NOT EXISTS "
                f"(SELECT 1 FROM dropped WHERE {_IS_KEY}) AND NOT EXISTS "
                f"(SELECT 1 FROM verdicts WHERE {_IS_KEY} AND {same})",
                map(_row, rows),
            )

    def drop_verdicts(self, judge: str, *, unless: str) -> None:
        """Delete a judge's verdicts under other parameters; its texts stay in ``attempts``."""
        with _translated(self._path), self._sql:
            self._delete("judge = ? AND parameters != ?", [(judge, unless)])

    def _delete(self, where: str, rows: Sequence[Sequence[str]]) -> int:
        """Delete verdicts, and dropped ones, by an SQL condition on each row; count the former."""
        query = f"DELETE FROM {{}} WHERE {where}"
        self._sql.executemany(query.format("dropped"), rows)
        return max(self._sql.executemany(query.format("verdicts"), rows).rowcount, 0)

    def drop(self, reason: str | None, where: str, values: Sequence[str] = ()) -> int:
        """Set verdicts aside with a reason, or restore them where it is None; return their number.

        `where` is an SQL condition.
        """
        source, target = ("dropped", "verdicts") if reason is None else ("verdicts", "dropped")
        # a terminal in another encoding than the locale's gives halves of characters
        given = () if reason is None else (whole_characters(reason),)
        values = [whole_characters(each) for each in values]
        with _translated(self._path), self._sql:
            self._sql.execute(
                f"INSERT OR REPLACE INTO {target} SELECT {', '.join([*_NAMES, *'?' * len(given)])} "
                f"FROM {source} WHERE {where}",
                (*given, *values),
            )
            return self._sql.execute(f"DELETE FROM {source} WHERE {where}", values).rowcount

    def reply(self, key: str) -> Reply | None:
        """Return the paid answer of a key, if there is one."""
        row = self._first(
            "SELECT raw, prompt_tokens, completion_tokens, usd FROM attempts "
            "WHERE key = ? AND status = 'answered'",
            key,
        )
        return Reply(*row) if row else None

    def send(self, key: str, usd: float) -> int:
        """Record a request before it is sent; ``usd`` counts if its outcome stays unknown."""
        with _translated(self._path):
            self._journal.reserve()
        try:
            return self._sent(key, usd)
        except BaseException:
            self._journal.release()
            raise

    def receive(self, attempt: int, key: str, reply: Reply) -> None:
        """Record the answer to a request."""
        try:
            with _translated(self._path):
                self._journal.add(key, reply)
        finally:
            self._answer(attempt, reply)

    def absorb(self) -> None:
        """Store answers of the journal that an earlier run could not store."""
        for key, reply in self._journal.read().items():
            if self.reply(key) is None:
                sent = self._first("SELECT max(id) FROM attempts WHERE key = ?", key)
                self._answer(sent[0] or self._sent(key, 0.0), reply)

    def _sent(self, key: str, usd: float) -> int:
        query = "INSERT INTO attempts VALUES (NULL, ?, 'sent', '', NULL, 0, 0, ?, ?)"
        return int(self._change(query, key, usd, time.time()).lastrowid or 0)

    def _answer(self, attempt: int, reply: Reply) -> None:
        self._change(
            "UPDATE attempts SET status = 'answered', raw = ?, prompt_tokens = ?, "
            "completion_tokens = ?, usd = ? WHERE id = ?",
            *_row(reply),
            attempt,
        )

    def lose(self, attempt: int, reason: str, usd: float, *, refused: bool = False) -> None:
        """Record a request without an answer, and its possible cost."""
        self._journal.release()
        query = "UPDATE attempts SET status = ?, reason = ?, usd = ? WHERE id = ?"
        self._change(query, "refused" if refused else "lost", reason, usd, attempt)

    def refusal(self, key: str) -> str | None:
        """Return the reason of a refusal in the last minutes, or None."""
        row = self._first(
            "SELECT reason FROM attempts WHERE key = ? AND status = 'refused' AND time > ?",
            key,
            time.time() - _STANDS,
        )
        return str(row[0]) if row else None

    def settle(self) -> None:
        """Mark requests in flight at the end of an earlier run as lost."""
        query = "UPDATE attempts SET status = 'lost', reason = 'the run was stopped'"
        self._change(f"{query} WHERE status = 'sent'")

    def spending(self, purpose: str | None = None) -> Spending:
        """Return the totals of all requests of this store, or of those of one purpose."""
        return Spending(*self._first(_SPENDING, purpose))

    def has_verdicts(self, judge: str) -> bool:
        return self._first("SELECT 1 FROM verdicts WHERE judge = ? LIMIT 1", judge) is not None

    def mean_completion(self) -> float | None:
        """Return the mean number of tokens of all answers so far."""
        row = self._first("SELECT avg(completion_tokens) FROM attempts WHERE status = 'answered'")
        return None if row[0] is None else float(row[0])

    def _change(self, query: str, *values: str | float | None) -> sqlite3.Cursor:
        """Change the file in a transaction of its own."""
        with _translated(self._path), self._sql:
            return self._sql.execute(query, values)

    def _first(self, query: str, *values: str | float | None) -> Any:
        with _translated(self._path):
            return self._sql.execute(query, values).fetchone()


@contextmanager
def writing(path: Path) -> Iterator[Store]:
    """Open a store for writing, created if needed, in one process at a time.

    Raises ConfigError if another run writes to it; DataError if the file is no store.
    """
    path = path.resolve()  # other names are the same file
    held = hold(path, again=False)
    journal, whole = Journal(path.with_name(f"{path.name}-answers")), False
    try:
        with _translated(path):
            connection = sqlite3.connect(path)
        try:
            with _translated(path):
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                _check_schema(connection, path, fresh=True)
                connection.executescript(_SCHEMA)
            store = Store(connection, path, journal)
            store.absorb()
            yield store
            with _translated(path):
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            whole = not busy
        finally:
            connection.close()
    finally:
        journal.close(remove=whole)
        del held  # a traceback may keep this frame


def battles_of(path: Path, *, judge: str | None = None, strong_weight: float = 3.0) -> Battles:
    """Return the valid verdicts of a store as battles, models on the left.

    They are those of one judge, by default of all; a "much better" verdict has `strong_weight`
    (Arena-Hard: 3). The constant answers of `micronas.judge.checks` take no part. Lengths are known
    only if every answer has one. Raises DataError if the file cannot be read, or holds no valid
    verdict.
    """
    rows = verdicts_of(path)
    category = {each.id: each.category for each in prompts_of(path)}
    tokens = {(each.prompt_id, each.model): float(each.tokens) for each in answers_of(path)}
    check_judges(rows, () if judge is None else (judge,), path)
    own = [row for row in rows if judge in (None, row.judge) and row.outcome is not None]
    valid = [row for row in own if not row.model.startswith(NULL_PREFIX)]
    if not valid:
        raise DataError(f"battles need valid verdicts, but {path} holds none; run the judge")
    left = [tokens.get((row.prompt_id, row.model), np.nan) for row in valid]
    right = [tokens.get((row.prompt_id, row.baseline), np.nan) for row in valid]
    known = bool(np.isfinite([left, right]).all())
    return Battles.of_names(
        [row.model for row in valid],
        [row.baseline for row in valid],
        [float(row.outcome or 0.0) for row in valid],
        prompt=[row.prompt_id for row in valid],
        weight=[strong_weight if row.strength == 2 else 1.0 for row in valid],
        category=category,
        length_left=left if known else None,
        length_right=right if known else None,
    )


def verdicts_of(path: Path) -> list[VerdictRow]:
    """Return all verdicts of a store, invalid ones included, in a fixed order."""
    with _reading(path) as sql:
        return [VerdictRow(*row) for row in sql.execute(f"SELECT * FROM verdicts {_IN_ORDER}")]


def answers_of(path: Path) -> list[Answer]:
    """Return all answers of a store, by prompt and model."""
    with _reading(path) as sql:
        rows = sql.execute("SELECT prompt_id, model, text, tokens FROM answers ORDER BY 1, 2")
        return [Answer(*row) for row in rows]


def prompts_of(path: Path) -> list[StoredPrompt]:
    """Return all prompts of a store, by id."""
    with _reading(path) as sql:
        rows = sql.execute("SELECT prompt_id, text, category, language FROM prompts ORDER BY 1")
        return [StoredPrompt(*row) for row in rows]


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise DataError(f"a judge run must be a file, but there is no {path}; run the judge first")
    # SQLite keeps a log beside a file, also to read it; where it cannot, the file alone must do
    log = path.with_name(f"{path.name}-wal")
    alone = not os.access(path.parent, os.W_OK) and not log.exists()
    with _translated(path):
        uri = f"{path.absolute().as_uri()}?immutable={int(alone)}"
        connection = sqlite3.connect(uri, uri=True)
        try:
            _check_schema(connection, path)
            yield connection
        finally:
            connection.close()


def _check_schema(sql: sqlite3.Connection, path: Path, *, fresh: bool = False) -> None:
    """Refuse triggers, views and tables that differ from the schema.

    A trigger that deletes attempts would make every run pay again, and a view can invent rows.
    `fresh` allows missing tables.
    """
    with closing(sqlite3.connect(":memory:")) as own:
        own.executescript(_SCHEMA)
        wanted = dict(own.execute(_OBJECTS).fetchall())
    found = dict(sql.execute(_OBJECTS).fetchall())
    for name in [*found, *([] if fresh else wanted)]:
        given = found.get(name, "table missing")
        foreign = name in wanted or given.startswith("trigger")
        if foreign and given != wanted.get(name):
            state = "another" if name in found else "missing"
            raise DataError(
                f"{path} must hold a judge run as micronas lays it out, but its "
                f"{given.split(' ', 1)[0]} {name!r} is {state}; restore it or start anew"
            )


def _row(values: Any) -> tuple[Any, ...]:
    """Return the fields of a row for SQLite, with text without unpaired surrogates."""
    row = astuple(values)
    return tuple(whole_characters(each) if isinstance(each, str) else each for each in row)


_REMEDIES = {
    "is locked": "close the program that holds it, and run the same command again",
    "is full": "free some space, and run the same command again",
    "No space": "free some space, and run the same command again",
    "disk I/O": "look at the disk, and run the same command again",
    "unable to open": "copy it, with the files beside it, to a folder that you can write to",
    "readonly": "look at its rights, and run the same command again",
}


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        remedies = (remedy for sign, remedy in _REMEDIES.items() if sign in str(error))
        raise DataError(
            f"{path} must be a readable store of a judge run: {error}; "
            f"{next(remedies, 'restore it or start anew')}"
        ) from error
