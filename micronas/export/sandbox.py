"""Run third-party runtimes in a process of their own, with bounds on its memory and time.

They are C++ code that trusts the file: a crash ends that process and becomes one error here.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from micronas import errors
from micronas.errors import ExportError
from micronas.export.verify import Arena, Tflm, Values, litert_outputs
from micronas.graph.counts import count
from micronas.graph.ir import Graph

_MEMORY_BYTES = 4 * 2**30
"""Limit of address space; the largest arena is a quarter of it."""
_START_S = 60.0
_MACS_PER_S = 2_000_000
"""Assumed speed, a tenth of the reference kernels' on a quiet machine."""
_MODEL, _INPUTS, _STAGE, _ERROR = "model.tflite", "inputs.npz", "stage", "error.json"
_ANSWERS, _ARENA, _REFUSAL = ("tflm.npz", "litert.npz"), "arena.json", "refusal"


def patience(graph: Graph, samples: int) -> float:
    """Return the seconds after which the runtimes count as hung."""
    return _START_S + 2 * samples * (1 + count(graph).macs / _MACS_PER_S)


@dataclass(frozen=True)
class _Answers:
    """Outputs of the runtimes for a model."""

    tflm: tuple[Values, ...]
    """Outputs of TFLM, int8 [N, ...]."""
    arena: Arena
    litert: tuple[Values, ...] | str
    """Outputs of LiteRT, or its reason to refuse the file."""


def run_sandboxed(model: bytes, inputs: Sequence[Values], *, seconds: float) -> _Answers:
    """Run a model on TFLM and LiteRT, both together for `seconds` at most; see `patience`.

    Raises ModelError if the inputs do not match, and ExportError if a runtime does not exist for
    this machine, crashes, or takes more memory or time than such a network can need, or TFLM
    refuses the model.
    """
    with tempfile.TemporaryDirectory(prefix="micronas-") as name:
        folder = Path(name)
        (folder / _MODEL).write_bytes(model)
        np.savez(folder / _INPUTS, *inputs)
        try:
            code = subprocess.run(
                [sys.executable, "-m", __name__, name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise _fault(folder, f"took longer than {seconds:g} s") from None
        if (folder / _ERROR).exists():
            kind, message = json.loads((folder / _ERROR).read_text())
            raise getattr(errors, kind)(message)
        if code != 0:
            end = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise _fault(folder, f"ended its process by {end}")
        refusal = folder / _REFUSAL
        litert = refusal.read_text() if refusal.exists() else _loaded(folder / _ANSWERS[1])
        arena = Arena(**json.loads((folder / _ARENA).read_text()))
        return _Answers(_loaded(folder / _ANSWERS[0]), arena, litert)


def _loaded(path: Path) -> tuple[Values, ...]:
    with np.load(path) as arrays:
        return tuple(arrays.values())


def _fault(folder: Path, what: str) -> ExportError:
    try:
        runtime = (folder / _STAGE).read_text()
    except OSError:
        runtime = "a runtime"
    return ExportError(
        f"{runtime} must be able to run the model, but it {what}; the file holds something that "
        "this runtime neither runs nor refuses: convert the model again"
    )


def limit_memory() -> None:
    """Bound this process's memory, before a runtime is loaded."""
    try:
        import resource
    except ImportError:  # Windows: a crash still ends this process alone
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = _MEMORY_BYTES if most == resource.RLIM_INFINITY else min(_MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _answer(folder: Path) -> None:
    """Write the runtimes' outputs, or their error."""
    model, inputs = (folder / _MODEL).read_bytes(), _loaded(folder / _INPUTS)
    try:
        (folder / _STAGE).write_text("TFLM")
        loaded = Tflm(model)
        np.savez(folder / _ANSWERS[0], *loaded.outputs(inputs))
        (folder / _ARENA).write_text(json.dumps(asdict(loaded.arena())))
        (folder / _STAGE).write_text("LiteRT")
        try:
            np.savez(folder / _ANSWERS[1], *litert_outputs(model, inputs))
        except ExportError as error:
            (folder / _REFUSAL).write_text(str(error))
    except errors.MicronasError as error:
        (folder / _ERROR).write_text(json.dumps([type(error).__name__, str(error)]))


if __name__ == "__main__":
    limit_memory()
    _answer(Path(sys.argv[1]))
