import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.space.space import Space

BLOCKS: dict[str, dict[str, Any]] = {
    "conv": {"width": 16},
    "residual": {"width": 16},
    "separable": {"width": 16},
    "bottleneck": {"expansion": 32, "width": 16},
}


def of(block: dict[str, Any]) -> Space:
    around = {"input": [32, 8, 3], "classes": 4, "stem": {"width": 8, "kernel": 3}}
    return Space.model_validate({**around, "blocks": [block]})


def read(tmp_path: Path, kind: str, kernel: str) -> tuple[tuple[int, int], ...]:
    sizes = ", ".join(f"{key}: {value}" for key, value in BLOCKS[kind].items())
    file = tmp_path / "space.yaml"
    file.write_text(
        "input: [32, 8, 3]\nclasses: 4\nstem: {width: 8, kernel: 3}\nblocks:\n"
        f"  - {{type: {kind}, {sizes}, kernel: {kernel}}}\n"
    )
    return Space.load(file).blocks[0].kernel  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("3", [(3, 3)]),
        ("9x1", [(9, 1)]),
        ("[3, 1]", [(3, 1)]),
        ("[1, 3]", [(1, 3)]),
        ("[[3, 1]]", [(3, 1)]),
        ("[[3, 1], [1, 1]]", [(1, 1), (3, 1)]),
        ("[3x3, 5x5]", [(3, 3), (5, 5)]),
        ("[3, 5x5]", [(3, 3), (5, 5)]),
    ],
)
def test_a_kernel_is_height_by_width_in_every_block(
    tmp_path: Path, kind: str, written: str, read_as: list[tuple[int, int]]
) -> None:
    assert read(tmp_path, kind, written) == tuple(read_as)


@pytest.mark.parametrize("kind", ["separable", "bottleneck"])
def test_two_numbers_that_once_were_a_choice_are_an_error_with_both_readings(
    tmp_path: Path, kind: str
) -> None:
    said = (
        "line 5: blocks.0.kernel: two numbers must not leave open what they are, but [3, 5] can be "
        "one kernel, 3 high and 5 wide, or the choice of 3x3 and 5x5; write 3x5 for the one, "
        "[3x3, 5x5] for the other"
    )
    with pytest.raises(ConfigError, match=re.escape(said) + "$"):
        read(tmp_path, kind, "[3, 5]")
    assert read(tmp_path, kind, "3x5") == ((3, 5),)


@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("written", ["[3, 5, 7]", "[3]", "[]", "3x", "[3.0, 1]", "true", "0"])
def test_what_is_neither_a_kernel_nor_a_choice_is_an_error(
    tmp_path: Path, kind: str, written: str
) -> None:
    with pytest.raises(ConfigError, match=r"must be 3, 9x1 or \[height, width\], the choice"):
        read(tmp_path, kind, written)


@given(st.integers(0, 9), st.integers(0, 9))
def test_kernels_survive_their_file(height: int, width: int) -> None:
    largest, smallest = (2 * height + 1, 2 * width + 1), (1, 1)
    for kind, sizes in BLOCKS.items():
        for kernels in ((largest,), (smallest, largest)):
            space = of({"type": kind, **sizes, "kernel": kernels})
            assert Space.model_validate(space.model_dump(mode="json")) == space
            assert space.blocks[0].kernel == tuple(sorted(set(kernels)))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stride": [2, 1]}, "adds its input must have stride 1, but got [2, 1]; give it a width"),
        ({"width": 8, "stride": 2, "skip": True}, "skip must have stride 1, but got [2, 2]; leave"),
        ({"width": 8, "repeat": 2, "name": "a"}, "of one block, but 'a' has repeat: 2; leave one"),
    ],
)
def test_fields_that_exclude_each_other_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        of({"type": "residual", **fields})
