"""Workers on this machine: one process per point, so that a crash harms no other."""

import contextlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from micronas.sweeps.worker import Job, PointResult

_POLL = 0.05
"""Seconds between two polls of the processes."""


class Processes:
    """Workers that are processes of this machine."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[subprocess.Popen[str], Path]] = {}

    def start(self, job: Job) -> None:
        """Start a worker; its output is appended to a file beside the run folder."""
        log = Path(f"{job.folder}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "micronas.sweeps.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C is for the leader, which then ends its workers
            )
        self._running[job.name] = process, log
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # killed already: `finished` reports it
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()

    def finished(self, seconds: float) -> list[tuple[str, PointResult]]:
        """Return names and outcomes of finished workers, after at most `seconds` for a first
        one."""
        deadline = time.monotonic() + seconds
        while True:
            ended = [
                name for name, (process, _) in self._running.items() if process.poll() is not None
            ]
            if ended or time.monotonic() > deadline:
                return [(name, self._outcome(*self._running.pop(name))) for name in ended]
            time.sleep(_POLL)

    def close(self) -> None:
        """End the running workers, whose points resume later from their last saved step."""
        for process, _ in self._running.values():
            process.kill()
        for process, _ in self._running.values():
            process.communicate()
        self._running.clear()

    @staticmethod
    def _outcome(process: "subprocess.Popen[str]", log: Path) -> PointResult:
        answer, _ = process.communicate()
        if process.returncode == 0:
            return PointResult(**json.loads(answer))
        if process.returncode < 0:
            return PointResult("failed", f"worker killed by signal {-process.returncode}")
        return PointResult("failed", f"worker ended with code {process.returncode}; see {log}")
