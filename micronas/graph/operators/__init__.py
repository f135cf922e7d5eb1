"""Operators of micronas, one module per family.

To add one, write its name and its `Operator` row in the family's module here, and its rule (shape,
scales, integer kernel) in that of `graph.kernels`; a new option is a field of `graph.ir.Op`. Where
the row has `moves` set, everything else follows from the integer kernel. Otherwise its float
execution goes to `train.operators` and its ONNX form to `export.onnx`, tables that `each_kind`
checks at import. A kernel of the engine (`engine.kernels`) and a price
(`hardware.targets.cmsis_nn_work`) can wait: without them the engine refuses the operator, and a
profile marks it as extrapolated. `testing.movement` or its neighbours draw random ones, which every
test of operators then runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, TypeVar, cast, get_args

from micronas.graph.operators import elements, maps, movement, rows, weighted
from micronas.graph.operators.row import Operator as Operator

Kind = Literal[
    weighted.WeightedKind, elements.ElementKind, maps.MapKind, movement.MovementKind, rows.RowKind
]
"""Operators that can be executed and exported, named as in TFLite except for two.

A function of one value without a kernel is POSITIONS, in TFLite QUANTIZE from codes to int32
positions, then TABLE, GATHER from a constant table of 256 codes.
"""
_Entry = TypeVar("_Entry")


def _registered(kind: str, row: Operator) -> Operator:
    words = (row.builtin or kind).split("_")
    name = "Add" + "".join(word if word[0].isdigit() else word.capitalize() for word in words)
    return replace(row, register=row.register or name)


_ROWS = {
    kind: _registered(kind, row)
    for family in (weighted, elements, maps, movement, rows)
    for kind, row in family.ROWS.items()
}
OPERATORS = cast("Mapping[Kind, Operator]", _ROWS)
FOREIGN = Operator(operands=None, scale="own", sign="any", version=0)
"""Row of a file's operators that a graph cannot express."""


def each_kind(
    room: str,
    table: Mapping[str, _Entry],
    kinds: Iterable[str] = OPERATORS,
    *,
    moved: _Entry | None = None,
) -> Mapping[Kind, _Entry]:
    """Return a room's table, checked to have an entry for each of `kinds` and no other.

    The entry `moved`, if given, serves all operators that only move values and have none. Raises
    LookupError if kinds are missing or too many; the error names them.
    """
    if moved is not None:
        moving = {kind for kind, row in OPERATORS.items() if row.moves}
        table = {**dict.fromkeys(moving.intersection(kinds), moved), **table}
    wrong = sorted(set(kinds) ^ table.keys())
    if wrong:
        raise LookupError(
            f"{room} must have an entry for every operator and no other, but that is not so for "
            f"{', '.join(wrong)}; add what is missing to its table"
        )
    return cast("Mapping[Kind, _Entry]", table)


each_kind("graph.operators", _ROWS, get_args(Kind))
WEIGHTED: tuple[Kind, ...] = tuple(kind for kind, row in OPERATORS.items() if row.weights)
"""Kinds that have weights."""
LEARNING: tuple[Kind, ...] = (
    *WEIGHTED,
    *(kind for kind, row in OPERATORS.items() if row.recurrent),
)
"""Kinds whose constants are trained."""
MAKES: tuple[Kind, ...] = tuple(kind for kind in WEIGHTED if not OPERATORS[kind].by_channel)
"""Kinds with weights whose output channels each depend on all input channels."""
