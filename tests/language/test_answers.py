"""What an endpoint answered, read as far as it can be."""

import json
import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.language.answers import (
    MOST_TOKENS,
    plain_text,
    read_json,
    token_count,
    whole_characters,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_what_was_read_can_be_written_again(value: Any) -> None:
    once = read_json(json.dumps(value).encode())
    text = json.dumps(once, allow_nan=False)
    assert read_json(text.encode()) == once


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        read_json(data)


def test_numbers_that_no_float_holds() -> None:
    largest = 1.7976931348623157e308
    assert read_json(b"[1e999, -1e999, Infinity, NaN]") == [largest, -largest, largest, None]
    assert read_json(b"9" * 5000) == largest
    assert read_json(b"-" + b"9" * 5000) == -largest
    assert read_json(b"9" * 200) == 10**200 - 1
    assert math.isfinite(read_json(b"1e-999"))


def test_broken_text_is_read_around() -> None:
    assert read_json(b'{"a": "so \xf0\x9f\x98"}') == {"a": "so \ufffd"}
    assert read_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}
    assert read_json('{"a": "é"}'.encode("utf-16")) == {"a": "é"}
    with pytest.raises(ValueError, match="nested"):
        read_json(b"[" * 100_000)


@given(st.text(st.characters()))
def test_whole_characters_can_be_stored(text: str) -> None:
    whole = whole_characters(text)
    assert whole.encode("utf-8").decode("utf-8") == whole
    halves = sum("\ud800" <= each <= "\udfff" for each in text)
    assert whole == text or halves


def test_half_a_character_is_one_sign_and_two_halves_are_a_character() -> None:
    assert whole_characters("a\ud83d") == "a\ufffd"
    assert whole_characters("\ude00b") == "\ufffdb"
    assert whole_characters("\ud83d\ude00") == "\U0001f600"


@pytest.mark.parametrize("value", [1, 12.0, MOST_TOKENS])
def test_counts_that_can_be_true(value: float) -> None:
    assert token_count({"n": value}, "n") == value


@pytest.mark.parametrize(
    "value",
    [
        *(MOST_TOKENS + 1, 2**70, 10**400, math.inf, math.nan, 0, -(10**9)),
        *("7", None, [7], {}),
    ],
)
def test_counts_that_cannot_be_true_and_usage_that_is_none(value: object) -> None:
    assert token_count({"n": value}, "n") is None
    assert token_count(value, "n") is None


def test_text_of_parts() -> None:
    assert plain_text([{"text": "a"}, {"image": 1}, None, {"text": 5}, {"text": "b"}]) == "a\nb"
    assert plain_text(None) == plain_text(5) == ""
