"""Write a model file as a C++ header, to be compiled into firmware."""

import re
from collections.abc import Iterable

from micronas.engine.c_text import comment, unique
from micronas.export.firmware.shared import arena_bytes
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN, HELIUM
from micronas.resources import filled
from micronas.tflite.reader import read

_BYTES_PER_LINE = 16


def to_c_header(model: bytes, *, name: str = "model") -> str:
    """Return a header with the model as a 16-byte aligned array ``kName`` and the arena it needs.

    With several inputs or outputs it has a constant for the position of each: ``kNameInputImage``.
    Raises ModelError if the file is damaged or holds operators that micronas lacks.
    """
    graph = read(model, wide=True)
    words = _words(name) or ["model"]
    starts = range(0, len(model), _BYTES_PER_LINE)
    rows = [model[start : start + _BYTES_PER_LINE] for start in starts]
    values = {
        "OPERATORS": " ".join(sorted({op.kind for op in graph.ops})),
        "ARENA": str(arena_bytes(graph, CMSIS_NN)),
        "HELIUM": str(arena_bytes(graph, HELIUM)),
        "INPUT": "".join(_scale(graph, role) for role in ("input", "output")),
        "GUARD": "_".join(words).upper(),
        "NAME": _camel(words),
        "INTERFACE": _interface(graph, _camel(words)),
        "SIZE": str(len(model)),
        "DATA": "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows),
    }
    return filled("model.h.in", values)


def constant_name(name: str) -> str:
    """Return the name of a model in `to_c_header`."""
    return f"k{_camel(_words(name) or ['model'])}"


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Return distinct names of tensors in C: ``head/boxes`` is HeadBoxes.

    Letters and digits are kept, words begin with a capital; equal names get a number.
    """
    return unique(names, lambda name: _camel(_words(name)) or "Tensor")


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Za-z0-9]+", name)


def _camel(words: Iterable[str]) -> str:
    return "".join(word[:1].upper() + word[1:] for word in words)


def _scale(graph: Graph, role: str) -> str:
    """Return the meaning of input or output codes, one line per tensor."""
    lines = []
    for name in graph.inputs if role == "input" else graph.outputs:
        quantization = graph.tensors[name].quantization
        if quantization is not None:
            step, zero = float(quantization.scale[0]), int(quantization.zero_point)
            lines.append(f"// {role} {comment(name)}: value = {step:.9g} * (code - {zero})\n")
    return "".join(lines)


def _interface(graph: Graph, name: str) -> str:
    """Return the positions of inputs and outputs, one per line, where there are several."""
    if len(graph.inputs) == len(graph.outputs) == 1:
        return ""
    ends = (graph.tensors[each] for each in (*graph.inputs, *graph.outputs))
    types = {each.name: f"{each.dtype} {list(each.shape)}" for each in ends}
    lines = [
        f"constexpr int k{name}{role}{word} = {position};  // {types[tensor]}"
        for role, tensors in (("Input", graph.inputs), ("Output", graph.outputs))
        for position, (tensor, word) in enumerate(identifiers(tensors).items())
    ]
    return "".join(f"{line}\n" for line in lines)
