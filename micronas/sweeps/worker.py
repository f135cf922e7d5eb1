"""Run one point of a sweep, from its settings to its run folder.

`run_point` is the same in a process of this machine and in one of Ray's.
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
    """Order to a worker; plain values, so that it can be sent."""

    name: str
    settings: dict[str, Any]
    """As `config.yaml` holds them."""
    folder: str
    """The run folder."""
    shared: str | None
    """The file of what supernets have in common."""
    cpus: int
    """Trial trainings at once."""
    directory: str
    """Folder that relative paths start from."""
    track: list[str] = field(default_factory=list)
    """Trackers; see `micronas.runs.tracking`."""
    made: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The ``space`` and ``data`` that the settings do not describe, as `made.Made`."""
    modules: list[str] = field(default_factory=list)
    """Where the leader finds modules."""


@dataclass(frozen=True)
class PointResult:
    """Outcome of an attempt; its network is in the run folder."""

    state: Literal["done", "infeasible", "failed"]
    reason: str = ""
    """One line, unless done."""


def run_point(job: Job) -> PointResult:
    """Run one point, or go on with it; errors become part of the outcome."""
    os.chdir(job.directory)

    from micronas.errors import BudgetError, MicronasError
    from micronas.runs.run import run_search
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
                shared=None if job.shared is None else Path(job.shared),
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
    """The leader holds the other end of stdin: where it is gone, so is the reason to work."""
    sys.stdin.read()
    os._exit(1)


def _main() -> None:
    """Read a job from stdin, a line of JSON, and answer with its outcome on stdout."""
    job = Job(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_leader, daemon=True).start()
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # whatever else is printed belongs to the log
        answer.write(json.dumps(asdict(run_point(job))))


if __name__ == "__main__":
    _main()
