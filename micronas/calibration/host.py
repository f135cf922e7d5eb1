"""Time networks on this machine, so that it can stand in for a board on the desk.

The clock is the CPU time of the measuring thread. On a quiet machine it agrees with elapsed time;
on a busy one elapsed time also counts other programs' use of the CPU, which no statistic over calls
longer than a scheduler's time slice can remove.
"""

import gc
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from micronas.errors import ConfigError, MicronasError
from micronas.export.verify import reporting, tflm_interpreter
from micronas.graph.ir import Graph
from micronas.settings import nearest
from micronas.tflite.reader import read

Engine = Literal["litert", "tflm"]

_BATCH_NS = 10_000_000  # long against the cost of reading the clock and a timer interrupt
_clock = (
    time.thread_time_ns
    if hasattr(time, "thread_time_ns") and sys.platform != "win32"  # there: 16 ms
    else time.perf_counter_ns
)
_HAS_AFFINITY = hasattr(os, "sched_setaffinity")


def measure_all(
    models: Mapping[str, bytes], *, engine: Engine = "litert", repeats: int = 20
) -> dict[str, float]:
    """Time one inference of each network on this machine; return medians in ms, by name.

    A network runs on a fixed random input, warmed up and with garbage collection off, in batches of
    as many inferences as last 10 ms. Each of `repeats` rounds runs one batch of every network, so
    that a machine that slows down does so for all of them. Nothing is subtracted: the interpreter's
    own cost is part of an inference here as on a board, and the term ``constant`` of a latency
    model stands for it. Where the platform can pin a thread, it stays on the last CPU allowed,
    since interrupts tend to go to the first. Raises ModelError if a file is damaged; ExportError if
    the engine does not exist for this machine, or lacks an operator of a model; ConfigError if the
    engine is unknown.

    Parameters
    ----------
    models
        Contents of ``.tflite`` files.
    engine
        ``litert``: LiteRT's optimised built-in kernels without the XNNPACK delegate, so that every
        operator is a kernel call with a cost of its own. ``tflm``: TFLM's reference kernels, which
        define the results on a board, but are plain loops with a speed unlike CMSIS-NN's.
    """
    engines = get_args(Engine)
    if engine not in engines:
        raise ConfigError(f"unknown engine {engine!r}; {nearest(engine, engines)}")
    sessions = {}
    with _pinned():
        for name, model in models.items():
            try:
                sessions[name] = _session(model, engine)
            except MicronasError as error:
                raise type(error)(f"{name}: {error}") from error
        _time(list(sessions.values()), repeats)
    return {name: statistics.median(session.times_ns) / 1e6 for name, session in sessions.items()}


@dataclass
class _Session:
    """A network that is loaded and warm, and its times."""

    model: bytes
    """Contents of the file, kept because engines read weights in place."""
    invoke: Callable[[], object]
    calls: int
    """Calls in a batch."""
    times_ns: list[float] = field(default_factory=list)
    """Time of a call in each batch."""

    def run(self) -> None:
        """Time a batch."""
        self.times_ns.append(_elapsed(self.invoke, self.calls) / self.calls)


def _session(model: bytes, engine: Engine) -> _Session:
    """Load a network and measure how many calls make a batch."""
    graph = read(model, unknown="keep")
    if engine == "tflm":
        invoke = _tflm(model, graph)
        reporting("TFLM", invoke)
    else:
        invoke = reporting("LiteRT", lambda: _litert(model))
        reporting("LiteRT", invoke)
    shortest = min(_elapsed(invoke, 1) for _ in range(3))
    return _Session(model, invoke, math.ceil(_BATCH_NS / max(shortest, 1)))


def _litert(model: bytes) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    for source in interpreter.get_input_details():
        interpreter.set_tensor(source["index"], _input(source))
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def _tflm(model: bytes, graph: Graph) -> Callable[[], object]:
    interpreter = tflm_interpreter(model)
    for position in range(len(graph.inputs)):
        interpreter.set_input(_input(interpreter.get_input_details(position)), position)
    invoke: Callable[[], object] = interpreter.invoke
    return invoke


def _input(source: Mapping[str, Any]) -> Any:
    """Return random codes for an int8 tensor; zeros, valid as indices too, for any other."""
    if source["dtype"] != np.int8:
        return np.zeros(source["shape"], source["dtype"])
    return np.random.default_rng(0).integers(-128, 128, source["shape"], np.int8)


def _time(sessions: list[_Session], repeats: int) -> None:
    """Run batches in rounds, each session once a round."""
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(repeats):
            for session in sessions:
                session.run()
    finally:
        if collects:
            gc.enable()


def _elapsed(invoke: Callable[[], object], calls: int) -> int:
    """Return the time of some calls in ns: the CPU's for this thread, or elapsed time without such
    a clock."""
    start = _clock()
    for _ in range(calls):
        invoke()
    return _clock() - start


@contextmanager
def _pinned() -> Iterator[None]:
    """Keep this thread on one CPU, then restore those it had."""
    if not _HAS_AFFINITY:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
