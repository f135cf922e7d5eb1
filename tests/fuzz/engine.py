"""Networks in C by the engine's generator, drawn with odd scales, numbers and arenas.

Each is refused in one line, or compiled with sanitizers and run beside integer execution, whose
bytes it must give; see `tests.fuzz._harness` for the bounds.
"""

import random
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from micronas.errors import MicronasError
from micronas.graph.ir import Graph, Kind
from micronas.tflite.writer import to_flatbuffer
from testing.engine import examples, on_host, wanted
from testing.graphs import random_int8_graph, random_op_graph
from testing.interfaces import opened
from testing.networks import random_network
from testing.scales import with_any_scales
from tests.fuzz._harness import rounds

_KINDS = [kind for kind in get_args(Kind) if kind != "UNKNOWN"]


def run(seconds: float, seed: int) -> None:
    """Compile graphs until the time is over."""
    rounds(seconds, seed, _case)


def _case(source: random.Random) -> str:
    seed = source.randrange(2**31)
    make = source.choice((random_network, random_int8_graph, _one_operator, _one_operator))
    graph = make(seed)
    changes = [change for change in _CHANGES if source.random() < 0.3]
    for change in changes:
        graph = change(graph, source)
    names = [each.__name__ for each in (make, *changes)]
    return _compiled(graph, source, f"{', '.join(names)} of {seed}")


def _one_operator(seed: int) -> Graph:
    return random_op_graph(_KINDS[seed % len(_KINDS)], seed)


def _several_ends(graph: Graph, source: random.Random) -> Graph:
    return opened(graph, source.randrange(2**31))


def _odd_numbers(graph: Graph, source: random.Random) -> Graph:
    """Biases and weights at the ends of what they hold."""
    tensors = dict(graph.tensors)
    for name, tensor in graph.tensors.items():
        if tensor.data is None or tensor.dtype not in ("int8", "int32") or len(tensor.shape) == 0:
            continue
        if tensor.dtype == "int32" and tensor.quantization is None:
            continue  # shapes, axes, amounts
        ends = np.iinfo(tensor.data.dtype)
        value = source.choice((ends.min, ends.max, ends.max // 2, 0))
        if source.random() < 0.5:
            tensors[name] = replace(tensor, data=np.full_like(tensor.data, value))
    return replace(graph, tensors=tensors)


_CHANGES = (_several_ends, _odd_numbers, with_any_scales)


def _compiled(graph: Graph, source: random.Random, what: str) -> str:
    most = source.choice((None, None, 0, source.randrange(2**15)))
    what = f"{what}, most {most}"
    given = examples(graph, 3, seed=source.randrange(2**31))
    try:
        expected = wanted(graph, given)
    except MicronasError as error:
        return _refused(error, what)
    with tempfile.TemporaryDirectory() as name:
        try:
            in_arena = source.random() < 0.5
            ran = on_host(graph, given, Path(name), in_arena=in_arena, most=most)
            assert ran.outputs == expected, what
        except MicronasError as error:
            return _refused(error, what)
        except subprocess.CalledProcessError as error:
            _keep(graph)
            raise AssertionError(f"{what}: {error.stderr.decode()[-2000:]}") from error
        except AssertionError:
            _keep(graph)
            raise
    return what


def _refused(error: MicronasError, what: str) -> str:
    assert "\n" not in str(error), (what, error)
    assert str(error).isprintable(), (what, error)
    return f"{what}: refused"


def _keep(graph: Graph) -> None:
    """Leave a network that fails where it can be looked at."""
    with tempfile.NamedTemporaryFile(prefix="engine-", suffix=".tflite", delete=False) as file:
        file.write(to_flatbuffer(graph))
    print(f"kept as {file.name}")
