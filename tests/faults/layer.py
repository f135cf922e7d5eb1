"""Run what writes files with a disk that fails at its n-th call, for every n and in every way.

`faults.c` stands between a process and libc, so that it meets the calls of Python, SQLite and any
other library alike. Each case is a process of its own, forked, in a fresh copy of a folder.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from micronas.cli.ending import one_line_errors
from micronas.files import is_passing
from testing.faults import arm, built
from tests.faults.scenarios import SCENARIOS, Scenario, State

_ALL = ("open", "write", "rename", "link", "unlink", "mkdir", "rmdir", "cut", "sync")
FAULTS: dict[str, tuple[int, tuple[str, ...]]] = {
    "full disk": (1, ("open", "write", "link", "mkdir")),
    "I/O error": (2, _ALL),
    "short write": (3, ("write",)),
    "locked": (4, ("lock",)),
    "read-only": (5, _ALL),
    "killed": (6, (*_ALL, "lock")),
    "stale handle": (8, (*_ALL, "lock")),
    "another file system": (9, ("rename", "link")),
    "lost answer": (10, ("rename", "link", "unlink", "mkdir", "rmdir")),
}
"""What the C code calls a fault, and the calls that it strikes."""
_KILLED = 137
_ROOM = 1 << 16


@dataclass
class Counts:
    """What was tried of one scenario."""

    scenario: str
    calls: int = 0
    """Calls that write."""
    cases: int = 0
    as_before: int = 0
    as_after: int = 0
    wrong: list[str] = field(default_factory=list)
    """What ended in neither state, without its line, or could not go on."""


def tried(names: list[str], folder: Path, *, every: int = 1) -> list[Counts]:
    """Run scenarios in a process under the faults, every n-th case of each."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.layer", str(folder / "work"), str(every), *names],
        cwd=Path(__file__).parents[2],
        env=built(folder),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [Counts(**each) for each in map(json.loads, done.stdout.splitlines())]


@dataclass(frozen=True)
class _Ended:
    code: int
    """0, 2 after a line on stderr, 137 where it was killed, and 1 with a traceback."""
    said: str
    calls: tuple[str, ...]


def _forked(scenario: Scenario, folder: Path, fault: int = 0, place: int = 0) -> _Ended:
    """Act in a process whose `place`-th call below the folder meets the fault."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as counted:
        child = os.fork()
        if not child:
            code = 1
            try:
                os.dup2(said.fileno(), 2)
                sys.stdout = sys.stderr
                notes = ctypes.create_string_buffer(_ROOM)
                library = arm(folder, place, fault)
                try:
                    with one_line_errors():
                        scenario.act(folder)
                    code = 0
                except SystemExit as ended:
                    code = int(ended.code or 0)
                library.faults_end(notes, ctypes.c_size_t(_ROOM))
                counted.write(notes.value.decode())
                counted.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        for stream in (said, counted):
            stream.seek(0)
        return _Ended(os.waitstatus_to_exitcode(status), said.read(), tuple(counted))


def _cases(calls: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    for name, (fault, struck) in FAULTS.items():
        for place, call in enumerate(calls, 1):
            if call.split()[0] in struck:
                yield name, fault, place


def _unordered(calls: tuple[str, ...]) -> list[str]:
    """Renames of what was not put on disk before, or into folders that were not put there after."""
    lines = [call.rstrip("\n").split(" ", 1) for call in calls]
    return [
        f"the folder of {path} is not put on disk after its rename"
        for place, (name, path) in enumerate(lines)
        if name == "rename" and ["sync", str(Path(path).parent)] not in lines[place:]
    ]


def _run(scenario: Scenario, work: Path, every: int) -> Counts:
    counts = Counts(scenario.name)
    before, place = work / "before", work / "now"
    shutil.rmtree(work, ignore_errors=True)
    before.mkdir(parents=True)
    scenario.prepare(before)

    def fresh() -> State:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(before, place, symlinks=True)
        return scenario.state(place)

    old = fresh()
    whole = _forked(scenario, place)
    new = scenario.state(place)
    assert whole.code == 0, whole
    assert old != new, scenario.name
    counts.calls = len(whole.calls)
    counts.wrong += _unordered(whole.calls) if scenario.syncs else []
    for number, (name, fault, call) in enumerate(_cases(whole.calls)):
        if number % every:
            continue
        counts.cases += 1
        fresh()
        ended = _forked(scenario, place, fault, call)
        found = scenario.state(place)
        problems = list(_problems(scenario, ended, found, old=old, new=new, fault=name))
        again = _forked(scenario, place)
        if again.code or scenario.state(place) != new:
            problems.append(f"cannot go on: {again.said[-500:]} {scenario.state(place)}")
        left = [each.name for each in place.rglob("*") if is_passing(each)]
        if left and scenario.held:
            problems.append(f"leaves {left}")
        what = f"{scenario.name}, {name} at call {call} ({whole.calls[call - 1].strip()})"
        counts.wrong += [f"{what}: {each}" for each in problems]
        counts.as_before += found == old
        counts.as_after += found == new
    shutil.rmtree(work)
    return counts


def _problems(
    scenario: Scenario, ended: _Ended, found: State, *, old: State, new: State, fault: str
) -> Iterator[str]:
    for key in old.keys() | new.keys() | found.keys():
        if found.get(key) not in (old.get(key), new.get(key)):
            yield f"{key} is neither as before nor as after"
    if scenario.last in found and scenario.last not in old and found != new:
        yield f"{scenario.last} is there before the others"
    if ended.code == 0 and found != new:
        yield "it says nothing, and is not done"
    if ended.code not in (0, 2) and not (fault == "killed" and ended.code == _KILLED):
        yield f"it ends with {ended.code}: {ended.said[-1000:]}"
    if ended.code == 2 and not (ended.said.count("\n") == 1 and ended.said.startswith("error: ")):
        yield f"it does not say one line: {ended.said[-1000:]}"
    if ended.code == 2 and fault == "short write":
        yield f"a short write is no error: {ended.said}"


def main() -> None:
    """Run the scenarios named on the command line, and print a line of JSON for each."""
    work, every, *names = sys.argv[1:]
    answer: Any = os.fdopen(os.dup(1), "w")
    for name in names:
        print(
            json.dumps(vars(_run(SCENARIOS[name], Path(work).resolve(), int(every)))), file=answer
        )
        answer.flush()


if __name__ == "__main__":
    main()
