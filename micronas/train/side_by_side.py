"""Trainings side by side, one process each, which end in the same bits as one after another.

A second thread takes a third off a training where a second core takes half off two (on a quiet
machine, benchmarks/threads.py), and figures would depend on the number of threads.
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
"""Goes on from what the checkpoint holds under its own name, and saves there."""
ATTEMPTS = 3
"""Processes for one job: the system may kill some, for memory above all."""


def processors() -> int:
    """Return how many trainings can run side by side here: one for each CPU this process may use.

    One where processes cannot be forked: off Linux, where CUDA is in use, and in a daemon.
    """
    cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if sys.platform != "linux" or cuda or current_process().daemon:
        return 1
    return len(os.sched_getaffinity(0))


def side_by_side(
    jobs: Mapping[str, Job[Result]], *, workers: int, checkpoint: Checkpoint
) -> Iterator[tuple[str, Result]]:
    """Yield each job's name and result as they end, up to `workers` of them at once.

    Parameters
    ----------
    jobs
        Results are what a checkpoint can hold.
    checkpoint
        What jobs save goes there, as if they ran here; the last of it may not be in the file yet.

    Raises
    ------
    MicronasError
        If processes end without a word. An error of a job is raised here: the same of micronas, and
        a RuntimeError with the trace of any other.
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
                    told = _received(pipe)
                except EOFError:
                    waiting.append(_again(crew, pipe))
                    continue
                if "section" in told:
                    checkpoint.save_soon(told["section"], told["state"])
                elif "error" in told:
                    raise error_told(told)
                else:
                    task = _ended(crew, pipe)
                    yield task.name, told["result"]


@dataclass
class _Task(Generic[Result]):
    name: str
    job: Job[Result]
    attempts: int = 0


_Crew = dict[Connection, tuple[BaseProcess, _Task[Any]]]
"""Running tasks, by the pipe through which they speak."""


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
        # of Python 3.12 on: threads of others are idle, and the child uses none of them
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()  # or the end of the process would not close the pipe
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
    """A process's view of its leader's checkpoint: what is saved is sent."""

    def __init__(self, of: Checkpoint, pipe: Connection, leader: int) -> None:
        super().__init__()
        self._of, self._pipe, self._leader = of, pipe, leader
        self._wait()

    def load(self, section: str) -> State | None:
        return super().load(section) or self._of.load(section)

    def _write(self, section: str) -> None:
        if os.getppid() != self._leader:
            os._exit(1)  # nobody would read it
        _send(self._pipe, {"section": section, "state": self._sections[section]})


def _send(pipe: Connection, told: State) -> None:
    buffer = io.BytesIO()
    torch.save(told, buffer)
    pipe.send_bytes(buffer.getvalue())


def _received(pipe: Connection) -> State:
    """Read what a process sent, as a checkpoint's file is read: no code comes along."""
    told: State = torch.load(io.BytesIO(pipe.recv_bytes()), weights_only=True)
    return told


def telling(job: Job[Any], kept: Checkpoint) -> State:
    """Run a job and return its result, or its error as `error_told` reads it."""
    try:
        return {"result": job(kept)}
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error), "trace": traceback.format_exc()}


def error_told(told: State) -> Exception:
    """Return the error of another process."""
    kind = getattr(errors, told["error"], None)
    if kind is None:
        return RuntimeError(f"in a training process:\n{told['trace']}")
    found: MicronasError = kind(told["text"])
    return found


def _work(job: Job[Any], checkpoint: Checkpoint, pipe: Connection, leader: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # a fork has no threads but its own, and would wait for the others
    _send(pipe, telling(job, _Relay(checkpoint, pipe, leader)))
    pipe.close()
    os._exit(0)  # leaves alone what the leader registered to do at its own end
