"""Verify every quantised .tflite file of other tools in a folder against TFLM.

    python -m benchmarks.files FOLDER

Prints a row for each result and list of operators: the number of files, bytes that differ of those
compared on random codes, files whose predicted arena is not TFLM's, or the reason why a file is not
run. Files of float32, and those that TFLM itself refuses, are counted only.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from micronas.errors import ExportError, MicronasError
from micronas.export.examples import random_inputs
from micronas.export.verify import tflm_interpreter, verify_and_measure
from micronas.hardware.targets.host import HOST
from micronas.text import table
from micronas.tflite.reader import read
from testing.usage import given


def main(folder: str) -> None:
    rows: dict[tuple[str, str], Counter[str]] = {}
    for path in sorted(Path(folder).rglob("*.tflite")):
        operators, result, found = verified(path.read_bytes())
        rows.setdefault((operators, result), Counter()).update(found, files=1)
    header = ["operators", "result", "files", "differ", "bytes", "other arenas"]
    keys = ("files", "differ", "bytes", "arenas")
    lines = [[*key, *(str(found[each]) for each in keys)] for key, found in sorted(rows.items())]
    print(table(header, lines))


def verified(model: bytes) -> tuple[str, str, dict[str, int]]:
    """Return the operators of a file, how it was run, and numbers of bytes."""
    try:
        kept = read(model, unknown="keep")
    except MicronasError as error:
        return "", _reason(error), {}
    kinds = sorted({op.name if op.kind == "UNKNOWN" else op.kind for op in kept.ops})
    operators = ", ".join(kinds)
    inner = [kept.tensors[name].dtype for op in kept.ops for name in op.outputs]
    if "float32" in inner[:-1]:
        return "", "float32", {}
    try:
        tflm_interpreter(model)
    except ExportError:
        return operators, "TFLM refuses it", {}
    try:
        graph: Any = read(model, wide=True)
    except MicronasError as error:
        return operators, _reason(error), {}
    check, arena = verify_and_measure(model, random_inputs(graph, 4, seed=0))
    plan = HOST.plan(graph)
    exact = (plan.head, plan.total) == (arena.head, arena.total)
    numbers = {"differ": check.mismatches, "bytes": check.bytes_compared, "arenas": int(not exact)}
    widths = {graph.tensors[name].dtype for name in graph.inputs}
    return operators, " and ".join(sorted(widths)), numbers


def _reason(error: MicronasError) -> str:
    """Return an error without the names of the file."""
    words = str(error).split("'")
    return " ".join("".join(words[::2]).split(";")[0].split())


if __name__ == "__main__":
    main(*given(__doc__, 1))
