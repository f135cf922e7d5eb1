"""Trainings side by side, one process each, which end in the same bits as one after another.

Threads gain less: a second one takes a third off a training, a second process half off two (on a
quiet machine, benchmarks/threads.py); and figures would depend on their number.
"""

import io
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, current_process, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch

from micronas import errors
from micronas.checkpoint import Checkpoint, State
from micronas.errors import MicronasError

Result = TypeVar("Result")
Job = Callable[[Checkpoint], Result]
"""Function that continues from the checkpoint's state under its own name, and saves there."""
ATTEMPTS = 3
"""Most processes for one job: the system may kill some, mostly for memory."""


def processors() -> int:
    """Return the number of trainings that can run side by side: the CPUs of this process.

    It is 1 where processes cannot be forked: off Linux, where CUDA is in use, and in a daemon.
    """
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if sys.platform != "linux" or cuda or current_process().daemon:
        return 1
    return len(os.sched_getaffinity(0))


def side_by_side(
    jobs: Mapping[str, Job[Result]], *, workers: int, checkpoint: Checkpoint
) -> Iterator[tuple[str, Result]]:
    """Yield each job's name and result as they end, up to `workers` of them at once.

    A checkpoint can hold their results, and holds their states as if they ran here; the last may
    not be in the file yet. Raises MicronasError if the processes of a job end without a result. A
    job's own error is raised too: one of micronas as it is, any other as a RuntimeError with its
    trace.
    """
    if min(workers, len(jobs)) == 1:
        for name, job in jobs.items():
            yield name, job(checkpoint)
        return
    with _crew() as crew:
        waiting = [_Task(name, job) for name, job in reversed(list(jobs.items()))]
        while waiting or crew:
            while waiting and len(crew) < workers:
                _start(crew, waiting.pop(), checkpoint)
            for pipe in connection.wait(list(crew)):
                assert isinstance(pipe, Connection)
                try:
                    message = _received(pipe)
                except EOFError:
                    waiting.append(_again(crew, pipe))
                    continue
                if "section" in message:
                    checkpoint.save_soon(message["section"], message["state"])
                elif "error" in message:
                    raise error_of(message)
                else:
                    task = _ended(crew, pipe)
                    yield task.name, message["result"]


@dataclass
class _Task(Generic[Result]):
    name: str
    job: Job[Result]
    attempts: int = 0


_Crew = dict[Connection, tuple[BaseProcess, _Task[Any]]]
"""Running tasks, by the pipe of their messages."""


@contextmanager
def _crew() -> Iterator[_Crew]:
    crew: _Crew = {}
    try:
        yield crew
    finally:
        for pipe, (process, _) in crew.items():
            process.kill()
            process.join()
            pipe.close()


def _start(crew: _Crew, task: _Task[Any], checkpoint: Checkpoint) -> None:
    task.attempts += 1
    ours, theirs = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(
        target=_work, args=(task.job, checkpoint, theirs, os.getpid()), daemon=True
    )
    with warnings.catch_warnings():
        # of Python 3.12 and later: other threads are idle, and the child uses none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()  # otherwise the end of the process would not close the pipe
    crew[ours] = process, task


def _ended(crew: _Crew, pipe: Connection) -> _Task[Any]:
    process, task = crew.pop(pipe)
    process.join()
    pipe.close()
    return task


def _again(crew: _Crew, pipe: Connection) -> _Task[Any]:
    process, task = crew[pipe]
    _ended(crew, pipe)
    if task.attempts == ATTEMPTS:
        raise MicronasError(
            f"a training process must end with a result, but that of {task.name!r} ended "
            f"{ATTEMPTS} times with exit code {process.exitcode}; free memory, or train one "
            "network after another with workers=1"
        )
    return task


class _Relay(Checkpoint):
    """Checkpoint of a process that sends states to its leader."""

    def __init__(self, of: Checkpoint, pipe: Connection, leader: int) -> None:
        super().__init__()
        self._of, self._pipe, self._leader = of, pipe, leader
        self._wait()

    def load(self, section: str) -> State | None:
        return super().load(section) or self._of.load(section)

    def _write(self, section: str) -> None:
        if os.getppid() != self._leader:
            os._exit(1)  # the leader has ended
        _send(self._pipe, {"section": section, "state": self._sections[section]})


def _send(pipe: Connection, message: State) -> None:
    buffer = io.BytesIO()
    torch.save(message, buffer)
    pipe.send_bytes(buffer.getvalue())


def _received(pipe: Connection) -> State:
    """Read a message of a process like a checkpoint's file, which cannot hold code."""
    message: State = torch.load(io.BytesIO(pipe.recv_bytes()), weights_only=True)
    return message


def answer_of(job: Job[Any], kept: Checkpoint) -> State:
    """Run a job and return its result, or its error for `error_of`."""
    try:
        return {"result": job(kept)}
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}


def error_of(answer: State) -> Exception:
    """Return the error of another process."""
    kind = getattr(errors, answer["error"], None)
    if kind is None:
        return RuntimeError(f"in a training process:\n{answer['trace']}")
    found: MicronasError = kind(answer["text"])
    return found


def _work(job: Job[Any], checkpoint: Checkpoint, pipe: Connection, leader: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # a fork has only its own thread, and would wait for the others
    _send(pipe, answer_of(job, _Relay(checkpoint, pipe, leader)))
    pipe.close()
    os._exit(0)  # skips exit handlers that the leader registered
