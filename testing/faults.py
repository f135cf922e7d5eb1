"""The library of `faults.c`, which lets calls that write fail in a process it is loaded into."""

import ctypes
import os
import subprocess
from pathlib import Path

from micronas.export.firmware.host import find_compiler

ONE_IN = 7
"""The fault of one write in so many, drawn at random: an I/O error."""


def built(folder: Path) -> dict[str, str]:
    """Compile the library into a folder; return the environment of a process that loads it."""
    library, compiler = folder / "faults.so", find_compiler()
    assert compiler is not None, "the faults are C: install a compiler"
    source = Path(__file__).with_name("faults.c")
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}


def arm(folder: Path, place: int, fault: int) -> ctypes.CDLL:
    """Let calls below a folder fail from the n-th on, or that one alone, as the fault says."""
    library = ctypes.CDLL(None)
    library.faults_arm(os.fsencode(folder), ctypes.c_long(place), fault)
    return library
