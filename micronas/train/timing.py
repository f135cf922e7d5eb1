"""Measure the CPU seconds of a call."""

import time
from collections.abc import Callable

_SECONDS = 0.2
"""Least seconds of a measurement."""
_FEWEST, _MOST = 3, 200


def seconds_of(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a call, the mean of several after the first."""
    run()
    start, cpu, calls = time.perf_counter(), time.process_time(), 0
    while calls < _FEWEST or (time.perf_counter() - start < _SECONDS and calls < _MOST):
        run()
        calls += 1
    return (time.process_time() - cpu) / calls
