"""Streaming networks: rows of a window are those of the recording, and of frame after frame."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError, DataError
from micronas.graph import integer
from micronas.graph.frames import FrameByFrame
from micronas.graph.streaming import Timing, check_streaming, recording, streams, timings
from micronas.space.space import Space
from testing.graphs import quantize_randomly
from testing.streaming import over_the_whole, random_recording, random_streaming

SPACE = Space.model_validate(
    {
        "input": [49, 1, 10],
        "classes": 12,
        "streaming": True,
        "stem": {"width": 16, "kernel": [3, 1], "stride": [2, 1]},
        "blocks": [
            {"type": "residual", "width": 24, "kernel": [5, 1], "stride": [2, 1]},
            {"type": "separable", "kernel": [5, 1]},
        ],
    }
)


@given(seed=st.integers(0, 10**6), hop=st.integers(1, 13), more=st.integers(0, 40))
def test_frame_by_frame_gives_the_bytes_of_the_whole_recording(
    seed: int, hop: int, more: int
) -> None:
    graph = random_streaming(seed)
    heard = FrameByFrame(graph)
    frames = random_recording(graph, heard.frames + more, seed)
    parts = [heard.push(frames[at : at + hop]) for at in range(0, len(frames), hop)]
    assert np.array_equal(np.concatenate(parts), over_the_whole(graph, frames))


@given(seed=st.integers(0, 10**6))
def test_a_window_gives_what_the_recording_gives_there(seed: int) -> None:
    graph = random_streaming(seed)
    window, stride = graph.tensors["input"].shape[1], FrameByFrame(graph).stride
    frames = random_recording(graph, window + 3 * stride, seed)
    windows = np.stack([frames[at * stride :][:window] for at in range(4)])
    whole = over_the_whole(graph, frames)
    assert np.array_equal(integer.run(graph, windows).reshape(4, *whole.shape[1:]), whole[:4])


def test_rows_come_and_are_added_when_a_pencil_says() -> None:
    """Kernels 3, 5 and 5 at strides 2, 4 and 4, then 5 at 4: 3 + 4*2 + 4*4 + 4*4 = 43 frames."""
    graph = SPACE.graph()
    found = timings(graph)
    assert found["stem"] == Timing(2, 3)
    assert found["block1/first"] == Timing(4, 11)
    assert found["block1/add"] == Timing(4, 27)
    assert found["block2/depthwise"] == Timing(4, 43)
    assert graph.tensors["block2/add"].shape == (1, 2, 1, 24)  # after 43 and 47 of 49 frames
    assert found[graph.outputs[0]] == Timing(4, 47)
    assert [Timing(4, 47).rows(frames) for frames in (46, 47, 50, 51)] == [0, 1, 1, 2]
    # a sum adds rows of the same time: those in the middle of a kernel of five wait for two more
    delays = [op for op in graph.ops if op.kind == "SLICE"]
    begins = [int(graph.constant_of(op).data[1]) for op in delays]  # type: ignore[index]
    assert begins == [3, 2]  # 4 + 8 frames at a stride of 4, and two rows


def test_after_a_reset_nothing_is_left_of_what_was_heard() -> None:
    graph = quantize_randomly(SPACE.graph(), 1)
    heard, frames = FrameByFrame(graph), random_recording(graph, 60, 1)
    first = heard.push(frames)
    heard.reset()
    assert np.array_equal(heard.push(frames), first)


def test_what_cannot_stream_is_refused_with_a_way_out() -> None:
    gate = {"type": "residual", "width": 8, "kernel": [3, 1], "squeeze": 4}
    with pytest.raises(ValueError, match="MUL 'block1/scale'; leave out gates"):
        Space.model_validate({**SPACE.model_dump(), "blocks": [gate]})
    long = {"type": "separable", "kernel": [9, 1], "repeat": 8}
    with pytest.raises(ValueError, match="no more frames than its window has, 49"):
        Space.model_validate({**SPACE.model_dump(), "blocks": [long]})
    padded = Space.model_validate({**SPACE.model_dump(), "streaming": False}).graph()
    with pytest.raises(ConfigError, match="streaming: true in its space"):
        check_streaming(padded)
    with pytest.raises(ConfigError, match="network reads, 47, but has 46"):
        recording(SPACE.graph(), 46)
    with pytest.raises(DataError, match=r"frames, 1, 10\], but got float64"):
        FrameByFrame(quantize_randomly(SPACE.graph(), 1)).push(np.zeros((1, 1, 10)))


def test_what_is_constant_does_not_stream() -> None:
    """An output that is stored, and an operator that reads nothing of the input."""
    graph = quantize_randomly(SPACE.graph(), 1)
    stored = replace(graph, outputs=(graph.ops[0].inputs[1],))
    unread = {**graph.tensors, "unread": graph.tensors[graph.inputs[0]]}
    for constant in (stored, replace(graph, tensors=unread, inputs=("unread",))):
        with pytest.raises(ConfigError, match="is constant; remove"):
            check_streaming(constant)
        assert not streams(constant)


def test_a_choice_is_refused_whose_longest_network_reads_too_much() -> None:
    """Kinds of blocks count by what they read, not by their order."""
    kinds = [
        {"type": "residual", "width": 8, "kernel": [17, 1]},
        {"type": "separable", "width": [8, 16], "kernel": [[3, 1], [9, 1]]},
    ]
    described = {**SPACE.model_dump(), "blocks": [{"type": "select", "options": kinds}]}
    Space.model_validate({**described, "input": [67, 1, 10]})
    with pytest.raises(ValueError, match="has, 66, but 'block1a/second' reads"):
        Space.model_validate({**described, "input": [66, 1, 10]})
