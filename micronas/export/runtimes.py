"""Compare what the runtimes of a file answer: TFLM, LiteRT and integer execution."""

from typing import Any

from micronas.errors import ExportError
from micronas.export.verify import compare_outputs, litert_outputs, tflm_arena, tflm_outputs
from micronas.graph import integer
from micronas.graph.interface import Given, by_name
from micronas.graph.kernels.codes import Values
from micronas.tflite.reader import read


def compare_runtimes(data: bytes, inputs: Given[Values]) -> dict[str, Any]:
    """Return how far the outputs of the runtimes differ, and the arena that TFLM reports.

    Of several outputs the differences are summed up, and listed by output.

    Parameters
    ----------
    data
        A ``.tflite`` file.
    inputs
        int8 [N, ...]; of several inputs a tuple, or a mapping by name.
    """
    graph = read(data)
    given = by_name(graph, inputs)
    ours, values = integer.run_outputs(graph, given), tuple(given.values())
    tflm = dict(zip(ours, tflm_outputs(data, values), strict=True))
    checked, arena = compare_outputs(ours, tflm), tflm_arena(data)
    found: dict[str, Any] = {
        "samples": checked.samples,
        "bytes_compared": checked.bytes_compared,
        "tflm_mismatches": checked.mismatches,
        "max_difference": checked.max_difference,
        **_litert(data, values, tflm),
        "host_arena_head_bytes": arena.head,
        "host_arena_bytes": arena.total,
    }
    if checked.by_output:
        found["tflm_mismatches_by_output"] = dict(checked.by_output)
    return found


def _litert(data: bytes, values: tuple[Values, ...], tflm: dict[str, Values]) -> dict[str, Any]:
    """Compare LiteRT with TFLM; it refuses some files that devices run, such as those of LSTMs."""
    try:
        answers = litert_outputs(data, values)
    except ExportError as error:
        return {"litert_mismatches": None, "litert_refusal": str(error)}
    theirs = compare_outputs(dict(zip(tflm, answers, strict=True)), tflm)
    found: dict[str, Any] = {
        "litert_mismatches": theirs.mismatches,
        "litert_max_difference": theirs.max_difference,
    }
    if theirs.by_output:
        found["litert_mismatches_by_output"] = dict(theirs.by_output)
    return found
