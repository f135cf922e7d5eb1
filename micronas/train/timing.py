"""Seconds of CPU of a call, measured."""

import time
from collections.abc import Callable

_SECONDS = 0.2
"""Seconds that a measurement takes, at least."""
_FEWEST, _MOST = 3, 200


def seconds_of(run: Callable[[], object]) -> float:
    """Return seconds of CPU of a call, the mean of several after the first."""
    run()
    start, cpu, calls = time.perf_counter(), time.process_time(), 0
    while calls < _FEWEST or (time.perf_counter() - start < _SECONDS and calls < _MOST):
        run()
        calls += 1
    return (time.process_time() - cpu) / calls
