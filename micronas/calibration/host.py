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
_HAS_THREAD_CLOCK = hasattr(time, "thread_time_ns") and sys.platform != "win32"  # there: 16 ms
_HAS_AFFINITY = hasattr(os, "sched_setaffinity")


@dataclass(frozen=True)
class Timing:
    """Time of one inference in ms, over batches of inferences that last 10 ms or more."""

    median_ms: float
    """CPU time of the measuring thread; elapsed time with several threads and on Windows."""
    quartiles_ms: tuple[float, float]
    """Lower and upper quartile over the batches."""
    wall_ms: float
    """Median of the elapsed time; well above `median_ms` where other programs used the CPU."""
    runs: int
    """Inferences timed."""

    @property
    def spread(self) -> float:
        """Distance of the quartiles as a fraction of the median."""
        return (self.quartiles_ms[1] - self.quartiles_ms[0]) / self.median_ms


def measure(
    model: bytes,
    *,
    engine: Engine = "litert",
    repeats: int = 20,
    threads: int = 1,
    cpu: int | None = None,
) -> Timing:
    """Time one inference of a network on this machine.

    The network runs on a fixed random input, warmed up and with garbage collection off, in
    `repeats` batches of as many inferences as last 10 ms. Nothing is subtracted: the interpreter's
    own cost is part of an inference here as on a board, and the term ``constant`` of a latency
    model stands for it.

    Parameters
    ----------
    model
        Contents of a ``.tflite`` file.
    engine
        ``litert``: LiteRT's optimised built-in kernels without the XNNPACK delegate, so that every
        operator is a kernel call with a cost of its own. ``tflm``: TFLM's reference kernels, which
        define the results on a board, but are plain loops with a speed unlike CMSIS-NN's.
    repeats
        Batches to time.
    threads
        Threads of the engine; TFLM has one.
    cpu
        CPU to stay on, where the platform can pin a thread; by default the last one allowed, since
        interrupts tend to go to the first. Several threads are not pinned.

    Raises
    ------
    ModelError
        If the file is damaged.
    ExportError
        If the engine does not exist for this machine, or lacks an operator of the model.
    ConfigError
        If the engine is unknown, or repeats, threads or cpu are impossible on this machine.
    """
    _check(engine, repeats, threads, cpu)
    with _pinned(cpu, threads):
        session = _session(model, engine, threads)
        _time([session], repeats)
    return session.timing(threads)


def measure_all(
    models: Mapping[str, bytes],
    *,
    engine: Engine = "litert",
    repeats: int = 20,
    threads: int = 1,
    cpu: int | None = None,
) -> dict[str, Timing]:
    """Time several networks, by name; arguments and errors are those of `measure`.

    Each of `repeats` rounds runs one batch of every network, so that a machine that slows down does
    so for all of them.
    """
    _check(engine, repeats, threads, cpu)
    sessions = {}
    with _pinned(cpu, threads):
        for name, model in models.items():
            try:
                sessions[name] = _session(model, engine, threads)
            except MicronasError as error:
                raise type(error)(f"{name}: {error}") from error
        _time(list(sessions.values()), repeats)
    return {name: session.timing(threads) for name, session in sessions.items()}


@dataclass
class _Session:
    """A network that is loaded and warm, and its measured times."""

    model: bytes
    """Contents of the file, kept because engines read weights in place."""
    invoke: Callable[[], object]
    calls: int
    """Calls in a batch."""
    cpu_ns: list[float] = field(default_factory=list)
    wall_ns: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Time a batch."""
        wall, cpu = _elapsed(self.invoke, self.calls)
        self.wall_ns.append(wall / self.calls)
        self.cpu_ns.append(cpu / self.calls)

    def timing(self, threads: int) -> Timing:
        # a thread's clock does not see the work of the engine's other threads
        times = self.cpu_ns if threads == 1 and _HAS_THREAD_CLOCK else self.wall_ns
        lower, median, upper = np.percentile(times, [25, 50, 75]) / 1e6
        return Timing(
            median_ms=float(median),
            quartiles_ms=(float(lower), float(upper)),
            wall_ms=statistics.median(self.wall_ns) / 1e6,
            runs=self.calls * len(times),
        )


def _session(model: bytes, engine: Engine, threads: int) -> _Session:
    """Load a network and measure how many calls make a batch."""
    graph = read(model, unknown="keep")
    if engine == "tflm":
        invoke = _tflm(model, graph)
        reporting("TFLM", invoke)
    else:
        invoke = reporting("LiteRT", lambda: _litert(model, threads))
        reporting("LiteRT", invoke)
    shortest = min(_elapsed(invoke, 1)[0] for _ in range(3))
    return _Session(model, invoke, math.ceil(_BATCH_NS / max(shortest, 1)))


def _litert(model: bytes, threads: int) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=model,
        num_threads=threads,
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


def _elapsed(invoke: Callable[[], object], calls: int) -> tuple[int, int]:
    """Return elapsed and CPU time of some calls in ns; the latter 0 without such a clock."""
    cpu_start = time.thread_time_ns() if _HAS_THREAD_CLOCK else 0
    start = time.perf_counter_ns()
    for _ in range(calls):
        invoke()
    wall = time.perf_counter_ns() - start
    return wall, (time.thread_time_ns() if _HAS_THREAD_CLOCK else 0) - cpu_start


@contextmanager
def _pinned(cpu: int | None, threads: int) -> Iterator[None]:
    """Keep this thread on one CPU, then restore those it had."""
    if threads > 1 or not _HAS_AFFINITY:
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed) if cpu is None else cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _check(engine: str, repeats: int, threads: int, cpu: int | None) -> None:
    engines = get_args(Engine)
    if engine not in engines:
        raise ConfigError(f"unknown engine {engine!r}; {nearest(engine, engines)}")
    if repeats < 1:
        raise ConfigError(f"repeats must be at least 1, but got {repeats}; 20 is the default")
    if threads < 1 or (threads > 1 and engine == "tflm"):
        raise ConfigError(
            f"threads must be at least 1, and 1 for tflm, but got {threads} for {engine}; "
            "leave threads out"
        )
    if cpu is None:
        return
    if threads > 1 or not _HAS_AFFINITY:
        raise ConfigError(
            f"cpu must be left out with several threads and where a thread cannot be pinned, but "
            f"got cpu {cpu} and {threads} threads on {sys.platform}; leave cpu out"
        )
    allowed = sorted(os.sched_getaffinity(0))
    if cpu not in allowed:
        raise ConfigError(
            f"cpu must be one this process may use, but got {cpu}; "
            f"choose one of {', '.join(map(str, allowed))}"
        )
