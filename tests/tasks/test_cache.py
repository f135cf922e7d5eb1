"""Cached arrays: mapped when whole, built again when not, whatever happened to the file."""

import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.tasks.cache import Cached, Notes, cached

ARRAY = np.arange(60, dtype=np.int16).reshape(20, 3)


class Source:
    """Builds the array in two pieces and counts how often."""

    def __init__(self, array: np.ndarray = ARRAY) -> None:
        self.array = array
        self.built = 0

    def __call__(self, notes: Notes) -> Iterator[np.ndarray]:
        self.built += 1
        yield self.array[:7]
        yield self.array[7:]
        notes["names"] = ["a", "ü"]


def load(path: Path | None, source: Any, key: str = "k") -> Cached:
    return cached(path, key, tail=(3,), dtype="<i2", build=source)


def test_the_second_load_maps_what_the_first_wrote(tmp_path: Path) -> None:
    source = Source()
    for _ in range(2):
        found = load(tmp_path / "new/x.bin", source)
        assert isinstance(found.array, np.memmap)
        assert found.array.dtype == np.int16
        np.testing.assert_array_equal(found.array, ARRAY)
        assert found.notes == {"names": ["a", "ü"]}
    assert source.built == 1
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["x.bin"]


def test_without_a_path_the_array_is_built_in_memory() -> None:
    found = load(None, Source())
    assert found.array.dtype == np.int16
    np.testing.assert_array_equal(found.array, ARRAY)
    assert found.notes == {"names": ["a", "ü"]}
    found.array[:] = 0  # as the mapped array, it can be written


def test_another_key_type_or_shape_is_built_again(tmp_path: Path) -> None:
    source, path = Source(), tmp_path / "x.bin"
    load(path, source)
    load(path, source, "other")
    assert source.built == 2
    wide = Source(ARRAY.reshape(10, 6))
    cached(path, "other", tail=(6,), dtype="<i2", build=wide)
    cached(path, "other", tail=(6,), dtype="<u2", build=wide)
    assert wide.built == 2


def test_writing_to_the_array_changes_no_file(tmp_path: Path) -> None:
    found = load(tmp_path / "x.bin", Source())
    found.array[:] = 0
    source = Source()
    np.testing.assert_array_equal(load(tmp_path / "x.bin", source).array, ARRAY)
    assert source.built == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "x.bin"
    load(path, Source())
    return path


@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_is_noticed(whole: Path, data: st.DataObject) -> None:
    content = bytearray(whole.read_bytes())
    size = len(content)
    damage = data.draw(st.sampled_from(["flip", "cut", "grow", "garbage"]))
    if damage == "flip":
        content[data.draw(st.integers(0, size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif damage == "cut":
        del content[data.draw(st.integers(0, size - 1)) :]
    elif damage == "grow":
        content += data.draw(st.binary(min_size=1, max_size=50))
    else:
        content[:] = data.draw(st.binary(max_size=200))
    path = whole.with_name("damaged.bin")
    path.write_bytes(content)
    source = Source()
    np.testing.assert_array_equal(load(path, source).array, ARRAY)
    assert source.built == 1
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.long
def test_any_flipped_bit_is_noticed(whole: Path) -> None:
    """Also in a digit of an escaped character, which JSON reads in capitals as well.

    Every third one, which is each place of a byte in turn.
    """
    content, path = whole.read_bytes(), whole.with_name("flipped.bin")
    for bit in range(0, 8 * len(content), 3):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        source = Source()
        load(path, source)
        assert source.built == 1, divmod(bit, 8)


def test_a_build_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    load(path, Source())

    def failing(notes: Notes) -> Iterator[np.ndarray]:
        yield ARRAY[:7]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        load(path, failing, "other")
    assert [found.name for found in tmp_path.iterdir()] == ["x.bin"]
    source = Source()
    load(path, source)
    assert source.built == 0


def test_an_array_in_use_survives_its_replacement(tmp_path: Path) -> None:
    found = load(tmp_path / "x.bin", Source())
    load(tmp_path / "x.bin", Source(ARRAY + 1), "other")
    np.testing.assert_array_equal(found.array, ARRAY)
    shutil.rmtree(tmp_path)
    np.testing.assert_array_equal(found.array, ARRAY)


def test_no_rows_are_an_array_too(tmp_path: Path) -> None:
    for _ in range(2):
        assert load(tmp_path / "x.bin", Source(ARRAY[:0])).array.shape == (0, 3)


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        load(tmp_path / "file/x.bin", Source())


def _compete(path: Path, number: int) -> bool:
    array = np.full((2000, 3), number, np.int16)
    return all(
        bool((load(path, Source(array), f"{number}").array == number).all()) for _ in range(20)
    )


def test_two_processes_may_write_the_same_file(tmp_path: Path) -> None:
    arguments = [(tmp_path / "x.bin", 1), (tmp_path / "x.bin", 2)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.starmap(_compete, arguments) == [True, True]
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]
