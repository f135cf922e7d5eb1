"""The chat protocol of OpenAI: requests in, answers, pieces, errors and headers out."""

import json
import math
import time
import uuid
from dataclasses import dataclass
from typing import Any

from micronas.language.answers import plain_text

Json = dict[str, Any]
_LONGEST_TEXT = 500
_INDEXES = range(128)
"""Of choices; an endless number of them would have to be remembered."""
DONE = b"data: [DONE]\n\n"


class ApiError(Exception):
    """An error that a client is told instead of an answer.

    Parameters
    ----------
    status
        HTTP status, if nothing has been sent yet.
    message
        One sentence; never holds text of an upstream that was not cleaned.
    code
        What programs look at.
    wait
        Seconds after which the client may try again.
    """

    def __init__(self, status: int, message: str, code: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.wait = status, message, code, wait

    def body(self) -> Json:
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "api_error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}

    def headers(self) -> dict[str, str]:
        return {} if self.wait is None else {"Retry-After": str(max(1, math.ceil(self.wait)))}


@dataclass(frozen=True)
class Ask:
    """A valid chat request; what is not named here is the expert's to understand."""

    body: Json
    model: str
    messages: list[Json]
    stream: bool

    @property
    def prompt(self) -> str:
        """The text of the last message of the user, which is what is routed."""
        for message in reversed(self.messages):
            if message["role"] == "user":
                return plain_text(message.get("content"))
        return ""


def parse_ask(data: bytes) -> Ask:
    """Read the body of a request.

    Raises
    ------
    ApiError
        400, if it is not a JSON object with a model and a list of messages.
    """
    try:
        body = load(data)
    except ValueError:
        raise _invalid("the body must be a JSON object") from None
    model, messages, stream = body.get("model"), body.get("messages"), body.get("stream")
    if not isinstance(model, str) or not model:
        raise _invalid("model must be a name; GET /v1/models lists them")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages must be a list of at least one message")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _invalid(f"messages[{place}] must be an object with a role")
        if not isinstance(message.get("content"), str | list | None):
            raise _invalid(f"messages[{place}].content must be a text, a list of parts or null")
    if not isinstance(stream, bool | None):
        raise _invalid("stream must be true or false")
    return Ask(body, model, messages, bool(stream))


def load(data: bytes) -> Json:
    """Read a JSON object strictly; raises ValueError for anything else, however it is broken."""
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def dump(value: Json) -> bytes:
    """Write JSON in ASCII: text that is no valid Unicode survives as it came."""
    return _ENCODER.encode(value).encode("ascii")


def event(value: Json) -> bytes:
    """Write one server-sent event."""
    return b"data: " + dump(value) + b"\n\n"


def completion(text: str) -> Json:
    """Return a text as a whole answer."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": "stop",
    }
    return {**_head("chat.completion"), "choices": [choice]}


def pieces(text: str) -> list[Json]:
    """Return a text as the pieces of a stream: all of it, then its end."""
    head = _head("chat.completion.chunk")
    said = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
    return [{**head, "choices": [said]}, {**head, "choices": [ended]}]


def is_answer(value: object) -> bool:
    """Whether JSON is a whole answer."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(
            isinstance(each, dict) and isinstance(each.get("message"), dict) for each in choices
        )
    )


def is_piece(value: object) -> bool:
    """Whether JSON is a piece of a stream; the last one may have no choices, only the usage."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return isinstance(choices, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("delta"), dict | None)
        and each.get("index", 0) in _INDEXES
        for each in choices
    )


def says_something(value: Json) -> bool:
    """Whether a piece holds more than the role; until then another expert can still answer."""
    return any(
        each.get("finish_reason") is not None
        or any(part for name, part in (each.get("delta") or {}).items() if name != "role")
        for each in value["choices"]
    )


def text_of(value: Json) -> str:
    """Return the text of an answer or a piece, all choices together."""
    parts = (each.get(name) for each in value["choices"] for name in ("message", "delta"))
    return "".join(plain_text(part.get("content")) for part in parts if isinstance(part, dict))


def ascii_text(text: str) -> str:
    """Return text that is safe in a header or a log line: printable ASCII, escaped and cut."""
    return text[:_LONGEST_TEXT].encode("unicode_escape").decode("ascii").strip()[:_LONGEST_TEXT]


def _head(kind: str) -> Json:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time())}


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, "invalid_request")


def _finite(text: str) -> float:
    """Read a number; NaN, and 1e999, could not be written as JSON again."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no JSON")
    return value


_DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
