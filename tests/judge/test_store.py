import os
import sqlite3
import tempfile
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from micronas.errors import ConfigError, DataError
from micronas.judge.endpoint import Reply
from micronas.judge.rows import Answer, Spending, StoredPrompt, VerdictRow
from micronas.judge.store import answers_of, battles_of, prompts_of, verdicts_of, writing
from tests.judge.runs import dropped_of

ROWS = [
    VerdictRow("p1", "m", "base", "first", "j", "A", 1.0, strength=2),
    VerdictRow("p1", "m", "base", "second", "j", "tie", 0.5),
    VerdictRow("p2", "m", "base", "first", "j", "B", 0.0),
    VerdictRow("p2", "m", "base", "second", "j", None, None),
    VerdictRow("p2", "m", "base", "first", "k", "A", 1.0),
    VerdictRow("p2", "null:first", "base", "first", "j", "B", 0.0),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "run.db"
    with writing(path) as store:
        store.put_prompts([StoredPrompt("p1", "one", "math", "en"), StoredPrompt("p2", "two")])
        store.put_answers(
            Answer(prompt, model, f"{model} {prompt}", tokens)
            for prompt in ("p1", "p2")
            for model, tokens in (("m", 30), ("base", 10), ("null:first", 1))
        )
        store.put_verdicts(ROWS)
    return path


def test_what_was_put_in_comes_out(path: Path) -> None:
    assert sorted(verdicts_of(path), key=ROWS.index) == ROWS
    assert answers_of(path)[0] == Answer("p1", "base", "base p1", 10)
    assert len(answers_of(path)) == 6
    assert prompts_of(path) == [StoredPrompt("p1", "one", "math", "en"), StoredPrompt("p2", "two")]


def test_dropped_verdicts_stay_out_until_they_are_taken_back(path: Path) -> None:
    with writing(path) as store:
        assert store.drop("the judge saw the name", "judge = ?", ["k"]) == 1
        # a resumed run or an import brings the same verdict again
        store.put_verdicts([ROWS[4], ROWS[0]])
    assert dropped_of(path) == [(ROWS[4], "the judge saw the name")]
    assert ROWS[4] not in verdicts_of(path)
    assert len(verdicts_of(path)) == 5
    with writing(path) as store:
        assert store.drop(None, "judge = ?", ["k"]) == 1
    assert (dropped_of(path), ROWS[4] in verdicts_of(path)) == ([], True)
    with writing(path) as store:
        # bytes of another encoding on the command line
        assert store.drop("caf\udce9", "judge = ?", ["caf\udce9"]) == 0
        store.drop("typing error", "prompt_id = ?", ["p2"])
        # another answer is judged anew
        store.put_answers([Answer("p2", "m", "another answer", 3)])
    assert [row.model for row, _ in dropped_of(path)] == ["null:first"]


def test_battles_are_the_valid_verdicts(path: Path) -> None:
    battles = battles_of(path, judge="j")
    assert battles.models == ("base", "m")
    assert battles.prompts == ("p1", "p2")
    assert battles.category == ("math", "")
    np.testing.assert_array_equal(battles.left, [1, 1, 1])
    np.testing.assert_array_equal(battles.outcome, [1.0, 0.5, 0.0])
    np.testing.assert_array_equal(battles.weight, [3, 1, 1])
    np.testing.assert_array_equal(battles.length_left, [30, 30, 30])
    np.testing.assert_array_equal(battles.length_right, [10, 10, 10])
    assert len(battles_of(path)) == 4
    with pytest.raises(DataError, match=r"no verdict of the judge 'jj'; did you mean 'j'\?"):
        battles_of(path, judge="jj")
    np.testing.assert_array_equal(battles_of(path, judge="j", strong_weight=1).weight, 1)


def test_lengths_are_unknown_if_one_is(path: Path) -> None:
    with writing(path) as store:
        store.put_verdicts([VerdictRow("p3", "m", "base", "first", "j", "A", 1.0)])
    assert battles_of(path).length_left is None


def test_a_changed_answer_takes_its_verdicts_with_it(path: Path) -> None:
    with writing(path) as store:
        store.put_answers([Answer("p1", "m", "m p1", 31), Answer("p2", "base", "new", 1)])
    assert verdicts_of(path) == [row for row in verdicts_of(path) if row.prompt_id == "p1"]
    assert len(verdicts_of(path)) == 2


def test_a_changed_prompt_takes_its_verdicts_with_it(path: Path) -> None:
    with writing(path) as store:
        store.drop("typing error", "judge = ?", ["k"])
        store.put_prompts([StoredPrompt("p1", "one", "sums", "en"), StoredPrompt("p2", "")])
        # a text that was not known is no change
        store.put_prompts([StoredPrompt("p2", "two")])
    assert len(verdicts_of(path)) == 5
    with writing(path) as store:
        store.put_prompts([StoredPrompt("p2", "three")])
    assert verdicts_of(path) == ROWS[:2]
    assert dropped_of(path) == []


def test_requests_are_accounted_for(path: Path) -> None:
    with writing(path) as store:
        first, second, _ = store.send("a", 0.5), store.send("b", 0.5), store.send("c", 0.5)
        store.receive(first, "a", Reply("text", 7, 3, 0.25))
        store.lose(second, "HTTP 500", 0.0)
        assert store.reply("a") == Reply("text", 7, 3, 0.25)
        assert store.reply("b") is None
        assert store.reply("c") is None
        assert store.mean_completion() == 3
    # the third was in flight when the run ended; it may have been paid for
    with writing(path) as store:
        store.settle()
    with writing(path) as store:
        assert store.spending() == Spending(answered=1, lost=2, usd=0.75, dearest=0.5)


def test_only_one_writer(path: Path) -> None:
    link, folder = path.with_name("link.db"), path.parent.parent / "folder"
    link.symlink_to(path)
    folder.symlink_to(path.parent)
    for name in (path, link, folder / path.name):
        with (
            writing(path),
            pytest.raises(ConfigError, match="one process at a time may write"),
            writing(name),
        ):
            pass
    with writing(path):
        assert len(verdicts_of(path)) == 6  # readers are welcome meanwhile


def test_files_that_are_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run the judge first"):
        verdicts_of(tmp_path / "missing.db")
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "text.db").write_text("hello " * 500)
    with pytest.raises(DataError, match="must be a readable store"):
        battles_of(tmp_path / "text.db")
    with pytest.raises(DataError, match="must be a readable store"), writing(tmp_path / "text.db"):
        pass
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(DataError, match="its table 'prompts' is missing"):
        answers_of(tmp_path / "other.db")


FOREIGN = {
    "view": "DROP TABLE verdicts; CREATE VIEW verdicts AS SELECT 1 AS prompt_id, 2 AS model",
    "VIEW": "DROP TABLE attempts; CREATE VIEW ATTEMPTS AS SELECT 1 AS key",
    "columns": "DROP TABLE answers; CREATE TABLE answers (prompt_id TEXT)",
    "default": "DROP TABLE attempts; CREATE TABLE attempts (id INTEGER PRIMARY KEY, key TEXT, "
    "status TEXT, reason TEXT, raw TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, "
    "usd REAL AS (0.0), time REAL)",
    "trigger": "CREATE TRIGGER forget AFTER UPDATE ON attempts BEGIN DELETE FROM attempts; END",
    "temporary": "CREATE TRIGGER prompts AFTER INSERT ON prompts BEGIN DELETE FROM verdicts; END",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_store_of_another_layout_is_refused_and_left_alone(path: Path, kind: str) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(FOREIGN[kind])
        before = "\n".join(sql.iterdump())
    for read in (verdicts_of, battles_of, answers_of, prompts_of):
        with pytest.raises(DataError, match="as micronas lays it out") as refused:
            read(path)
        assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match="as micronas lays it out"), writing(path):
        pass
    with closing(sqlite3.connect(path)) as sql:
        assert "\n".join(sql.iterdump()) == before


def test_what_a_person_adds_to_a_store_is_no_harm(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript(
            "CREATE TABLE notes (x); CREATE INDEX mine ON verdicts (judge); "
            "CREATE VIEW wins AS SELECT * FROM verdicts WHERE outcome = 1"
        )
    with writing(path) as store:
        store.put_verdicts(ROWS)
    assert len(verdicts_of(path)) == len(ROWS)


def test_a_store_that_cannot_be_written_is_one_line(path: Path) -> None:
    with writing(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match="database is locked; close the program") as locked:
            store.send("a", 0.5)
        other.execute("ROLLBACK")
        store.send("a", 0.5)
    assert "\n" not in str(locked.value)


def test_a_paid_answer_outlives_a_store_that_takes_nothing_more(path: Path) -> None:
    def full() -> None:
        with closing(sqlite3.connect(path)) as other, writing(path) as store:
            attempt = store.send("a", 0.5)
            pages = other.execute("PRAGMA page_count").fetchone()[0]
            store._sql.execute(f"PRAGMA max_page_count = {pages}")
            store.receive(attempt, "a", Reply("x" * 10**6, 7, 3, 0.25))

    def locked() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as other, writing(path) as store:
            assert len(store.reply("a").text) == 10**6  # type: ignore[union-attr]
            attempt = store.send("b", 0.5)
            other.execute("BEGIN IMMEDIATE")
            store.receive(attempt, "b", Reply("text \ud83d", 7, 3, 0.25))

    with pytest.raises(DataError, match="is full; free some space"):
        full()
    with pytest.raises(DataError, match="is locked; close the program"):
        locked()
    # damaged, so that it has to be started anew
    journal = path.with_name("run.db-answers")
    assert journal.exists()
    for each in path.parent.glob("run.db*"):
        if each != journal:
            each.unlink()
    with writing(path) as store:
        assert store.reply("b") == Reply("text \ufffd", 7, 3, 0.25)
        assert store.spending() == Spending(answered=2, lost=0, usd=0.5, dearest=0.25)
    assert not journal.exists()


def test_a_store_that_is_damaged_while_it_is_read_is_one_line(path: Path) -> None:
    with closing(sqlite3.connect(path)) as sql:
        sql.executescript("PRAGMA journal_mode = DELETE; VACUUM")
        root = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'attempts'").fetchone()
        size = sql.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root[0] - 1) * size[0])
        file.write(b"\xff" * size[0])
    with pytest.raises(DataError, match="malformed; restore it") as damaged, writing(path) as store:
        store.spending()
    assert "\n" not in str(damaged.value)


def test_a_store_is_read_in_a_folder_that_cannot_be_written() -> None:
    def nobody() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)

    # pytest's own folders are closed to others
    with tempfile.TemporaryDirectory() as place, get_context("fork").Pool(1, nobody) as other:
        folder = Path(place)
        store = folder / "run of 100 %?.sqlite"
        with writing(store) as open_store:
            open_store.put_verdicts(ROWS)
        folder.chmod(0o555)
        assert other.apply(verdicts_of, (store,)) == verdicts_of(store)
        # what a killed run left in the log is not passed over
        folder.chmod(0o755)
        store.with_name(f"{store.name}-wal").write_bytes(b"?" * 40)
        folder.chmod(0o555)
        with pytest.raises(DataError, match="copy it, with the files beside it, to a folder"):
            other.apply(verdicts_of, (store,))
        folder.chmod(0o755)
