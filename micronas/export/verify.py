"""Runs a model file on the runtimes that exist, and compares them with integer execution.

TFLM is the arbiter: it is the code the board runs. LiteRT differs from it by design (XNNPACK
rounds once; its reference FULLY_CONNECTED may differ by one).
"""

import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from micronas.errors import ExportError, ModelError
from micronas.graph import integer
from micronas.tflite.reader import read

Values = npt.NDArray[np.int8]
_Result = TypeVar("_Result")

_SMALLEST_ARENA = 2**26  # pages it does not touch cost nothing; far too small ones crash it
_LARGEST_ARENA = 2**30
_TOO_SMALL = re.compile(r"Failed to (resize buffer|allocate)", re.IGNORECASE)
_LONGEST_QUOTE = 300
# The wheel parses the file in Python before its own code does.
_REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, struct.error)
_STDERR = threading.Lock()


@dataclass(frozen=True)
class Arena:
    """TFLM's memory on this (64-bit) host, in bytes."""

    head: int
    """Activations and scratch buffers."""
    tail: int
    """What lives as long as the interpreter."""

    @property
    def total(self) -> int:
        return self.head + self.tail


@dataclass(frozen=True)
class Verification:
    """Integer execution against TFLM."""

    samples: int
    bytes_compared: int
    mismatches: int
    """Output bytes that differ."""
    max_difference: int


def verify(model: bytes, inputs: Values) -> Verification:
    """Compare `micronas.graph.integer.run` with TFLM on every output byte.

    Parameters
    ----------
    model
        Contents of a ``.tflite`` file of one int8 input and one int8 output.
    inputs
        int8 [N, height, width, channels].

    Raises
    ------
    ModelError
        If the file is damaged, holds other operators, or the inputs do not match.
    ExportError
        If TFLM does not exist for this machine, or refuses the model.
    """
    return compare(integer.run(read(model), inputs), tflm_run(model, inputs))


def compare(ours: Values, theirs: Values) -> Verification:
    """Count the output bytes that differ between two runs of the same N >= 1 examples."""
    difference = np.abs(
        ours.reshape(len(ours), -1).astype(np.int16) - theirs.reshape(len(ours), -1)
    )
    return Verification(
        samples=len(ours),
        bytes_compared=difference.size,
        mismatches=int(np.count_nonzero(difference)),
        max_difference=int(difference.max()),
    )


def tflm_run(model: bytes, inputs: Values) -> Values:
    """Run a well-formed model on TFLM, one example after another.

    Returns
    -------
    int8 [N, ...]: outputs, N in place of their leading 1.
    """
    interpreter = tflm_interpreter(model)

    def invoke(example: Values) -> Values:
        interpreter.set_input(example, 0)
        interpreter.invoke()
        return np.array(interpreter.get_output(0))

    return _run_each(inputs, interpreter.get_input_details(0), invoke)


def tflm_arena(model: bytes) -> Arena:
    """Measure the arena TFLM uses for a well-formed model on this host."""
    interpreter = tflm_interpreter(model)
    with _captured_stderr() as captured:
        interpreter.print_allocations()
        report = captured()
    sizes = dict(re.findall(r"Arena allocation (head|tail) (\d+) bytes", report))
    return Arena(head=int(sizes["head"]), tail=int(sizes["tail"]))


def litert_run(model: bytes, inputs: Values) -> Values:
    """Run a model on LiteRT's reference kernels, never on XNNPACK.

    Returns
    -------
    int8 [N, ...]: outputs, N in place of their leading 1.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def load() -> Any:
        interpreter = Interpreter(
            model_content=model,
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        )
        interpreter.allocate_tensors()
        return interpreter

    interpreter = reporting("LiteRT", load)
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def invoke(example: Values) -> Values:
        interpreter.set_tensor(source["index"], example)
        interpreter.invoke()
        return np.array(interpreter.get_tensor(target["index"]))

    return _run_each(inputs, source, invoke)


def _run_each(
    inputs: Values, source: Mapping[str, Any], invoke: Callable[[Values], Values]
) -> Values:
    """Run examples one by one on a runtime whose input has the shape and type of `source`."""
    shape = tuple(source["shape"])
    wanted = shape[1:] if shape[0] == 1 else shape
    if source["dtype"] != np.int8:
        raise ModelError(
            f"a model must take int8, but this one takes {np.dtype(source['dtype'])}; "
            "convert it with int8 input and output"
        )
    if inputs.dtype != np.int8 or inputs.shape[1:] != wanted or len(inputs) == 0:
        raise ModelError(
            f"inputs must be int8 [N, {', '.join(map(str, wanted))}] with N >= 1, but got "
            f"{inputs.dtype} {list(inputs.shape)}; quantise and batch them first"
        )
    outputs = np.stack([invoke(example.reshape(shape)) for example in inputs])
    return outputs[:, 0] if outputs.ndim > 2 and outputs.shape[1] == 1 else outputs


def tflm_interpreter(model: bytes) -> Any:
    """Load a model into TFLM, with as large an arena as it asks for."""
    try:
        from tflite_micro import runtime
    except ImportError as error:
        raise ExportError(
            "running a model on TFLM needs the tflite-micro wheel, which exists for Linux on "
            f"x86-64 and CPython 3.10 to 3.13, but this is {sys.platform} with Python "
            f"{sys.version_info.major}.{sys.version_info.minor}; pip install tflite-micro there, "
            "or use micronas.graph.integer, which computes the same bits"
        ) from error
    size = _SMALLEST_ARENA
    while True:
        try:
            load = partial(runtime.Interpreter.from_bytes, model, arena_size=size)
            return reporting("TFLM", load)
        except ExportError as error:
            if not _TOO_SMALL.search(str(error)) or size >= _LARGEST_ARENA:
                raise
            size *= 4


def reporting(runtime: str, load: Callable[[], _Result]) -> _Result:
    """Load a model; turn a refusal into an error that says what the runtime printed."""
    with _captured_stderr() as captured:
        try:
            return load()
        except _REFUSALS as error:
            said = " ".join((captured() or str(error)).split())[:_LONGEST_QUOTE]
            raise ExportError(
                f"{runtime} must be able to load the model, but it says: {said}; "
                "use operators and types it has"
            ) from error


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Send the process's stderr, where C++ writes, to a file; one thread at a time."""
    with _STDERR, tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)

        def captured() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield captured
        finally:
            os.dup2(saved, 2)
            os.close(saved)
