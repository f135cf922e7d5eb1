"""Operators measured alone, one a file: rows of ``census_operators.csv`` as graphs.

A row's inputs are shapes such as ``1x8x8x16``, constants such as ``=16x3x3x8``, states such as
``~1x16``, or tables such as ``[0, 3, 1, 2]``; they are int8 where nothing else is said
(``~1x16:int16``). ``+16x8`` are weights of a linear layer with a scale for each output. Its options
are fields of `micronas.graph.ir.Op`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from micronas.graph.ir import Graph, Op, Quantization, Tensor
from micronas.graph.operators import OPERATORS
from micronas.hardware.kernels import Work
from micronas.hardware.targets.cmsis_nn_work import work

_WORDS = ("padding",)
_FLAGS = ("transposed",)
_FREE = ("kind", "name", "inputs", "outputs", "activation", "function")
"""Fields of an operator that are no options, or have no say in what it takes."""


@dataclass(frozen=True)
class LoneOperator:
    """A network of one operator, shapes only, and what it took on the core."""

    name: str
    graph: Graph
    instructions: float
    head: int
    """Bytes of the arena for activations and scratch memory."""
    tail: int
    """Bytes of the arena for what stays."""

    @classmethod
    def of(cls, row: Mapping[str, str]) -> "LoneOperator":
        """Read a row."""
        tensors = {
            f"input{place}": _tensor(f"input{place}", text)
            for place, text in enumerate(row["inputs"].split("; "))
        }
        out = _tensor("output", row["output"])
        fields = dict(option.split("=") for option in row["options"].split("; ") if option)
        op = Op(
            row["op"],  # type: ignore[arg-type]
            "output",
            tuple(tensors),
            ("output",),
            **{name: _value(name, text) for name, text in fields.items()},
        )
        kept = {name for name, each in tensors.items() if each.constant or each.variable}
        given = tuple(name for name in tensors if name not in kept)
        return cls(
            row["id"],
            Graph({**tensors, "output": out}, (op,), given, ("output",)),
            float(row["instructions"]),
            int(row["head"]),
            int(row["tail"]),
        )

    @cached_property
    def work(self) -> Work:
        found = work(self.graph, self.graph.ops[0])
        assert found is not None
        return found


def described(graph: Graph) -> dict[str, str]:
    """Return a network of one operator as columns of a row, without what it took."""
    (op,) = graph.ops
    plain = Op(op.kind, "", (), ())
    options = {
        field.name: getattr(op, field.name)
        for field in fields(op)
        if field.name not in _FREE
        and (field.name in _WORDS or getattr(op, field.name) != getattr(plain, field.name))
    }
    if op.kind != "UNKNOWN" and not OPERATORS[op.kind].windowed:
        del options["padding"]
    return {
        "op": op.kind,
        "inputs": "; ".join(_text(graph.tensors[name], op) for name in op.inputs),
        "output": _text(graph.output_of(op), op),
        "options": "; ".join(f"{name}={_said(value)}" for name, value in options.items()),
    }


def _text(tensor: Tensor, op: Op) -> str:
    is_bias = tensor.name in op.biases
    if tensor.dtype == "int32" and tensor.data is not None and not is_bias:
        return json.dumps(tensor.data.tolist())
    has_several = op.kind == "FULLY_CONNECTED" and tensor.per_channel and not is_bias
    constant = "+" if has_several else "="
    mark = "~" if tensor.variable else constant if tensor.constant else ""
    dtype = "" if tensor.dtype == "int8" or is_bias else f":{tensor.dtype}"
    return mark + "x".join(map(str, tensor.shape)) + dtype


def _said(value: Any) -> str:
    """The inverse of `_value`."""
    if isinstance(value, tuple):
        return "x".join(str(int(each)) for each in value)
    return str(int(value) if isinstance(value, bool) else value)


def _tensor(name: str, text: str) -> Tensor:
    if text.startswith("["):
        table = np.array(json.loads(text), np.int32)
        return Tensor(name, table.shape, "int32", constant=True, data=table)
    written, _, dtype = text.lstrip("=+~").partition(":")
    shape = _shape(written)
    scales = Quantization(np.ones(shape[0], np.float32), axis=0)
    return Tensor(
        name,
        shape,
        dtype or "int8",  # type: ignore[arg-type]
        constant=text.startswith(("=", "+")),
        variable=text.startswith("~"),
        quantization=scales if text.startswith("+") else None,
    )


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split("x"))


def _value(name: str, text: str) -> Any:
    if name in _WORDS:
        return text
    if name in _FLAGS:
        return tuple(flag == "1" for flag in text.split("x"))
    if "x" in text:
        return _shape(text)
    return float(text) if "." in text else int(text)
