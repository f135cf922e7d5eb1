"""Operators measured alone, one a file: rows of ``census_operators.csv`` as graphs.

A row's inputs are shapes such as ``1x8x8x16``, constants such as ``=16x3x3x8``, states such as
``~1x16``, or tables such as ``[0, 3, 1, 2]``; they are int8 where nothing else is said
(``~1x16:int16``). Its options are fields of `micronas.graph.ir.Op`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from micronas.graph.ir import Graph, Op, Tensor
from micronas.hardware.kernels import Work
from micronas.hardware.targets.cmsis_nn_work import work

_WORDS = ("padding",)
_FLAGS = ("transposed",)


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


def _tensor(name: str, text: str) -> Tensor:
    if text.startswith("["):
        table = np.array(json.loads(text), np.int32)
        return Tensor(name, table.shape, "int32", constant=True, data=table)
    shape, _, dtype = text.lstrip("=~").partition(":")
    return Tensor(
        name,
        _shape(shape),
        dtype or "int8",  # type: ignore[arg-type]
        constant=text.startswith("="),
        variable=text.startswith("~"),
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
