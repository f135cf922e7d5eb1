"""Which errors a report shows, and misses against false accepts, counted by hand."""

import base64

import numpy as np
import torch

from micronas.data import DataSet, TensorSplit
from micronas.objectives.mistakes import mistakes, thresholds


def test_the_most_certain_errors_come_first_and_are_drawn_as_they_are() -> None:
    inputs = torch.zeros(4, 2, 5, 1)
    inputs[2, 1] = torch.arange(5.0)[:, None]
    split = TensorSplit(inputs, torch.tensor([0, 1, 1, 0]))
    answers = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.7, 0.3]])
    first, second = mistakes(split, answers)
    assert (first["label"], first["answer"], first["certainty"]) == (1, 0, 0.8)
    assert first["values"] == [[0.0] * 5, [0.0, 1.0, 2.0, 3.0, 4.0]]
    assert second["certainty"] == 0.6
    pictures = TensorSplit(torch.arange(6.0).reshape(1, 1, 2, 3), torch.tensor([1]))
    (shown,) = mistakes(pictures, np.array([[1.0, 0.0]]))
    assert shown["rows"] == [[[0, 51, 102], [153, 204, 255]]]
    assert mistakes(pictures, np.array([[0.0, 1.0]])) == []


def test_more_channels_than_colours_are_rows_of_a_picture() -> None:
    values = torch.arange(7.0)[None, :, None, None].expand(-1, -1, 3, -1)
    (shown,) = mistakes(TensorSplit(values, torch.tensor([1])), np.array([[1.0, 0.0]]))
    assert shown["rows"] == [[[round(255 * row / 6)] * 3 for row in range(7)]]


def test_sounds_are_what_was_heard() -> None:
    """Also where a network reads them in another shape than their task does."""

    class Heard(TensorSplit):
        def waveforms(self, index: torch.Tensor, _generator: None) -> torch.Tensor:
            return torch.sin(torch.arange(16_000) / 20).expand(len(index), -1) / 2

    split = Heard(torch.zeros(2, 1, 4, 4), torch.tensor([0, 1]))
    data = DataSet(split, split, split, ("yes", "no"), (4, 4, 1))
    seen = data.seen_as((4, 1, 4)).train
    (shown,) = mistakes(seen, np.array([[0.0, 1.0], [0.0, 1.0]]))
    assert np.shape(shown["rows"]) == (1, 4, 4)
    codes = np.frombuffer(base64.b64decode(shown["sound"]), np.uint8)
    level = (codes - 127.5) / 127.5
    decoded = np.sign(level) * (256 ** np.abs(level) - 1) / 255
    expected = np.sin(np.arange(16_000) / 20).reshape(-1, 2).mean(1) / 2
    assert np.abs(decoded - expected).max() < 0.02


def test_misses_and_false_accepts_by_hand() -> None:
    """Two words and silence; of four silences one is loud enough at the higher threshold."""
    split = TensorSplit(torch.zeros(8, 1, 1, 1), torch.tensor([0, 0, 1, 1, 2, 2, 2, 2]))
    names = ("yes", "no", "silence")
    answers = np.array(
        [
            [0.9, 0.0, 0.1],
            [0.4, 0.0, 0.6],
            [0.0, 0.8, 0.2],
            [0.7, 0.2, 0.1],  # taken for the other word
            [0.8, 0.0, 0.2],
            [0.1, 0.0, 0.9],
            [0.1, 0.0, 0.9],
            [0.1, 0.0, 0.9],
        ]
    )
    found = thresholds(split, answers, names=names, ignored=("silence",))
    assert found["ignored"] == ["silence"]
    by = {point["threshold"]: point for point in found["points"]}
    assert by[0.1] == {"threshold": 0.1, "misses": 0.25, "false_accepts": 1.0}
    highest = by[0.9]
    assert (highest["misses"], highest["false_accepts"]) == (0.75, 0.0)
    assert thresholds(split, answers, names=names, ignored=()) is None
