"""Compare what the runtimes of a file answer: TFLM, LiteRT and integer execution."""

from micronas.export.apart import patience, run_apart
from micronas.export.verify import compare
from micronas.graph import integer
from micronas.graph.kernels.codes import Values
from micronas.tflite.reader import read


def compare_runtimes(data: bytes, inputs: Values) -> dict[str, int]:
    """Return how far the outputs of the runtimes differ, and the arena that TFLM reports.

    TFLM and LiteRT run in a process of their own, so that a fault of theirs is an error.

    Parameters
    ----------
    data
        A ``.tflite`` file.
    inputs
        int8 [N, ...].
    """
    graph = read(data)
    ours = integer.run(graph, inputs)
    tflm, arena, litert = run_apart(data, inputs, seconds=patience(graph, len(inputs)))
    checked = compare(ours, tflm)
    other = compare(litert, tflm)
    return {
        "samples": checked.samples,
        "bytes_compared": checked.bytes_compared,
        "tflm_mismatches": checked.mismatches,
        "max_difference": checked.max_difference,
        "litert_mismatches": other.mismatches,
        "litert_max_difference": other.max_difference,
        "host_arena_head_bytes": arena.head,
        "host_arena_bytes": arena.total,
    }
