"""Workers on Ray: one task per point. All machines must have the same files at the same paths."""

from typing import Any

from micronas.cluster import connected
from micronas.sweeps.worker import Job, PointResult, run_point


class Cluster:
    """Workers that are tasks of Ray.

    Raises ConfigError if Ray is not installed or does not answer.

    Parameters
    ----------
    workers
        Number of tasks at once, for which a Ray started here reserves CPUs.
    cpus
        Number of CPUs that Ray reserves for each task.
    """

    def __init__(self, address: str, *, workers: int, cpus: int) -> None:
        self._connection = connected(address, cpus=workers * cpus)
        self._ray = self._connection.__enter__()
        # one process per point, as on one machine; the sweep itself tries again
        self._task = self._ray.remote(max_calls=1, max_retries=0, num_cpus=cpus)(run_point)
        self._running: dict[Any, str] = {}

    def start(self, job: Job) -> None:
        """Hand a job to Ray."""
        self._running[self._task.remote(job)] = job.name

    def finished(self, seconds: float) -> list[tuple[str, PointResult]]:
        """Return names and outcomes of finished tasks, after at most `seconds` for a first one."""
        ended, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [(self._running.pop(task), self._outcome(task)) for task in ended]

    def close(self) -> None:
        """End the running tasks, and disconnect from Ray."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()
        self._connection.__exit__(None, None, None)

    def _outcome(self, task: Any) -> PointResult:
        try:
            outcome: PointResult = self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            return PointResult("failed", f"Ray lost the worker: {reason}")
        return outcome
