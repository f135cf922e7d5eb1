"""Compile a front end for this machine and run it, to compare it with training."""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from micronas.errors import DataError, ExportError
from micronas.export.firmware.front_ends.front_end import Array, FrontEnd
from micronas.graph.ir import Quantization
from micronas.graph.kernels.codes import Values

_FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC")
_SIZES = """
#include "front_end.c"
unsigned long FrontEndBytes(void) { return sizeof(FrontEnd); }
unsigned long WorkBytes(void) { return WORK; }
unsigned long FrontEndCodes(void) { return FRONT_END_CODES; }
"""


def find_compiler() -> str | None:
    """Return this machine's C compiler: ``$CC``, cc, gcc or clang; None where there is none."""
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return next((path for name in names if name and (path := shutil.which(name))), None)


class OnHost:
    """A generated front end, compiled for this machine; `fixed_point` computes in integers.

    Raises ExportError if there is no C compiler, or it refuses the sources.
    """

    def __init__(
        self, front_end: FrontEnd, quantization: Quantization, *, fixed_point: bool = False
    ) -> None:
        compiler = find_compiler()
        if compiler is None:
            raise ExportError(
                "a front end needs a C compiler to run here, but there is neither $CC nor cc, gcc "
                "or clang; install one"
            )
        self._samples = front_end.samples
        self._streams = front_end.pace is not None
        works = front_end.work_bytes > 0
        with tempfile.TemporaryDirectory(prefix="micronas-") as scratch:
            for name, text in front_end.files(quantization).items():
                (Path(scratch) / name).write_text(text, encoding="utf-8")
            (Path(scratch) / "host.c").write_text(_SIZES, encoding="utf-8")
            library = Path(scratch) / "front_end.so"
            define = [f"-DFRONT_END_FIXED_POINT={int(fixed_point)}"]
            define += [f"-DWORK={'sizeof(FrontEndWork)' if works else '0'}"]
            command = [compiler, *_FLAGS, *define, f"{scratch}/host.c", "-o", str(library), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ExportError(
                    f"a front end must compile, but {compiler} says: {done.stderr[:500].strip()}; "
                    "set $CC to another compiler"
                )
            self._code = ctypes.CDLL(str(library))
        for size in (self._code.FrontEndBytes, self._code.WorkBytes, self._code.FrontEndCodes):
            size.restype = ctypes.c_ulong
        self._state = ctypes.create_string_buffer(self._code.FrontEndBytes())
        self._work = (ctypes.create_string_buffer(self._code.WorkBytes()),) if works else ()

    def codes(self, samples: Array) -> Values:
        """Return the int8 codes of one input.

        Samples are as on the device: int16 [samples] of sound, uint8 bytes of a picture, or float32
        [readings, channels]; of a stream the latest input counts. Raises DataError if they are of
        another type, or too few.
        """
        if self._streams:
            return self.stream(samples, [len(samples)]).reshape(-1)
        given = self._given(samples)
        codes = np.zeros(self._code.FrontEndCodes(), np.int8)
        pointers = (each.ctypes.data_as(ctypes.c_void_p) for each in (given, codes))
        self._code.FrontEndRead(self._state, *pointers)
        return codes

    def stream(self, samples: Array, ends: Sequence[int]) -> Values:
        """Return the int8 codes of a stream's inputs, [inputs, codes].

        Samples are those of `codes`; `ends` is the number read at the end of each, see `Pace.ends`.
        Raises DataError if they are of another type, or too few for a whole input.
        """
        given = self._given(samples)
        codes = np.zeros((len(ends), self._code.FrontEndCodes()), np.int8)
        self._code.FrontEndReset(self._state)
        for start, end, row in zip((0, *ends), ends, codes, strict=False):
            pointer = given[start:end].ctypes.data_as(ctypes.c_void_p)
            count = ctypes.c_size_t(end - start)
            self._code.FrontEndPush(self._state, *self._work, pointer, count)
            if not self._code.FrontEndReady(self._state):
                raise DataError(f"an input must be complete, but {end} samples are too few")
            self._code.FrontEndRead(self._state, row.ctypes.data_as(ctypes.c_void_p))
        return codes

    def _given(self, samples: Array) -> Array:
        if samples.dtype != self._samples:
            raise DataError(
                f"samples must be {self._samples}, but are {samples.dtype}; convert them"
            )
        return np.ascontiguousarray(samples)
