"""Run a model file on other runtimes, and compare them with integer execution.

TFLM is the reference: it is the code that the board runs. LiteRT differs from it by design (XNNPACK
rounds once; its reference FULLY_CONNECTED may differ by one).
"""

import os
import re
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from micronas.errors import ExportError, ModelError
from micronas.graph import integer
from micronas.graph.interface import Given, by_name
from micronas.tflite.parts import File
from micronas.tflite.reader import read

Values = npt.NDArray[np.int8]
_Result = TypeVar("_Result")

_SMALLEST_ARENA = 2**26  # untouched pages cost nothing; far too small an arena crashes TFLM
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
    """Bytes of activations and scratch buffers."""
    tail: int
    """Bytes of objects that live as long as the interpreter."""

    @property
    def total(self) -> int:
        return self.head + self.tail


@dataclass(frozen=True)
class Verification:
    """Integer execution against TFLM."""

    samples: int
    bytes_compared: int
    mismatches: int
    """Number of output bytes that differ."""
    max_difference: int
    by_output: Mapping[str, int] = field(default_factory=dict)
    """Mismatches of each output by name, where there are several."""


def verify(model: bytes, inputs: Given[Values]) -> Verification:
    """Compare `micronas.graph.integer.run` with TFLM on every byte of every output.

    Inputs are codes [N, height, width, channels]; for several a tuple, or a mapping by name. Raises
    ModelError if the file is damaged, holds other operators, or the inputs do not match, DataError
    if there are not as many inputs as the model takes, and ExportError if TFLM does not exist for
    this machine, or refuses the model.
    """
    return verify_and_measure(model, inputs)[0]


def verify_and_measure(model: bytes, inputs: Given[Values]) -> tuple[Verification, Arena]:
    """Return the results of `verify` and `tflm_arena`, with the model loaded once."""
    graph = read(model, wide=True)
    given = by_name(graph, inputs)
    ours, loaded = integer.run_outputs(graph, given), Tflm(model)
    arena, theirs = loaded.arena(), loaded.outputs(tuple(given.values()))
    return compare_outputs(ours, dict(zip(ours, theirs, strict=True))), arena


def compare(ours: Values, theirs: Values) -> Verification:
    """Count the output bytes that differ between two runs of the same N >= 1 examples."""
    pair = [np.ascontiguousarray(each.reshape(len(ours), -1)) for each in (ours, theirs)]
    first, second = (each.view(np.uint8) for each in pair)
    return Verification(
        samples=len(ours),
        bytes_compared=first.size,
        mismatches=int(np.count_nonzero(first != second)),
        max_difference=int(np.abs(pair[0].astype(np.int32) - pair[1]).max()),
    )


def compare_outputs(ours: Mapping[str, Values], theirs: Mapping[str, Values]) -> Verification:
    """Compare outputs of the same names, and sum up the differences."""
    each = {name: compare(values, theirs[name]) for name, values in ours.items()}
    found = list(each.values())
    return Verification(
        samples=found[0].samples,
        bytes_compared=sum(one.bytes_compared for one in found),
        mismatches=sum(one.mismatches for one in found),
        max_difference=max(one.max_difference for one in found),
        by_output={name: one.mismatches for name, one in each.items()} if len(each) > 1 else {},
    )


def tflm_run(model: bytes, inputs: Values | Sequence[Values]) -> Values:
    """Run a well-formed model of one output on TFLM, one example after another.

    Return int8 [N, ...]: outputs, N in place of their leading 1.
    """
    outputs = Tflm(model).outputs(inputs)
    if len(outputs) != 1:
        raise ModelError(
            f"one output is wanted here, but the model has {len(outputs)}; ask for all of them"
        )
    return outputs[0]


def tflm_arena(model: bytes) -> Arena:
    """Measure the arena TFLM uses for a well-formed model on this host."""
    return Tflm(model).arena()


class Tflm:
    """A well-formed model loaded into TFLM; loading takes longer than a run of most models."""

    def __init__(self, model: bytes) -> None:
        self._interpreter = tflm_interpreter(model)
        graph = File(model).root("Model").parts("Subgraphs", "SubGraph")[0]
        self._ends = graph.length("Inputs"), graph.length("Outputs")  # hidden by the wheel

    def arena(self) -> Arena:
        """Return the model's arena on this host."""
        with _captured_stderr() as captured:
            self._interpreter.print_allocations()
            report = captured()
        sizes = dict(re.findall(r"Arena allocation (head|tail) (\d+) bytes", report))
        return Arena(head=int(sizes["head"]), tail=int(sizes["tail"]))

    def outputs(self, inputs: Values | Sequence[Values]) -> tuple[Values, ...]:
        """Run the model example by example, and return its outputs in order."""
        interpreter, (sources, targets) = self._interpreter, self._ends

        def invoke(examples: Sequence[Values]) -> list[Values]:
            interpreter.reset()  # states, if any: each example starts with zeros
            for position, example in enumerate(examples):
                interpreter.set_input(example, position)
            interpreter.invoke()
            return [np.array(interpreter.get_output(position)) for position in range(targets)]

        details = [interpreter.get_input_details(position) for position in range(sources)]
        return _run_each(inputs, details, invoke)


def litert_outputs(model: bytes, inputs: Values | Sequence[Values]) -> tuple[Values, ...]:
    """Run a model on LiteRT's reference kernels, never on XNNPACK; return its outputs in order."""
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
    sources, targets = interpreter.get_input_details(), interpreter.get_output_details()

    def invoke(examples: Sequence[Values]) -> list[Values]:
        for source, example in zip(sources, examples, strict=True):
            interpreter.set_tensor(source["index"], example)
        interpreter.invoke()
        return [np.array(interpreter.get_tensor(target["index"])) for target in targets]

    return _run_each(inputs, sources, invoke)


def _run_each(
    inputs: Values | Sequence[Values],
    sources: Sequence[Mapping[str, Any]],
    invoke: Callable[[Sequence[Values]], list[Values]],
) -> tuple[Values, ...]:
    """Run examples one by one on a runtime whose inputs have the shapes and types of `sources`."""
    given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    if len(given) != len(sources):
        raise ModelError(
            f"a model must be given each of its {len(sources)} inputs, but got {len(given)}; "
            "pass them in the model's order"
        )
    shapes = [tuple(source["shape"]) for source in sources]
    for values, source, shape in zip(given, sources, shapes, strict=True):
        wanted = shape[1:] if shape[0] == 1 else shape
        if source["dtype"] not in (np.int8, np.int16):
            raise ModelError(
                f"a model must take int8 or int16, but this one takes {np.dtype(source['dtype'])}; "
                "convert it with int8 input and output"
            )
        kind = np.dtype(source["dtype"])
        if values.dtype != kind or values.shape[1:] != wanted or not len(values) > 0:
            raise ModelError(
                f"inputs must be {kind} [N, {', '.join(map(str, wanted))}] with N >= 1, but got "
                f"{values.dtype} {list(values.shape)}; quantise and batch them first"
            )
    runs = [
        invoke([example.reshape(shape) for example, shape in zip(examples, shapes, strict=True)])
        for examples in zip(*given, strict=True)
    ]
    stacked = (np.stack(each) for each in zip(*runs, strict=True))
    return tuple(each[:, 0] if each.ndim > 2 and each.shape[1] == 1 else each for each in stacked)


def tflm_interpreter(model: bytes) -> Any:
    """Load a model into TFLM, with a larger arena as long as it is too small."""
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
    """Call `load`; turn a refusal into an error with the runtime's message."""
    with _captured_stderr() as captured:
        try:
            return load()
        except _REFUSALS as error:
            message = " ".join((captured() or str(error)).split())[:_LONGEST_QUOTE]
            raise ExportError(
                f"{runtime} must be able to load the model, but it says: {message}; "
                "use operators and types it has"
            ) from error


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Redirect the process's stderr, to which C++ writes, to a file; one thread at a time."""
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
