"""Compare what the runtimes of a file answer: TFLM, LiteRT and integer execution."""

from micronas.export.verify import litert_run, tflm_arena, tflm_run, verify
from micronas.graph.kernels.codes import Values


def compare_runtimes(data: bytes, inputs: Values) -> dict[str, int]:
    """Return how far the outputs of the runtimes differ, and the arena that TFLM reports.

    Parameters
    ----------
    data
        A ``.tflite`` file.
    inputs
        int8 [N, ...].
    """
    checked, arena, count = verify(data, inputs), tflm_arena(data), len(inputs)
    litert = litert_run(data, inputs).reshape(count, -1).astype(int)
    tflm = tflm_run(data, inputs).reshape(count, -1)
    return {
        "samples": checked.samples,
        "bytes_compared": checked.bytes_compared,
        "tflm_mismatches": checked.mismatches,
        "max_difference": checked.max_difference,
        "litert_mismatches": int((litert != tflm).sum()),
        "litert_max_difference": int(abs(litert - tflm).max()),
        "host_arena_head_bytes": arena.head,
        "host_arena_bytes": arena.total,
    }
