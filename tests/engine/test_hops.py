"""Streaming networks in C: a few frames a call, the bytes of the whole recording."""

from pathlib import Path

import numpy as np
import pytest

from micronas.engine.hop_writer import generate_hops
from micronas.engine.hops import PROGRESS, Hops
from micronas.errors import ConfigError
from micronas.graph.frames import FrameByFrame
from micronas.graph.ir import Graph
from micronas.hardware.targets import MICRONAS
from micronas.space.space import Space
from testing.engine import build_hops, hops_on_core, hops_on_host
from testing.graphs import ds_cnn, quantize_randomly
from testing.m4_cycles import cost_of
from testing.streaming import over_the_whole, random_recording, random_streaming
from tests.cases import first


def recorded(graph: Graph, hop: int, seed: int) -> np.ndarray:
    """Return whole hops of frames, a few of them behind the first scores."""
    heard = FrameByFrame(graph)
    hops = (heard.frames + 3 * max(heard.stride, hop)) // hop + 1
    return random_recording(graph, hops * hop, seed)


@first(("seed", "hop"), [(0, 1), (5, 6), (6, 7), (9, 10), (16, 4)], 2)
def test_hop_by_hop_gives_the_bytes_of_the_whole_recording(
    seed: int, hop: int, tmp_path: Path
) -> None:
    graph = random_streaming(seed)
    frames = recorded(graph, hop, seed)
    assert hops_on_host(graph, frames, hop, tmp_path).outputs == (
        over_the_whole(graph, frames).tobytes()
    )


@pytest.mark.long
@pytest.mark.parametrize(("seed", "hop"), [(1, 2), (17, 5)])
def test_on_a_core_too(seed: int, hop: int, tmp_path: Path) -> None:
    """What a call takes is predicted within 3 %, and its arena to the byte."""
    graph = random_streaming(seed)
    frames = recorded(graph, hop, seed)
    program = build_hops(graph, tmp_path, hop)
    ran = hops_on_core(program, frames)
    assert ran.outputs == over_the_whole(graph, frames).tobytes()
    taken = cost_of(program, "net_hop", [tmp_path / "examples"])
    expected = MICRONAS.hops(graph, hop)
    assert expected.mean.instructions == pytest.approx(taken.instructions, rel=0.03)
    header = (tmp_path / "net.h").read_text()
    assert f"#define NET_ARENA_BYTES {expected.plan.total}\n" in header
    assert min(each.cycles for each in expected.turns) <= expected.mean.cycles
    assert expected.mean.cycles <= expected.worst.cycles


def small(stride: int = 2) -> Graph:
    described = {
        "input": [20, 1, 3],
        "classes": 2,
        "streaming": True,
        "stem": {"width": 4, "kernel": [3, 1], "stride": [stride, 1]},
        "blocks": [{"type": "separable", "kernel": [5, 1]}],
    }
    return Space.model_validate(described).graph()


def test_bands_hold_what_a_pencil_says() -> None:
    """Of 20 frames the stem makes 9 rows, the kernel of five leaves 5, over which the mean goes.

    A stem of 3 frames at a stride of 2 has read all but two after an even number; the block keeps
    four rows of what it reads, which the sum reads too, and the mean four.
    """
    hops = Hops(quantize_randomly(small(), 1), 2)
    sizes = {name: buffer.size for name, buffer in hops.buffers.items() if name[0] != "/"}
    stays = {"input": (2 + 2) * 3, "stem": (4 + 1) * 4, "block1/add": (4 + 1) * 4}
    assert {name: sizes[name] for name in stays} == stays
    assert hops.buffers[PROGRESS].size == 4
    assert hops.state_bytes == 4 + sum(stays.values())
    assert sizes.keys() - stays.keys() == {"block1/depthwise", "block1/pointwise", "pool"}
    by_frame = Hops(quantize_randomly(small(), 1), 1)
    assert [by_frame.scores(turn) for turn in range(2)] == [1, 0]
    assert by_frame.buffers["input"].size == 3 * 3
    assert len(by_frame.turns[1]) < len(by_frame.turns[0])


def test_the_header_says_what_a_program_needs() -> None:
    files = generate_hops(quantize_randomly(small(), 1), "ears", hop=5)
    assert "#define EARS_HOP_FRAMES 5\n" in files.header
    assert "#define EARS_INPUT_BYTES 15\n" in files.header
    assert "#define EARS_STRIDE_FRAMES 2\n" in files.header
    assert "#define EARS_MOST_SCORES 3\n" in files.header
    assert "int ears_hop(const int8_t* in, int8_t* out, void* arena);" in files.header


def test_a_network_of_whole_windows_is_refused() -> None:
    with pytest.raises(ConfigError, match="streaming: true in its space"):
        generate_hops(quantize_randomly(ds_cnn(), 1), hop=1)


def test_a_call_of_more_than_its_numbers_hold_is_refused() -> None:
    """Its scores were a negative number."""
    with pytest.raises(ConfigError, match="one of 40,000 frames has 40,000; take fewer"):
        generate_hops(quantize_randomly(small(stride=1), 1), hop=40_000)
