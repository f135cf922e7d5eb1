"""Rows of a mapped file: the same as of the array, and not all of them in memory."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from micronas.tasks.rows import Rows

COUNT, WIDTH = 600, 2**20
"""600 MB."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "array"
    with path.open("wb") as file:
        for row in range(COUNT):
            file.write(bytes([row % 256]) * WIDTH)
    return path


def mapped_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssFile:"))


def test_rows_are_those_of_the_array_and_pages_are_given_back(path: Path) -> None:
    array = np.memmap(path, np.uint8, mode="c", shape=(COUNT, WIDTH))
    rows, before, most = Rows(array), mapped_mb(), 0.0
    for turn in range(2):
        for first in range(0, COUNT, 20):
            index = torch.arange(first, first + 20).flip(0)
            assert torch.equal(rows[index][:, turn], (index % 256).to(torch.uint8))
            most = max(most, mapped_mb() - before)
    assert 4 < most < 100


def test_rows_of_a_mapped_file_can_be_sent(path: Path) -> None:
    array = np.memmap(path, np.uint8, mode="c", shape=(3, WIDTH))
    sent = pickle.loads(pickle.dumps(Rows(array)))
    assert sent[torch.tensor([2, 1])][:, 0].tolist() == [2, 1]


def test_rows_of_an_array_in_memory() -> None:
    array = np.arange(12).reshape(4, 3)
    assert Rows(array)[torch.tensor([2, 0])].tolist() == [[6, 7, 8], [0, 1, 2]]
