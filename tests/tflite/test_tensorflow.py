"""TensorFlow as a cross-check: its converter against our writer, its files against our reader.

Needs tensorflow, which the default suite does without:

    pip install '.[test]' 'tensorflow>=2.21'
    pytest tests/tflite/test_tensorflow.py -m tensorflow
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from micronas.export.verify import compare, tflm_run, verify
from micronas.graph.ir import Graph
from micronas.tflite.writer import to_flatbuffer
from testing.exactness import Exactness
from testing.export_networks import NETWORKS
from testing.foreign import measure
from testing.graphs import random_inputs, random_int8_graph
from testing.tensorflow_export import convert, with_snapped_scales

pytestmark = pytest.mark.tensorflow


def without_head(graph: Graph) -> Graph:
    """Cut a network off at its last map: its average over random codes hardly depends on them."""
    last = [op.kind for op in graph.ops].index("AVERAGE_POOL_2D")
    return replace(graph, ops=graph.ops[:last], outputs=graph.ops[last].inputs)


def varied_inputs(graph: Graph, count: int) -> npt.NDArray[np.int8]:
    """Return int8 [count, ...]: codes around a level and with a spread of each example's own."""
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    source = np.random.default_rng(0)
    level = source.uniform(-128, 127, (count, *(1 for _ in shape)))
    spread = source.uniform(0, 80, level.shape)
    codes = level + spread * source.standard_normal((count, *shape))
    return np.clip(np.rint(codes), -128, 127).astype(np.int8)


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_both_files_give_the_same_bytes(build: Callable[[], Graph], head: bool) -> None:
    graph = with_snapped_scales(build())
    if not head:
        graph = without_head(graph)
    ours, theirs = to_flatbuffer(graph), convert(graph)
    inputs = varied_inputs(graph, 100)
    outputs = tflm_run(ours, inputs)
    assert len({bytes(output) for output in outputs}) > (10 if head else 99)
    assert compare(outputs, tflm_run(theirs, inputs)).mismatches == 0
    assert verify(theirs, inputs).mismatches == 0
    assert len(ours) <= len(theirs)


@pytest.mark.parametrize("seed", range(10))
def test_both_files_of_random_networks_give_the_same_bytes(seed: int) -> None:
    graph = with_snapped_scales(random_int8_graph(seed))
    inputs = random_inputs(graph, 10)
    ours, theirs = to_flatbuffer(graph), convert(graph)
    assert compare(tflm_run(ours, inputs), tflm_run(theirs, inputs)).mismatches == 0


def test_twenty_keras_models_are_read_as_they_are() -> None:
    found = measure(20, seed=0)
    assert found.bytes > 0
    assert found == Exactness(20, found.bytes, worst_total=found.worst_total)
    assert found.worst_total <= 32
