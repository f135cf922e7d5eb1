"""Rows of a mapped file: the same as of the array, and not all of them in memory."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from micronas.tasks.rows import Rows

COUNT, WIDTH = 128, 2**20
"""128 MB."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "array"
    with path.open("wb") as file:
        for row in range(COUNT):
            file.write(bytes([row % 256]) * WIDTH)
    return path


def mapped_mb(path: Path) -> float:
    """Pages of a file that this process has in memory."""
    maps = Path("/proc/self/smaps").read_text()
    return sum(
        int(line.split()[1]) / 1024
        for part in maps.split(f"{path}\n")[1:]
        for line in part.splitlines()[:6]
        if line.startswith("Rss:")
    )


@pytest.mark.long
def test_rows_are_those_of_the_array_and_pages_are_given_back(path: Path) -> None:
    array = np.memmap(path, np.uint8, mode="c", shape=(COUNT, WIDTH))
    rows, most = Rows(array), 0.0
    for turn in range(2):
        for first in range(0, COUNT, 2):
            index = torch.arange(first, first + 2).flip(0)
            assert torch.equal(rows[index][:, turn], (index % 256).to(torch.uint8))
            if first % 16 == 0:
                most = max(most, mapped_mb(path))
    assert 2 <= most < 80


def test_rows_of_a_mapped_file_can_be_sent(path: Path) -> None:
    array = np.memmap(path, np.uint8, mode="c", shape=(3, WIDTH))
    sent = pickle.loads(pickle.dumps(Rows(array)))
    assert sent[torch.tensor([2, 1])][:, 0].tolist() == [2, 1]


def test_rows_of_an_array_in_memory() -> None:
    array = np.arange(12).reshape(4, 3)
    assert Rows(array)[torch.tensor([2, 0])].tolist() == [[6, 7, 8], [0, 1, 2]]
