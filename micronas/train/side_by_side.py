"""Trainings side by side, one process each, which end in the same bits as one after another.

A network of a few million multiply-accumulates trains as fast on one thread as on several, so that
cores pay for more trainings and not for more threads.
"""

import os
import pickle
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

from micronas.checkpoint import Checkpoint, State
from micronas.errors import MicronasError

Result = TypeVar("Result")
Job = Callable[[Checkpoint], Result]
"""Goes on from what the checkpoint holds under its own name, and saves there."""
_ATTEMPTS = 3
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
    checkpoint
        What jobs save goes there at once, as if they ran here.

    Raises
    ------
    MicronasError
        If processes end without a word; an error of a job is raised as it is.
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
                    kind, *told = pickle.loads(pipe.recv_bytes())
                except EOFError:
                    waiting.append(_again(crew, pipe))
                    continue
                if kind == "saved":
                    checkpoint.save(*told)
                elif kind == "failed":
                    error, text = told
                    raise error from RuntimeError(f"in a training process:\n{text}")
                else:
                    task = _ended(crew, pipe)
                    yield task.name, told[0]


@dataclass
class _Task(Generic[Result]):
    name: str
    job: Job[Result]
    attempts: int = 0


_Crew = dict[Connection, tuple[BaseProcess, _Task[Any]]]
"""What runs, by the pipe through which it speaks."""


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
    if task.attempts == _ATTEMPTS:
        raise MicronasError(
            f"a training process must end with a result, but that of {task.name!r} ended "
            f"{_ATTEMPTS} times with exit code {process.exitcode}; free memory, or train one "
            "network after another with workers=1"
        )
    return task


class _Relay(Checkpoint):
    """A process's view of its leader's checkpoint: what is saved is sent."""

    def __init__(self, of: Checkpoint, pipe: Connection, leader: int) -> None:
        super().__init__()
        self._of, self._pipe, self._leader = of, pipe, leader

    def load(self, section: str) -> State | None:
        return super().load(section) or self._of.load(section)

    def save(self, section: str, state: State) -> None:
        if os.getppid() != self._leader:
            os._exit(1)  # nobody would read it
        super().save(section, state)
        self._pipe.send_bytes(pickle.dumps(("saved", section, state)))


def _work(job: Job[Any], checkpoint: Checkpoint, pipe: Connection, leader: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the leader ends its processes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)  # a fork has no threads but its own, and would wait for the others
    try:
        answer = pickle.dumps(("done", job(_Relay(checkpoint, pipe, leader))))
    except Exception as error:
        answer = pickle.dumps(("failed", error, traceback.format_exc()))
    pipe.send_bytes(answer)
    pipe.close()
    os._exit(0)  # leaves alone what the leader registered to do at its own end
