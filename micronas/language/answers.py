"""Read answers of endpoints, which are untrusted but paid for."""

import json
import sys
from typing import Any

MOST_TOKENS = 10_000_000
"""Largest plausible count of tokens, above any context window."""
_LONGEST_INTEGER = 300


def read_json(data: bytes) -> Any:
    """Read JSON tolerantly, since another request would cost a second time.

    Invalid bytes become U+FFFD. A number beyond a float becomes the largest one, and NaN null, so
    that the result can be written again.

    Raises ValueError if the data is no JSON, or nested too deeply.
    """
    encoding = json.detect_encoding(data)
    try:
        text = data.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode(encoding, "replace")
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def plain_text(content: object) -> str:
    """Return the text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def whole_characters(text: str) -> str:
    """Return the text with unpaired surrogates replaced by U+FFFD.

    A limit of tokens can cut an emoji in two; neither files nor databases accept the half.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def token_count(usage: object, name: str) -> int | None:
    """Return a plausible count of tokens, or None where the caller must estimate.

    A count of zero or less is not plausible either, and would defeat every limit of money.
    """
    value = usage.get(name) if isinstance(usage, dict) else None
    return int(value) if isinstance(value, int | float) and 1 <= value <= MOST_TOKENS else None


def _finite(text: str) -> float:
    largest = sys.float_info.max
    return min(max(float(text), -largest), largest)


def _integer(text: str) -> int | float:
    return int(text) if len(text) < _LONGEST_INTEGER else _finite(text)


def _constant(text: str) -> float | None:
    return None if text == "NaN" else _finite(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_integer, parse_constant=_constant)
