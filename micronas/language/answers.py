"""Read what an endpoint answered: nothing in it can be trusted, and it has been paid for."""

import json
import sys
from typing import Any

MOST_TOKENS = 10_000_000
"""More than any context window; a larger count is a slip or a lie."""
_LONGEST_INTEGER = 300


def read_json(data: bytes) -> Any:
    """Read JSON as far as it can be read, since asking again would cost a second time.

    Bytes that are no text become U+FFFD. A number beyond a float becomes the largest one, and NaN
    null, so that what was read can be written again.

    Raises
    ------
    ValueError
        If it is no JSON, or nested too deeply.
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
    """Return the text of a message's content: a text, or parts of which some have one."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def whole_characters(text: str) -> str:
    """Return text with each half of a surrogate pair as U+FFFD.

    A limit of tokens can cut an emoji in two; neither files nor databases take the half.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def token_count(usage: object, name: str) -> int | None:
    """Return a count of tokens that can be true, None where there is none and one must estimate.

    Text takes at least one token, so a count of zero or less is none either; believed, it would
    disarm every limit of money.
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
