"""Damaged files of every format, each given to the command that reads it: a result or one line."""

import os
import random
import shutil
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Ended, here
from tests.fuzz._harness import judge
from tests.fuzz_world import CASES, Case, world
from tests.limited import TooLongError, limited
from tests.mutations import mutated

_SECONDS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # the world is a folder in a folder: what climbs out of it is seen
    inner = tmp_path_factory.mktemp("fuzz") / "world"
    inner.mkdir()
    with world(inner):
        yield inner


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def files(folder: Path) -> dict[Path, tuple[int, int]]:
    """Every file with its size and time of change."""
    found = (path for path in folder.parent.rglob("*") if path.is_file())
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize(
    "seeds",
    [
        pytest.param(range(len(CASES)), marks=pytest.mark.long),
        pytest.param(range(1000, 6000), marks=pytest.mark.slow),
    ],
    ids=len,
)
def test_damaged_files_end_in_a_result_or_one_line(folder: Path, port: int, seeds: range) -> None:
    """One file a seed."""
    ends: Counter[str] = Counter()
    for seed in seeds:
        case = CASES[seed % len(CASES)]
        path = folder / case.file
        original = path.read_bytes()
        path.write_bytes(mutated(original, random.Random(seed), text=case.text))
        try:
            before = files(folder)
            what = f"seed {seed}, {case.file}: {case.command}"
            with limited(_SECONDS):
                ended = started(case, port)
            judge(ended, what)
            changed = {file for file, state in files(folder).items() if before.get(file) != state}
            strangers = [file for file in changed if not _allowed(file, folder, case)]
            assert not strangers, f"{what} wrote {strangers}"
        finally:
            path.write_bytes(original)
            remove(folder, case)
        ends[str(ended.code)] += 1
    assert 0.4 * len(seeds) < ends["2"] < len(seeds)


def started(case: Case, port: int) -> Ended:
    return here(case.command.replace("PORT", str(port)))


def remove(folder: Path, case: Case) -> None:
    for path in (folder / name for name in case.writes):
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)


def _allowed(file: Path, folder: Path, case: Case) -> bool:
    places = [folder / name for name in case.writes]
    return any(file == place or place in file.parents for place in places)


@pytest.mark.long
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file} {case.command[:16]}")
def test_the_whole_file_is_read(case: Case, folder: Path, port: int) -> None:
    ended = started(case, port)
    remove(folder, case)
    if case.steady:
        assert ended.code == 2, ended
        assert case.file not in ended.err, ended
    else:
        assert ended.code in (0, 1), ended
        assert ended.out, ended


@pytest.mark.long
def test_a_named_pipe_in_place_of_any_file_ends_in_a_result_or_one_line(
    folder: Path, port: int
) -> None:
    """Opening one waits for somebody to write to it."""
    for case in CASES:
        path, whole = folder / case.file, folder / "whole"
        path.rename(whole)
        os.mkfifo(path)
        try:
            with limited(_SECONDS):
                ended = started(case, port)
            judge(ended, f"{case.file}: {case.command}")
        except TooLongError:
            pytest.fail(f"{case.file}: {case.command} waits without end")
        finally:
            whole.replace(path)
            remove(folder, case)
