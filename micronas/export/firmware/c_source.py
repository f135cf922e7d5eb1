"""A model file as a C++ header, to be compiled into firmware."""

import re

from micronas._version import VERSION
from micronas.hardware.targets import plan
from micronas.resources import folder
from micronas.tflite.reader import read

_BYTES_PER_LINE = 16


def to_c_header(model: bytes, *, name: str = "model") -> str:
    """Return a header with the model as a 16-byte aligned array and the arena it needs.

    Parameters
    ----------
    model
        Contents of a ``.tflite`` file.
    name
        Becomes ``kName``; letters, digits and underscores are kept.

    Raises
    ------
    ModelError
        If the file is damaged or holds operators that micronas does not know.
    """
    graph = read(model)
    words = re.findall(r"[A-Za-z0-9]+", name) or ["model"]
    starts = range(0, len(model), _BYTES_PER_LINE)
    rows = [model[start : start + _BYTES_PER_LINE] for start in starts]
    values = {
        "VERSION": VERSION,
        "OPERATORS": " ".join(sorted({op.kind for op in graph.ops})),
        "ARENA": str(plan(graph).required),
        "GUARD": "_".join(words).upper(),
        "NAME": "".join(word[:1].upper() + word[1:] for word in words),
        "SIZE": str(len(model)),
        "DATA": "\n".join("    " + " ".join(f"0x{byte:02x}," for byte in row) for row in rows),
    }
    template = (folder("export") / "model.h.in").read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], template)
