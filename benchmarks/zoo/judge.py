"""Run an exported network on TFLM and measure it against the torch module.

    python -m benchmarks.zoo.judge NAME MODEL.tflite RESULT.json [--exact]

In a process of its own, because a damaged file can take TFLM's wheel with it. ``--exact`` compares
integer execution with TFLM too, byte for byte, on normal and on uniform inputs.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from benchmarks.zoo.entry import Entry
from benchmarks.zoo.networks import NETWORKS
from micronas.errors import MicronasError
from micronas.export.verify import tflm_interpreter, verify

_EXAMPLES, _FEW_NUMBERS, _MORE_EXAMPLES = 16, 1000, 256
"""Inputs of fewer numbers are more, since whether one value is clipped decides over decibels."""
_COMPARED = 4
"""Of them, byte for byte."""
_SEED = 7
_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
_LAYOUT = {
    "move": (
        *("TRANSPOSE", "GATHER", "GATHER_ND", "SLICE", "STRIDED_SLICE"),
        *("SPLIT", "SPLIT_V", "UNPACK"),
    ),
    "reshape": ("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    "pad": ("PAD", "PADV2"),
}
"""Operators that move values and compute nothing, by what torch calls them."""
_OWN = {
    "move": (
        *("permute", "transpose", "t", "movedim", "swapaxes", "channel_shuffle", "pixel_shuffle"),
        *("slice", "select", "narrow", "chunk", "split", "split_with_sizes", "unbind", "flip"),
    ),
    "reshape": ("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "unfold"),
    "pad": ("pad", "constant_pad_nd"),
}

Floats = np.ndarray[Any, np.dtype[np.float64]]


def judge(entry: Entry, model: bytes, *, exact: bool, examples: int = _EXAMPLES) -> dict[str, Any]:
    """Return what the table has on a file, as JSON values.

    `examples` is how many inputs the decibels are of, unless inputs are small.
    """
    content = schema.ModelT.InitFromPackedBuf(model, 0)
    found: dict[str, Any] = {"bytes": len(model), **_operators(entry, content)}
    is_small = max(map(math.prod, entry.shapes)) < _FEW_NUMBERS
    count = _MORE_EXAMPLES if is_small else examples
    module, inputs = entry.module(), entry.inputs(count, seed=_SEED)
    with torch.no_grad():
        answers = module(*inputs)
    wanted = [each.double().numpy() for each in tree_leaves(answers)]
    given = [each.numpy() for each in inputs]
    found |= _measured(model, given, wanted)
    if (whole := _with_weights_inside(content, model)) is not None:
        found["as_written"] = {key: found.pop(key, None) for key in ("runs", "sqnr_db", "refusal")}
        found |= _measured(whole, given, wanted)
    if exact and found["runs"]:
        found["differing_bytes"], found["compared_bytes"] = _differing(model, given)
    return found


def _operators(entry: Entry, content: Any) -> dict[str, Any]:
    graph = content.subgraphs[0]
    codes = [max(each.builtinCode, each.deprecatedBuiltinCode) for each in content.operatorCodes]
    kinds = Counter(_OPERATORS[codes[op.opcodeIndex]] for op in graph.operators)
    tables = sum(
        _OPERATORS[codes[op.opcodeIndex]] == "GATHER" and _is_filled(content, op.inputs[0])
        for op in graph.operators
    )
    floats = sum(
        any(
            graph.tensors[index].type == schema.TensorType.FLOAT32
            for index in (*op.inputs, *op.outputs)
            if index >= 0
        )
        for op in graph.operators
    )
    exported = torch.export.export(entry.module(), entry.inputs(1, seed=_SEED), strict=False)
    torch_ops: Counter[str] = Counter()
    for node in exported.graph.nodes:
        if node.op == "call_function" and "." in str(node.target) and not _is_idle(node):
            results = node.meta["val"]
            torch_ops[str(node.target).split(".")[1]] += (
                len(results) if isinstance(results, list | tuple) else 1
            )
    moving = kinds - Counter(GATHER=tables)
    layout = {
        name: max(
            0, sum(moving[kind] for kind in listed) - sum(torch_ops[own] for own in _OWN[name])
        )
        for name, listed in _LAYOUT.items()
    }
    return {
        "operators": sum(kinds.values()),
        "kinds": dict(sorted(kinds.items())),
        "layout": layout,
        "float_operators": floats,
    }


def _is_filled(content: Any, index: int) -> bool:
    """Whether a tensor is constant: a GATHER from it looks a function up and moves nothing."""
    data = content.buffers[content.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0


def _is_idle(node: Any) -> bool:
    """Whether a slice takes everything, as torch records ``x[:, 1]`` with one."""
    is_slice = str(node.target).startswith("aten.slice.")
    return is_slice and node.args[0].meta["val"].shape == node.meta["val"].shape


def _with_weights_inside(content: Any, model: bytes) -> bytes | None:
    """Move constants that lie behind the flatbuffer, which TFLM ignores, into it."""
    outside = [each for each in content.buffers if each.offset > 1]
    if not outside:
        return None
    for each in outside:
        each.data = np.frombuffer(model, np.uint8, each.size, each.offset)
        each.offset = each.size = 0
    builder = flatbuffers.Builder(len(model))
    builder.Finish(content.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _measured(model: bytes, given: Sequence[Floats], wanted: Sequence[Floats]) -> dict[str, Any]:
    try:
        outputs = _run(model, given)
    except (MicronasError, RuntimeError, ValueError) as error:
        return {"runs": False, "refusal": " ".join(str(error).split())[:300], "sqnr_db": None}
    return {"runs": True, "sqnr_db": round(min(_best(each, outputs) for each in wanted), 2)}


def _run(model: bytes, given: Sequence[Floats]) -> list[Floats]:
    """Outputs [N, ...] of TFLM, as the numbers they stand for."""
    interpreter = tflm_interpreter(model)
    graph = schema.Model.GetRootAs(model, 0).Subgraphs(0)
    sources = [interpreter.get_input_details(each) for each in range(graph.InputsLength())]
    targets = [interpreter.get_output_details(each) for each in range(graph.OutputsLength())]
    matched = _matched(given, [math.prod(source["shape"]) for source in sources])
    runs = []
    for example in range(len(given[0])):
        for position, source in enumerate(sources):
            values = _arranged(matched[position][example], tuple(source["shape"]))
            interpreter.set_input(_codes(values, source), position)
        interpreter.invoke()
        runs.append(
            [_real(np.array(interpreter.get_output(n)), each) for n, each in enumerate(targets)]
        )
    return [np.stack(each) for each in zip(*runs, strict=True)]


def _matched(given: Sequence[Floats], sizes: Sequence[int]) -> list[Floats]:
    """Return the input of each size of a file's, in the module's order where sizes are equal."""
    left, matched = [*given], []
    for size in sizes:
        places = [place for place, each in enumerate(left) if each[0].size == size]
        if not places:
            raise ValueError(f"no input of the module has the {size} values of one of the file")
        matched.append(left.pop(places[0]))
    return matched


def _arranged(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Order one example as a file's input has it: as torch does, or with channels last."""
    for each in (values, np.moveaxis(values, 0, -1)):
        if [size for size in each.shape if size > 1] == [size for size in shape if size > 1]:
            return each.reshape(shape)
    raise ValueError(f"an input of shape {shape} does not hold {values.shape}")


def _codes(values: Floats, source: dict[str, Any]) -> Any:
    scale, zero_point = _scale(source)
    if source["dtype"] == np.float32:
        return values.astype(np.float32)
    limits = np.iinfo(source["dtype"])
    return np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(
        source["dtype"]
    )


def _real(values: Any, target: dict[str, Any]) -> Floats:
    scale, zero_point = _scale(target)
    if target["dtype"] == np.float32:
        return np.asarray(values, np.float64)
    return (values.astype(np.float64) - zero_point) * scale


def _scale(details: dict[str, Any]) -> tuple[float, int]:
    quantization = details["quantization_parameters"]
    if len(quantization["scales"]) == 0:
        return 1.0, 0
    return float(quantization["scales"][0]), int(quantization["zero_points"][0])


def _best(wanted: Floats, outputs: Sequence[Floats]) -> float:
    """SQNR in dB against the output of this size that comes nearest, in either order of axes."""
    found = []
    for each in outputs:
        if each[0].size != wanted[0].size:
            continue
        found.append(_decibels(wanted, each.reshape(wanted.shape)))
        if wanted.ndim > 1:
            last = np.moveaxis(wanted, 1, -1)
            order = np.moveaxis(each.reshape(last.shape), -1, 1)
            found.append(_decibels(wanted, order))
    if not found:
        raise ValueError(f"no output of the file has the {wanted[0].size} values of one wanted")
    return max(found)


def _decibels(wanted: Floats, given: Floats) -> float:
    noise = float(((wanted - given) ** 2).sum())
    return 10 * math.log10(float((wanted.astype(np.float64) ** 2).sum()) / max(noise, 1e-30))


def _differing(model: bytes, given: Sequence[Floats]) -> tuple[int, int]:
    """Bytes in which integer execution and TFLM differ, and bytes compared."""
    from micronas.tflite.reader import read

    graph, random = read(model), np.random.default_rng(_SEED)
    normal, uniform = {}, {}
    tensors = [graph.tensors[name] for name in graph.inputs]
    matched = _matched(given, [tensor.elements for tensor in tensors])
    for name, tensor, values in zip(graph.inputs, tensors, matched, strict=True):
        assert tensor.quantization is not None
        source = {
            "dtype": np.int8,
            "quantization_parameters": {
                "scales": tensor.quantization.scale,
                "zero_points": [tensor.quantization.zero_point],
            },
        }
        codes = [_codes(_arranged(example, tensor.shape), source) for example in values[:_COMPARED]]
        normal[name] = np.concatenate(codes)
        uniform[name] = random.integers(-128, 128, (2, *tensor.shape[1:])).astype(np.int8)
    checked = [verify(model, inputs) for inputs in (normal, uniform)]
    return sum(each.mismatches for each in checked), sum(each.bytes_compared for each in checked)


def main(name: str, model: str, result: str, *flags: str) -> None:
    found = judge(NETWORKS[name], Path(model).read_bytes(), exact="--exact" in flags)
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
