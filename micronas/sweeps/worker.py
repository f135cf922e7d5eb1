"""Run one point of a sweep, from its settings to its run folder.

`run_point` is the same in a process of this machine and in a task of Ray.
"""

import json
import os
import sys
import threading
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Job:
    """Order to a worker, in plain values that can be sent."""

    name: str
    settings: dict[str, Any]
    """Settings as in `config.yaml`."""
    folder: str
    """Run folder."""
    shared: str | None
    """File of the common part of supernets."""
    data: str
    """File by which the sweep's data is compared."""
    cpus: int
    """Number of trial trainings at once."""
    directory: str
    """Folder of relative paths."""
    track: list[str] = field(default_factory=list)
    """Trackers; see `micronas.runs.tracking`."""
    made: dict[str, tuple[str, str]] = field(default_factory=dict)
    """``space`` and ``data`` that the settings do not describe, as `made.Made`."""
    modules: list[str] = field(default_factory=list)
    """Folders of the leader's modules."""


@dataclass(frozen=True)
class PointResult:
    """Outcome of an attempt; its network is in the run folder."""

    state: Literal["done", "infeasible", "failed"]
    reason: str = ""
    """Reason in one line; empty if done."""


def run_point(job: Job) -> PointResult:
    """Run or resume one point; errors become part of the outcome."""
    os.chdir(job.directory)

    from micronas.errors import BudgetError, MicronasError
    from micronas.runs.run import Shared, run_search
    from micronas.runs.settings import RunSettings
    from micronas.runs.tracking import tracked
    from micronas.sweeps.made import Made, make

    sys.path += [each for each in job.modules if each not in sys.path]
    folder = Path(job.folder)
    try:
        own = {key: make(key, Made(*made)) for key, made in job.made.items()}
        with tracked(folder, job.settings, job.track) as progress:
            run_search(
                RunSettings.model_validate(job.settings),
                folder,
                progress=progress,
                shared=Shared(None if job.shared is None else Path(job.shared), Path(job.data)),
                workers=job.cpus,
                **own,
            )
    except BudgetError as error:
        return PointResult("infeasible", _line(str(error)))
    except MicronasError as error:
        return PointResult("failed", _line(str(error)))
    except Exception as error:
        traceback.print_exc()
        return PointResult("failed", _line(f"{type(error).__name__}: {error}"))
    return PointResult("done")


def _line(text: str) -> str:
    return " ".join(text.split())


def _end_with_leader() -> None:
    """Exit when the leader, which holds the other end of stdin, is gone."""
    sys.stdin.read()
    os._exit(1)


def _main() -> None:
    """Read a job from stdin, a line of JSON, and write its outcome to stdout."""
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_leader, daemon=True).start()
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # other output goes to the log
        answer.write(json.dumps(asdict(run_point(job))))


if __name__ == "__main__":
    _main()
