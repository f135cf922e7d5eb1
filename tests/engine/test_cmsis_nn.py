"""Calls of CMSIS-NN: which there are, and by `make tflm` the bits on emulated cores."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from micronas.engine.cmsis_nn import makers
from micronas.engine.generate import generate
from micronas.errors import ConfigError
from micronas.export.firmware.board import CORTEX_M4, Emulated
from micronas.export.formats import export
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN, HELIUM
from micronas.hardware.targets.tflm import Tflm
from micronas.tflite.writer import to_flatbuffer
from testing.cmsis_nn import library
from testing.engine import build, examples, on_core, wanted
from testing.graphs import quantize_randomly, random_int8_graph, random_shapes
from testing.networks import random_network

CORTEX_M55 = replace(
    CORTEX_M4,
    machine="mps3-an547",
    core="Cortex-M55",
    flags="-mcpu=cortex-m55 -mthumb -mfloat-abi=hard",
    flash_bytes=2**19,
    ram_bytes=2**19,
)


def called(graph: Graph, target: Tflm = CMSIS_NN) -> set[str]:
    return set(
        re.findall(r"\barm_\w+(?=\()", generate(graph, makers=makers(target.scratch)).source)
    )


def test_operators_that_cmsis_nn_has_are_calls() -> None:
    graph = random_int8_graph(1, family="mobilenet")
    assert called(graph) >= {
        "arm_convolve_wrapper_s8",
        "arm_depthwise_conv_wrapper_s8",
        "arm_elementwise_add_s8",
    }
    assert not re.search(r"\barm_", generate(graph).source)


def test_weights_of_4_bits_keep_kernels_of_the_engine() -> None:
    graph = quantize_randomly(random_shapes(3, family="ds_cnn"), 3, filters="int4")
    assert called(graph) <= {"arm_avgpool_s8", "arm_softmax_s8"}


@pytest.mark.parametrize("seed", range(4))
def test_scratch_is_that_of_the_core(seed: int) -> None:
    """Largest map and what it becomes lie apart, beside what CMSIS-NN asks for."""
    graph = random_int8_graph(seed, family="ds_cnn")
    least = max(
        graph.tensors[op.inputs[0]].elements
        + graph.output_of(op).elements
        + sum(CMSIS_NN.scratch(graph, op))
        for op in graph.ops
        if op.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
    )
    own, dsp, helium = (
        generate(graph, **how).arena
        for how in ({}, *({"makers": makers(each.scratch)} for each in (CMSIS_NN, HELIUM)))
    )
    assert own < dsp < helium
    assert least <= dsp


def test_the_export_says_which_kernels_there_are(tmp_path: Path) -> None:
    data = to_flatbuffer(random_int8_graph(0, family="ds_cnn"))
    found = export(data, "engine", name="net", out=tmp_path / "c", kernels="cmsis_nn")
    assert "arm_convolve_wrapper_s8" in (tmp_path / "c/net.c").read_text()
    assert found["kernels"] == "cmsis_nn"
    with pytest.raises(ConfigError, match="micronas, but got 'helium'"):
        export(data, "engine", name="net", out=tmp_path / "d", kernels="helium")
    with pytest.raises(ConfigError, match="--arena is for --kernels micronas alone"):
        export(data, "engine", name="net", out=tmp_path / "d", kernels="cmsis_nn", arena=1000)
    with pytest.raises(ConfigError, match="the format is c; leave it out"):
        export(data, "c", name="net", out=tmp_path / "e.h", kernels="cmsis_nn")


@pytest.mark.tflm
@pytest.mark.parametrize(
    ("board", "target"),
    [(CORTEX_M4, CMSIS_NN), (CORTEX_M55, HELIUM)],
    ids=["Cortex-M4", "Cortex-M55 with Helium"],
)
def test_emulated_cores_give_the_bits_of_integer_execution(
    board: Emulated, target: Tflm, tmp_path: Path
) -> None:
    """CMSIS-NN is the one that the build of TFLM_SOURCE has downloaded."""
    source = Path(os.environ["TFLM_SOURCE"]) / "tensorflow/lite/micro/tools/make/downloads/cmsis_nn"
    archive = library(source, board, tmp_path)
    families = ("ds_cnn", "mobilenet")
    graphs = [random_int8_graph(seed, family=families[seed % 2]) for seed in range(4)]
    graphs += [random_network(seed) for seed in range(16)]
    for place, graph in enumerate(graphs):
        given, folder = examples(graph, 3), tmp_path / str(place)
        program = build(
            *(graph, folder, board),
            makers=makers(target.scratch),
            include=[f"{source}/Include"],
            libraries=[str(archive)],
        )
        assert on_core(program, given, graph, board).outputs == wanted(graph, given), place
