"""Options of operators in a file: the schema has a table for each kind."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args

import ai_edge_litert.schema_py_generated as schema

from micronas.errors import ModelError
from micronas.graph.ir import Activation, Kind, Op, Padding
from micronas.graph.operators import OPERATORS
from micronas.graph.operators.row import Field, Option
from micronas.tflite.parts import Part

_ACTIVATIONS: Mapping[int, Activation] = {
    getattr(schema.ActivationFunctionType, name): name for name in get_args(Activation)
}
_PADDINGS: Mapping[int, Padding] = {
    getattr(schema.Padding, name): name for name in get_args(Padding)
}
_INFERRED: tuple[Option, ...] = ("keep_dims", "new_shape")
"""Options that follow from the shapes of a graph."""
_DEFAULTS: Mapping[str, Any] = {field.name: field.default for field in fields(Op)}


def read_options(
    source: Part, kind: Kind, shapes: Sequence[tuple[int, ...]], where: str
) -> dict[str, Any]:
    """Return an operator's options as fields of `Op`, given the shapes of its output and inputs.

    Raises ModelError if a graph cannot express them.
    """
    row = OPERATORS[kind]
    stored = [option for option in row.stored if option not in _INFERRED]
    if row.options is None or not stored:
        return {}
    options = source.part("BuiltinOptions", row.options)
    expected = getattr(schema.BuiltinOptions, row.options)
    if options is None or source["BuiltinOptionsType"] != expected:
        raise ValueError("options")
    found: dict[str, Any] = {}
    for option in stored:
        found |= _option(options, option, shapes, where)
    return found


def _option(
    options: Part, option: Option | Field, shapes: Sequence[tuple[int, ...]], where: str
) -> dict[str, Any]:
    """Return the fields of `Op` that one option gives."""
    if isinstance(option, Field):
        default = _DEFAULTS[option.name]
        values = [options[name] for name in option.options]
        if not isinstance(default, tuple):
            return {option.name: type(default)(values[0])}
        kept = (type(one)(value) for one, value in zip(default, values, strict=True))
        return {option.name: tuple(kept)}
    match option:
        case "sweep":
            stride = (options["StrideH"], options["StrideW"])
            return {"padding": _PADDINGS[options["Padding"]], "stride": stride}
        case "activation":
            activation = options["FusedActivationFunction"]
            _require(activation in _ACTIVATIONS, "activation", activation, where)
            return {"activation": _ACTIVATIONS[activation]}
        case "axis":
            axis, rank = options["Axis"], len(shapes[1]) if shapes[1:] else 0
            return {"axis": axis + rank if axis < 0 else axis}
        case "multiplier":  # TFLM computes with it, whatever the shapes
            multiplier, (_, source, weights, *_) = options["DepthMultiplier"], shapes
            agrees = multiplier * source[-1] == weights[-1]
            _require(agrees, "depth multiplier", multiplier, where)
            return {}
        case "unclamped":
            activation = options["FusedActivationFunction"]
            _require(activation == 0, "activation", activation, where)
            return {}
        case "beta":
            _require(options["Beta"] == 1.0, "beta", options["Beta"], where)
            return {}
        case "plain_gather":
            _require(options["BatchDims"] == 0, "batch_dims", options["BatchDims"], where)
            return {}
        case "recurrence":
            function = options["FusedActivationFunction"]
            _require(function == schema.ActivationFunctionType.TANH, "activation", function, where)
            others = (
                options["ProjClip"],
                options["TimeMajor"],
                options["DiagonalRecurrentTensors"],
            )
            _require(not any(others), "projection, time major or diagonal", others, where)
            return {"clip": float(options["CellClip"])}
        case "masks":
            others = (options["EllipsisMask"], options["NewAxisMask"], options["Offset"])
            _require(not any(others), "ellipsis, new axis or offset", others, where)
            masks = (options["BeginMask"], options["EndMask"], options["ShrinkAxisMask"])
            return {"masks": masks}
        case "format":
            _require(
                options["WeightsFormat"] == 0, "weights format", options["WeightsFormat"], where
            )
            return {}
        case "keep_dims" | "new_shape":  # as in _INFERRED
            return {}


def _require(holds: bool, option: str, value: object, where: str) -> None:
    if not holds:
        raise ModelError(
            f"a graph cannot express every {option}, and {where} has {value}; "
            "use NONE, RELU, RELU6 or RELU_N1_TO_1 as activation and defaults otherwise"
        )
