"""Errors of configuration files: one line that says where, what and what to write instead."""

import contextlib
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from micronas.errors import ConfigError, MicronasError
from micronas.judge.recipe import read_recipe
from micronas.language.endpoints import Price
from micronas.settings import Extent, Settings, read_mapping, read_settings, with_overrides
from micronas.space.space import Space
from tests.limited import limited

SPACE = """\
name: mine
input: [49, 10, 1]
classes: 12
stem: {kernel: [10, 4], width: [16, 32]}
blocks:
  - type: separable
    width: {min: 16, max: 32, step: 8}
"""


def load(tmp_path: Path, text: str) -> Space:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return Space.load(path)


def test_a_space_of_ones_own_is_read(tmp_path: Path) -> None:
    space = load(tmp_path, SPACE)
    assert [decision.options for decision in space.decisions] == [(16, 32), (16, 24, 32)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("classes: 12", "clases: 12", r"line 3: unknown key 'clases'; did you mean 'classes'"),
        (
            "type: separable",
            "type: separabel",
            r"blocks\.0\.type: unknown 'separabel'; did .* 'separable'",
        ),
        ("    width: {min", "    widht: {min", r"line 7: unknown key 'blocks\.0\.widht'.*'width'"),
        ("step: 8", "step: 3", r"line 7: blocks\.0\.width: widths must be multiples of 4"),
        ("[16, 32]", "[16, 30]", r"line 4: stem\.width: widths must be multiples of 4"),
        ("classes: 12", "classes: -1", r"line 3: classes: .*greater than 0, but got -1"),
        ("    width", "    kernel: 4\n    width", r"line 7: blocks\.0\.kernel: .*odd"),
        ("    width", "    skip: true\n    stride: 2\n    width", r"line 6: .*stride 1, but got"),
        ("    width", "    repeat: 0\n    width", r"line 7: blocks\.0\.repeat: .*greater than 0"),
        ("name: mine", "name: [", r"not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_line_key_and_way_out(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, SPACE.replace(old, new))
    assert "\n" not in str(caught.value)


def test_bottlenecks_without_residual_are_kept_from_the_first_on(tmp_path: Path) -> None:
    text = SPACE.replace("type: separable", "type: bottleneck\n    expansion: 32\n    skip: true")
    for residual, kept in (
        ("false", ["block1-3.depth"]),
        ("true", [f"block{n}.keep" for n in (1, 2, 3)]),
    ):
        rows = f"repeat: 3\n    residual: {residual}"
        space = load(tmp_path, text.replace("expansion: 32", f"expansion: 32\n    {rows}"))
        assert [each.name for each in space.decisions if each.kind == "depth"] == kept


def test_a_missing_file_and_an_unknown_name_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'kws'"):
        Space.load("kwz")
    with pytest.raises(ConfigError, match="must be a file or one of those shipped"):
        Space.load(tmp_path / "none.yaml")


def test_only_what_may_be_data_is_told_where_data_goes(tmp_path: Path) -> None:
    for path, told in ((tmp_path, True), (tmp_path / "none.yaml", False)):
        with pytest.raises(ConfigError, match="must be a readable text file") as wrong:
            read_mapping(path)
        assert ("data goes into data.path" in str(wrong.value)) == told


def test_a_rule_of_the_whole_file_follows_its_name(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("name: mine\ncategories: {sums: {quota: 1}}\n")
    with pytest.raises(ConfigError, match=r"recipe\.yaml: labelling\.general is 'general'"):
        read_recipe(path)


def test_yes_and_no_are_words(tmp_path: Path) -> None:
    """They are keywords people search for; YAML 1.1 would read them as booleans."""
    path = tmp_path / "words.yaml"
    path.write_text("words: [yes, no, on, off, Go, true]")
    assert read_mapping(path)[0] == {"words": ["yes", "no", "on", "off", "Go", True]}
    assert with_overrides({}, ["words=[no, yes]"]) == {"words": ["no", "yes"]}


def test_overrides_replace_and_add_values() -> None:
    values = {"budget": {"latency": "50 ms"}, "seed": 0}
    changed = with_overrides(values, ["budget.latency=100ms", "budget.sram=64 KB", "seed=3"])
    assert changed == {"budget": {"latency": "100ms", "sram": "64 KB"}, "seed": 3}
    assert values == {"budget": {"latency": "50 ms"}, "seed": 0}
    with pytest.raises(ConfigError, match="an override must be key=value, but got 'seed'"):
        with_overrides(values, ["seed"])


class Numbers(Settings):
    whole: Extent = 1
    real: float | None = None
    auto: Literal["auto"] | int = "auto"
    few: Literal["auto"] | Annotated[int, Field(le=10)] = "auto"
    several: tuple[float, ...] = ()
    named: dict[str, int] = Field(default_factory=dict)
    inner: Price | None = None
    truth: bool = False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("whole=true", "whole: must be a whole number, but got True"),
        ("real=false", "real: must be a number, but got False"),
        ("auto=true", "auto: must be 'auto' or a whole number, but got True"),
        ("few=11", "few: input should be less than or equal to 10, but got 11"),
        ("whole=0", "whole: input should be greater than 0, but got 0"),
        ("several=[2, true]", r"several\.1: must be a number, but got True"),
        ("named={a: true}", r"named\.a: must be a whole number, but got True"),
        ("inner={prompt: true, completion: 1}", r"inner\.prompt: must be a number, but got True"),
    ],
)
def test_wrong_numbers_are_named_with_their_rule(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "any.yaml"
    path.write_text("truth: true")
    assert read_settings(path, Numbers).truth
    with pytest.raises(ConfigError, match=message):
        read_settings(path, Numbers, [text])
    with pytest.raises(ConfigError, match=message):
        Numbers(**with_overrides({}, [text]))
    with pytest.raises(ConfigError, match="must be a whole number"):
        Numbers(whole=np.bool_(True))


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_micronas_error(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(data)
        with pytest.raises(MicronasError):
            read_settings(path, Space)


BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{this}: &{this} [{', '.join([f'*{last}'] * 9)}]" for last, this in pairwise("abcdefghij")]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "its aliases must not stand for more than a file could hold"),
        (BOMB.replace("*a, *a", "{<<: {x: *a}}, *a"), "its aliases must not stand for more"),
        (f"a: &a {'x' * 50_000}\nb: [{', '.join(['*a'] * 1000)}]", "its aliases must not stand"),
        ("a: &a [*a]", "an alias must not stand within what it stands for"),
        ("a: &a {b: *a}", "an alias must not stand within what it stands for"),
        (f"a: {'[' * 5000}", "not valid YAML"),
        ("a: " + "x" * 2**17, "longer than 131072 bytes; is it another file"),
        (f"classes: {'9' * 5000}", "a number must have at most 100 digits"),
        (f"classes: 0x{'f' * 5000}", "a number must have at most 100 digits"),
        (r'name: "half of a pair: \ud800"', "surrogates not allowed"),
        (r'name: "a\0b"', "a text must not hold a zero byte"),
        ("classes: 0x_", "not valid YAML"),
        ("classes: !!int x", "not valid YAML"),
        ("classes: !!bool x", "not valid YAML"),
        ("classes: !!timestamp x", "not valid YAML"),
        ("classes: 2026-13-45", r"classes: .*'2026-13-45'"),
    ],
)
def test_text_that_is_more_than_it_looks_is_one_line_at_once(
    tmp_path: Path, text: str, message: str
) -> None:
    with limited(20), pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500
    if text.startswith("classes"):
        with contextlib.suppress(ConfigError):  # as an override too: a value, or one line
            with_overrides({}, [text.replace(": ", "=")])


@pytest.mark.parametrize("text", ["{a: " * 3000, "[" * 3000, "]" * 500 + "\n- " + "[" * 500])
def test_brackets_in_brackets_take_no_time(tmp_path: Path, text: str) -> None:
    """The parser looks at every open bracket at every word, and ended in a RecursionError."""
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    start = time.process_time()
    with pytest.raises(ConfigError, match="at most 100 deep in one another"):
        read_mapping(path)
    assert time.process_time() - start < 1


def test_words_that_begin_like_truths_and_dates_are_words() -> None:
    given = ["data.path=trueset", "name=Falsehood", "day=2026-01-02", "seed=2026-13-45", "on=true"]
    given += ["words=[007, 1:30, 10, -0x10]"]
    assert with_overrides({}, given) == {
        "data": {"path": "trueset"},
        "name": "Falsehood",
        "day": "2026-01-02",
        "seed": "2026-13-45",
        "on": True,
        "words": ["007", "1:30", 10, -16],
    }


def test_aliases_within_reason_are_read(tmp_path: Path) -> None:
    path = tmp_path / "alias.yaml"
    path.write_text("recipe: &recipe {epochs: 3}\ntrain: *recipe\nquantize: {<<: *recipe, lr: 1}\n")
    assert read_mapping(path)[0] == {
        "recipe": {"epochs": 3},
        "train": {"epochs": 3},
        "quantize": {"epochs": 3, "lr": 1},
    }


def test_a_key_that_stands_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("name: a\njudge:\n  model: one\n  price: {prompt: 1}\n  model: two\n")
    with pytest.raises(ConfigError, match="'model' stands twice, on lines 3 and 5; keep one"):
        read_mapping(path)
    # a key that replaces a merged one stands once
    path.write_text("base: &base {x: 1}\nown:\n  <<: *base\n  x: 2\n")
    assert read_mapping(path)[0]["own"] == {"x": 2}
