"""What every fuzzer holds: no crash, no traceback, at most 1 GB, no case over 5 s."""

import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

from tests.command import Ended
from tests.limited import limited

_CPU_S = 5.0
"""Of processor time, so that a busy machine does not count."""
_HANGS_S = 600
"""Of the clock; on two cores with twenty other jobs five seconds of processor take two minutes."""
_BYTES = 2**30
_COUNTED = 2**26


def rounds(seconds: float, seed: int, case: Callable[[random.Random], str]) -> None:
    """Run cases until the time is over, at least one; each is drawn from a seed of its own.

    `case` returns what it did, which failures quote beside the seed.
    """
    end, count = time.monotonic() + seconds, 0
    while count == 0 or time.monotonic() < end:
        bounded(f"seed {seed}, case {count}", lambda: case(random.Random(f"{seed} {count}")))  # noqa: B023
        count += 1
    print(f"{count} cases")


def bounded(name: str, case: Callable[[], str]) -> None:
    """Run one case within the bounds on time and memory."""
    before, start, children = _resident(), _cpu(), _largest_child()
    try:
        with limited(_HANGS_S):
            what = case()
    except BaseException as error:
        error.add_note(name) if hasattr(error, "add_note") else None
        raise
    taken = _cpu() - start
    assert taken < _CPU_S, f"{name} took {taken:.1f} s: {what}"
    # of all that ever were, those of other tests included; one begins with what its parent holds,
    # which the kernel counts to some megabytes
    largest, inherited = _largest_child(), _resident() + _COUNTED
    grown = max(_resident() - before, largest if largest > max(children, inherited) else 0)
    assert grown < _BYTES, f"{name} took {grown} bytes: {what}"


def judge(ended: Ended, what: str) -> None:
    """Check that a command ended in a result or one line."""
    assert "Traceback" not in ended.err, (what, ended)
    assert ended.code in (0, 1, 2), (what, ended)
    if ended.code == 2:
        assert ended.out == "", (what, ended)
        # a busy machine is told after a moment that the command is at work
        said = [each for each in ended.err.splitlines() if not each.endswith(" is at work")]
        assert len(said) == 1, (what, ended)
        assert said[0].startswith("error: "), (what, ended)
        assert said[0].isprintable(), (what, ended)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _resident() -> int:
    """The most this process ever held, which never falls."""
    if Path("/proc/self/clear_refs").exists():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _largest_child() -> int:
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
