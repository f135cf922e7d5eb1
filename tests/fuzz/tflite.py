"""Valid flatbuffers that lie, given to the commands that read them; see `tests.fuzz._harness`.

The file's tree of objects is changed and packed again, so that every offset is right and what
lies is what they lead to. Where TFLM runs a file that micronas takes, their bits must agree.
"""

import copy
import os
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import ai_edge_litert.schema_py_generated as schema
import numpy as np

from micronas.graph.ir import Kind
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph, random_op_graph
from testing.networks import random_network
from tests.command import here as command
from tests.fuzz._harness import judge, rounds
from tests.lies import packed

_NUMBERS = (
    *(0, 1, 2, 3, -1, -2, 4, 7, 127, 128, 255, 256, 65_535, 65_536),
    *(2**26, 2**31 - 1, -(2**31)),
)
_SCALES = (0.0, -1.0, 1e-45, 1e-38, 1e-30, 1e-8, 0.5, 1.0, 256.0, 1e8, 1e30, 3e38, np.inf, np.nan)
_READS = (
    "profile net.tflite --board all --json",
    "profile net.tflite",
    "boards net.tflite --json",
    "export net.tflite --format c --out out",
    "export net.tflite --format onnx --out out",
    "export net.tflite --format engine --out out",
    "export net.tflite --format project --engine micronas --arena 2KB --out out",
    "export net.tflite --format tflite --out out",
    "verify net.tflite --samples 2",
    "verify net.tflite --samples 1 --layers",
)


def run(seconds: float, seed: int) -> None:
    """Lie until the time is over."""
    rounds(seconds, seed, _case)


def _case(source: random.Random) -> str:
    tree = schema.ModelT.InitFromPackedBuf(_network(source))
    lies = [source.choice(_LIES) for _ in range(source.choice((1, 1, 2, 3)))]
    what = ", ".join(lie.__name__ for lie in lies)
    try:
        for lie in lies:
            lie(tree, source)
        model = packed(tree)
    except (TypeError, ValueError, OverflowError, LookupError, AttributeError, struct.error):
        return f"{what}: no file"  # a value that its field has no room for, or a part that is gone
    return _read(model, source.choice(_READS), what)


def _network(source: random.Random) -> bytes:
    seed = source.randrange(2**31)
    kind = source.randrange(3)
    if kind == 0:
        return to_flatbuffer(random_int8_graph(seed))
    if kind == 1:
        return to_flatbuffer(random_network(seed))
    return to_flatbuffer(random_op_graph(source.choice(get_args(Kind)), seed))


def _read(model: bytes, words: str, what: str) -> str:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            Path("net.tflite").write_bytes(model)
            ended = command(words)
            what = f"{what}: {words}"
            try:
                judge(ended, what)
                # a file that both take must give the same bits; 1 says that it does not
                assert ended.code != 1, (what, ended)
                assert {path.name for path in Path.cwd().iterdir()} <= {"net.tflite", "out"}, what
            except AssertionError:
                _keep(model)
                raise
        finally:
            os.chdir(before)
    return what


def _keep(model: bytes) -> None:
    """Leave a file that fails where it can be looked at."""
    with tempfile.NamedTemporaryFile(prefix="lie-", suffix=".tflite", delete=False) as file:
        file.write(model)
    print(f"kept as {file.name}")


def _tensor(tree: Any, source: random.Random) -> Any:
    return source.choice(tree.subgraphs[0].tensors)


def _operator(tree: Any, source: random.Random) -> Any:
    operators = tree.subgraphs[0].operators
    return source.choice(operators) if operators else schema.OperatorT()


def _listed(vector: Any) -> list[int]:
    return [] if vector is None else [int(each) for each in vector]


def _near(value: int, source: random.Random) -> int:
    return source.choice((value - 1, value + 1, 2 * value, -value, *_NUMBERS))


def shape(tree: Any, source: random.Random) -> None:
    tensor = _tensor(tree, source)
    sizes = _listed(tensor.shape)
    if source.random() < 0.3:
        source.choice((sizes.clear, sizes.reverse, lambda: sizes.append(1)))()
    elif sizes:
        place = source.randrange(len(sizes))
        sizes[place] = _near(sizes[place], source)
    tensor.shape = sizes


def element_type(tree: Any, source: random.Random) -> None:
    _tensor(tree, source).type = source.randrange(-1, 20)


def buffer_number(tree: Any, source: random.Random) -> None:
    _tensor(tree, source).buffer = source.choice((0, source.randrange(len(tree.buffers)), 9999))


def buffer_data(tree: Any, source: random.Random) -> None:
    buffer = source.choice(tree.buffers)
    length = 0 if buffer.data is None else len(buffer.data)
    size = source.choice((0, 1, max(0, length - 1), length + 1, 4 * length, 4096))
    buffer.data = np.frombuffer(source.randbytes(size), np.uint8)


def table_values(tree: Any, source: random.Random) -> None:
    """Amounts of padding, axes, shapes: constants that say what is computed."""
    tables = [
        tree.buffers[tensor.buffer]
        for tensor in tree.subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT32 and tree.buffers[tensor.buffer].data is not None
    ]
    if tables:
        table = source.choice(tables)
        values = np.frombuffer(np.array(table.data, np.uint8).tobytes(), np.int32).copy()
        if len(values):
            place = source.randrange(len(values))
            values[place] = np.int64(_near(int(values[place]), source)).astype(np.int32)
            table.data = np.frombuffer(values.tobytes(), np.uint8)


def scales(tree: Any, source: random.Random) -> None:
    quantization = _tensor(tree, source).quantization
    if quantization is None or quantization.scale is None:
        return
    given = np.array(quantization.scale, np.float32)
    if len(given) and source.random() < 0.8:
        exponent = 10.0 ** source.uniform(-40, 38)
        given[source.randrange(len(given)) :] = source.choice((*_SCALES, exponent, exponent))
    else:
        given = np.resize(given, source.choice((0, 1, 2, len(given) + 1)))
    quantization.scale = given


def zero_points(tree: Any, source: random.Random) -> None:
    quantization = _tensor(tree, source).quantization
    if quantization is not None and quantization.zeroPoint is not None:
        size = source.choice((0, 1, len(quantization.zeroPoint), len(quantization.zeroPoint) + 1))
        value = source.choice((*_NUMBERS, 2**40))
        quantization.zeroPoint = np.full(size, value, np.int64)


def axis_of_scales(tree: Any, source: random.Random) -> None:
    quantization = _tensor(tree, source).quantization
    if quantization is not None:
        quantization.quantizedDimension = source.choice(_NUMBERS)


def name(tree: Any, source: random.Random) -> None:
    names = [None, "", "x" * 70_000, "\n\x1b[31m", "../../x", "same", "same_1", "\u202e"]
    for tensor in tree.subgraphs[0].tensors:
        if source.random() < 0.5:
            tensor.name = source.choice(names)


def marks(tree: Any, source: random.Random) -> None:
    tensor = _tensor(tree, source)
    tensor.isVariable = source.random() < 0.5
    if source.random() < 0.5:
        tensor.sparsity = schema.SparsityParametersT()


def operands(tree: Any, source: random.Random) -> None:
    operator = _operator(tree, source)
    field = source.choice(("inputs", "outputs"))
    given = _listed(getattr(operator, field))
    most = len(tree.subgraphs[0].tensors)
    change = source.randrange(4)
    if change == 0 or not given:
        given.append(source.randrange(-1, most + 1))
    elif change == 1:
        given.pop(source.randrange(len(given)))
    elif change == 2:
        given[source.randrange(len(given))] = source.choice((source.randrange(most), *_NUMBERS))
    else:
        given *= source.choice((2, 40))
    setattr(operator, field, given)


def order(tree: Any, source: random.Random) -> None:
    source.shuffle(tree.subgraphs[0].operators)


def repeat(tree: Any, source: random.Random) -> None:
    part = tree.subgraphs[0]
    listed = source.choice((part.operators, part.tensors, tree.buffers, tree.operatorCodes))
    if listed:
        listed += [copy.copy(source.choice(listed))] * source.choice((1, 10, 500))


def ends(tree: Any, source: random.Random) -> None:
    part = tree.subgraphs[0]
    field = source.choice(("inputs", "outputs"))
    most = len(part.tensors)
    count = source.choice((0, 1, 2, 100))
    setattr(part, field, [source.choice((source.randrange(most), -1, most)) for _ in range(count)])


def code(tree: Any, source: random.Random) -> None:
    entry = source.choice(tree.operatorCodes)
    entry.builtinCode = entry.deprecatedBuiltinCode = source.randrange(-1, 127)
    entry.version = source.choice(_NUMBERS)
    entry.customCode = source.choice((None, "x" * 9999, "\n"))


def code_number(tree: Any, source: random.Random) -> None:
    _operator(tree, source).opcodeIndex = source.choice((0, len(tree.operatorCodes), 2**31 - 1))


def option(tree: Any, source: random.Random) -> None:
    options = _operator(tree, source).builtinOptions
    fields = [] if options is None else [*vars(options)]
    if fields:
        field = source.choice(fields)
        setattr(options, field, source.choice((*range(8), *_NUMBERS, 0.5, [1, 2], [])))


def other_options(tree: Any, source: random.Random) -> None:
    operator = _operator(tree, source)
    if source.random() < 0.3:
        operator.builtinOptions = None
    operator.builtinOptionsType = source.randrange(0, 120)


def metadata(tree: Any, source: random.Random) -> None:
    entry = schema.MetadataT()
    entry.name, entry.buffer = "micronas", source.choice((0, len(tree.buffers), 2**31))
    if source.random() < 0.7:
        texts = (b"{}", b"[" * 99_999, b'{"version": 1, "labels": [[]], "input": 3}', b"\xff", b"")
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(source.choice(texts), np.uint8)
        tree.buffers.append(buffer)
        entry.buffer = len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or ()), entry]


def subgraphs(tree: Any, source: random.Random) -> None:
    tree.subgraphs *= source.choice((0, 2))
    tree.subgraphs = tree.subgraphs or [schema.SubGraphT()]


_LIES: tuple[Callable[[Any, random.Random], None], ...] = (
    *(shape, shape, element_type, buffer_number, buffer_data, table_values, table_values),
    *(scales, scales, scales, zero_points, axis_of_scales, name, marks, operands, operands, order),
    *(repeat, ends, code, code_number, option, option, other_options, metadata, subgraphs),
)
