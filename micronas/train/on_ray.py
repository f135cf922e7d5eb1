"""Trainings on Ray, one task each, which end in the same bits as in processes of this machine.

Their last states return to the leader, which resumes from them after being killed.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from micronas.checkpoint import Checkpoint, State
from micronas.data import DataSet
from micronas.errors import MicronasError
from micronas.train.side_by_side import ATTEMPTS, Job, Result, answer_of, error_of


def on_ray(
    jobs: Mapping[str, Job[Result]], *, ray: Any, threads: int, checkpoint: Checkpoint
) -> Iterator[tuple[str, Result]]:
    """Yield each job's name and result as they end; Ray decides how many run at once.

    `jobs` are partial calls; a data set among their arguments is sent once to each machine. `ray`
    is the connected module; it reserves as many CPUs as each task has `threads`. Errors are those
    of `micronas.train.side_by_side.side_by_side`.
    """
    task = ray.remote(num_cpus=threads, max_retries=ATTEMPTS - 1)(_train)
    sent: dict[int, Any] = {}

    def stored(argument: Any) -> Any:
        if not isinstance(argument, DataSet):
            return argument
        if id(argument) not in sent:
            sent[id(argument)] = ray.put(argument)
        return sent[id(argument)]

    running = {}
    for name, job in jobs.items():
        assert isinstance(job, partial)
        state = checkpoint.load(name)
        running[task.remote(job.func, name, state, *map(stored, job.args))] = name
    try:
        while running:
            (ended,), _ = ray.wait(list(running))
            name = running.pop(ended)
            answer = _answer(ray, ended, name)
            if "error" in answer:
                raise error_of(answer)
            if answer["state"] is not None:  # a job need not save anything
                checkpoint.save_soon(name, answer["state"])
            yield name, answer["result"]
    finally:
        for each in running:
            ray.cancel(each, force=True)


def _answer(ray: Any, task: Any, name: str) -> State:
    try:
        answer: State = ray.get(task)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise MicronasError(
            f"a training on Ray must end with a result, but that of {name!r} was lost "
            f"{ATTEMPTS} times ({reason}); free memory there, or train on this machine"
        ) from error
    return answer


def _train(run: Callable[..., Any], name: str, state: State | None, *arguments: Any) -> State:
    """Run a job on Ray's worker."""
    torch.set_num_threads(1)
    kept = Checkpoint()
    if state is not None:
        kept.note(name, state)
    return answer_of(partial(run, *arguments), kept) | {"state": kept.load(name)}
