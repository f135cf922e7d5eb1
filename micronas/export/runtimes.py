"""Compare the outputs of a file on its runtimes: TFLM, LiteRT and integer execution."""

from typing import Any

from micronas.export.sandbox import patience, run_sandboxed
from micronas.export.verify import compare_outputs
from micronas.graph import integer
from micronas.graph.interface import Given, by_name
from micronas.graph.kernels.codes import Values
from micronas.tflite.reader import read


def compare_runtimes(data: bytes, inputs: Given[Values]) -> dict[str, Any]:
    """Return the differences of the runtimes' outputs, and the arena that TFLM reports.

    Inputs are int8 [N, ...]; of several a tuple, or a mapping by name. Differences of several
    outputs are summed up, and listed by output. LiteRT refuses some operators of TFLM, such as
    tables of functions: then ``litert_refusal`` is its message, and its differences are None. TFLM
    and LiteRT run in a process of their own, so that a crash of theirs is an error.
    """
    graph = read(data, wide=True)
    given = by_name(graph, inputs)
    ours, values = integer.run_outputs(graph, given), tuple(given.values())
    answers = run_sandboxed(data, values, seconds=patience(graph, len(values[0])))
    tflm = dict(zip(ours, answers.tflm, strict=True))
    checked, arena = compare_outputs(ours, tflm), answers.arena
    found: dict[str, Any] = {
        "samples": checked.samples,
        "bytes_compared": checked.bytes_compared,
        "tflm_mismatches": checked.mismatches,
        "max_difference": checked.max_difference,
        **_litert(answers.litert, tflm),
        "host_arena_head_bytes": arena.head,
        "host_arena_bytes": arena.total,
    }
    if checked.by_output:
        found["tflm_mismatches_by_output"] = dict(checked.by_output)
    return found


def _litert(answers: tuple[Values, ...] | str, tflm: dict[str, Values]) -> dict[str, Any]:
    """Compare LiteRT with TFLM; it refuses some files that devices run, such as those of LSTMs."""
    if isinstance(answers, str):
        nothing = dict.fromkeys(("litert_mismatches", "litert_max_difference"))
        return {**nothing, "litert_refusal": answers}
    theirs = compare_outputs(dict(zip(tflm, answers, strict=True)), tflm)
    found: dict[str, Any] = {
        "litert_mismatches": theirs.mismatches,
        "litert_max_difference": theirs.max_difference,
    }
    if theirs.by_output:
        found["litert_mismatches_by_output"] = dict(theirs.by_output)
    return found
