"""Verify files of others: integer execution and the predicted arena against TFLM's.

    python -m benchmarks.files FOLDER [FOLDER ...]

Every ``.tflite`` file below a folder is run on two inputs of random codes. A row has its outputs'
bytes compared and how many differ, and both heads of the arena; or the reason why it is not run
here, and whether TFLM runs it.
"""

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from micronas.errors import MicronasError
from micronas.export.verify import tflm_interpreter, verify_and_measure
from micronas.graph.ir import Graph
from micronas.hardware.targets import HOST, plan
from micronas.text import table
from micronas.tflite.reader import read

_HEAD = ("file", "inputs", "bytes", "differing", "arena head", "TFLM's", "why not")
_WIDEST = 200
_CODES = {"int8": (-128, 127), "int16": (-32768, 32767)}


def main(*folders: str) -> None:
    paths = sorted(path for folder in folders for path in Path(folder).rglob("*.tflite"))
    rows = [(path.name, *_row(path.read_bytes())) for path in paths]
    print(table([*_HEAD], [[str(each)[:_WIDEST] for each in row] for row in rows]))
    said = Counter(
        re.sub("'[^']*'", "one", str(row[-1]))
        or ("exact" if row[3] == 0 and row[4] == row[5] else "wrong")
        for row in rows
    )
    print("\n".join(f"{count} {why}" for why, count in said.most_common()))


def _row(model: bytes) -> tuple[object, ...]:
    try:
        graph = read(model)
        types = ", ".join(sorted({graph.tensors[name].dtype for name in graph.inputs}))
        found, arena = verify_and_measure(model, _inputs(graph))
    except MicronasError as error:
        return ("", "", "", "", "", f"{_runs(model)}; {' '.join(str(error).split())}")
    head = plan(graph, HOST).head
    return (types, found.bytes_compared, found.mismatches, head, arena.head, "")


def _inputs(graph: Graph) -> dict[str, np.ndarray]:
    """Two random examples of each input; an input of several rows is one example."""
    random = np.random.default_rng(0)
    return {
        name: random.integers(*_CODES[tensor.dtype], (2, *tensor.shape[1:]), endpoint=True).astype(
            tensor.dtype
        )
        for name, tensor in ((name, graph.tensors[name]) for name in graph.inputs)
    }


def _runs(model: bytes) -> str:
    try:
        interpreter = tflm_interpreter(model)
        interpreter.invoke()
    except (MicronasError, RuntimeError):
        return "TFLM refuses it"
    return "TFLM runs it"


if __name__ == "__main__":
    main(*sys.argv[1:])
