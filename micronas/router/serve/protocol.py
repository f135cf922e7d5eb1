"""The protocol of OpenAI: requests, answers, pieces of streams, errors and headers."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from micronas.language.answers import plain_text
from micronas.language.endpoints import estimate_tokens
from micronas.router.embedding import cut

Json = dict[str, Any]
_MOST_MESSAGES = 10_000
"""Most messages of a request: reading more would delay other requests."""
LARGE = 2**16
"""Bytes above which a request is read and written in a thread, to free the event loop."""
_LONGEST_TEXT = 500
_INDEXES = range(128)
"""Valid indexes of choices, which bound the memory for them."""
_LABELS = frozenset(("role", "type", "id"))
"""Keys of texts in an answer that are not generated."""
_DEEPEST = 8
_MOST_ANSWERED = 10**12
"""Most tokens of an answer: a larger reservation would swallow others in the sum of floats."""
_TURNS = 8
"""Number of newest messages of the user that are routed."""
RequestKind = Literal["chat/completions", "completions", "embeddings", "responses"]
"""Path of a request, below ``/v1``."""
DONE = b"data: [DONE]\n\n"
ENDS = ("response.completed", "response.incomplete", "response.failed")
"""Events that end a stream of the Responses API."""


class ApiError(Exception):
    """An error sent to a client instead of an answer.

    It has an HTTP status, for where nothing has been sent yet, one sentence without uncleaned text
    of an upstream, a code for programs, and the seconds after which the client may try again.
    """

    def __init__(self, status: int, message: str, code: str, *, wait: float | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.wait = status, message, code, wait

    def body(self) -> Json:
        kind = "invalid_request_error" if self.status < 500 and self.status != 429 else "api_error"
        return {"error": {"message": self.message, "type": kind, "param": None, "code": self.code}}

    def headers(self) -> dict[str, str]:
        return {} if self.wait is None else {"Retry-After": str(max(1, math.ceil(self.wait)))}


class AttemptError(Exception):
    """An attempt without an answer, or broken off.

    The reason is for a person, without text of the upstream. The same expert may succeed at once
    (`again`), may have asked to `wait` some seconds, or did no chargeable work (`free`). The
    `refusal` is for the client if no other expert answers: the request, not the expert, is at
    fault.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = True,
        wait: float | None = None,
        refusal: ApiError | None = None,
        free: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait, self.refusal = reason, again, wait, refusal
        self.free = free


@dataclass(frozen=True)
class Ask:
    """A valid request; fields of ``body`` without an attribute here are left to the expert."""

    body: Json
    model: str
    messages: list[Json]
    """Messages of a chat; a prompt to complete counts as one user message."""
    stream: bool
    kind: RequestKind = "chat/completions"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers to pass on to the expert."""
    key: str = ""
    """Name of the client, which does not reveal its key."""
    budget: float | None = None
    """Budget of active parameters for this request."""
    size: int = 0
    """Size of the request in bytes."""

    def measure(self) -> None:
        """Compute all figures of the messages once, in the thread that reads a large request."""
        _ = self.asked_tokens, self.prompts, self.beginning, self.tools, self.vision

    @cached_property
    def prompts(self) -> list[str]:
        """Texts of the user's messages to route, newest first and cut."""
        users = [each for each in reversed(self.messages) if each["role"] == "user"][:_TURNS]
        return [cut(plain_text(each.get("content"))) for each in users] or [""]

    @cached_property
    def beginning(self) -> str:
        """Texts up to the user's first message, which are constant in a conversation."""
        texts = []
        for message in self.messages:
            texts.append(cut(plain_text(message.get("content"))))
            if message["role"] == "user":
                break
        return "\n".join(texts)

    @cached_property
    def tools(self) -> Any:
        """Return the tools that the request offers, if any."""
        return self.body.get("tools") or self.body.get("functions")

    @cached_property
    def vision(self) -> bool:
        """Return whether a message has an image."""
        return any(
            isinstance(part, dict) and part.get("type") in ("image_url", "input_image")
            for message in self.messages
            if isinstance(message.get("content"), list)
            for part in message["content"]
        )

    @property
    def usage(self) -> bool:
        """Return whether a stream should end with its count of tokens."""
        options = self.body.get("stream_options")
        return isinstance(options, dict) and bool(options.get("include_usage"))

    @cached_property
    def asked_tokens(self) -> int:
        """Estimated number of tokens of the messages and tools."""
        given = self.body.get("input" if self.kind == "embeddings" else "prompt")
        numbers = 0 if self.kind == "chat/completions" else _numbers(given)
        texts = sum(estimate_tokens(plain_text(each.get("content"))) for each in self.messages)
        return texts + numbers + (estimate_tokens(json.dumps(self.tools)) if self.tools else 0)

    @property
    def longest(self) -> int | None:
        """Most tokens of a choice of the answer; None for any number."""
        names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
        limits = (self.body.get(name) for name in names)
        return next((each for each in limits if isinstance(each, int) and each > 0), None)

    @property
    def most(self) -> int | None:
        """Most tokens of the answer, all choices together; None for any number."""
        if self.kind == "embeddings" or self.longest is None:
            return 0 if self.kind == "embeddings" else None
        asked = (self.body.get(name) for name in ("n", "best_of"))
        choices = max([1, *(each for each in asked if isinstance(each, int))])
        given = self.body.get("prompt") if self.kind == "completions" else None
        several = isinstance(given, list) and isinstance(given[0], str | list)
        prompts = len(given or ()) if several else 1
        return min(self.longest * choices * prompts, _MOST_ANSWERED)

    @property
    def tokens(self) -> int:
        """Estimated number of tokens of context that the request needs."""
        return self.asked_tokens + (self.longest or 0)


def parse_ask(
    data: bytes,
    kind: RequestKind = "chat/completions",
    *,
    headers: Mapping[str, str] | None = None,
    key: str = "",
    budget: float | None = None,
) -> Ask:
    """Read the body of a request, and add headers, key and budget.

    Raises ApiError (400) if it is not a JSON object with a model and a list of messages, a prompt
    to complete or an input to embed.
    """
    # checked before parsing, which blocks other threads; within texts the quotes are escaped
    if data.count(b'"role"') > _MOST_MESSAGES:
        raise _invalid(f"messages must be at most {_MOST_MESSAGES}")
    try:
        body = load(data)
    except ValueError as error:
        raise _invalid(f"the body must be a JSON object, but: {ascii_text(str(error))}") from None
    model, stream = body.get("model"), body.get("stream")
    if not isinstance(model, str) or not model:
        raise _invalid("model must be a name; GET /v1/models lists them")
    if not isinstance(stream, bool | None):
        raise _invalid("stream must be true or false")
    if not isinstance(body.get("stream_options"), dict | None):
        raise _invalid("stream_options must be an object")
    readers = {"chat/completions": _messages, "responses": _items}
    messages = readers[kind](body) if kind in readers else _texts(body, kind)
    ask = Ask(
        body, model, messages, bool(stream), kind, dict(headers or {}), key, budget, len(data)
    )
    ask.measure()
    return ask


def _messages(body: Json) -> list[Json]:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages must be a list of at least one message")
    for place, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _invalid(f"messages[{place}] must be an object with a role")
        if not isinstance(message.get("content"), str | list | None):
            raise _invalid(f"messages[{place}].content must be a text, a list of parts or null")
    return messages


def _items(body: Json) -> list[Json]:
    """Return the instructions and input items of the Responses API as messages."""
    given = body.get("input")
    if not isinstance(given, str | list) or not given:
        raise _invalid("input must be a text or a list of items")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not all(isinstance(each, dict) for each in items):
        raise _invalid("each item of input must be an object")
    said = [
        {"role": str(each.get("role")), "content": each.get("content") or each.get("output")}
        for each in items
    ]
    return [{"role": "system", "content": body.get("instructions")}, *said]


def _texts(body: Json, kind: RequestKind) -> list[Json]:
    """Return a prompt to complete, or an input to embed, as one message."""
    name = "prompt" if kind == "completions" else "input"
    given = body.get(name)
    if kind == "embeddings" and body.get("stream"):
        raise _invalid("embeddings come in one piece; leave stream out")
    if not isinstance(given, str | list) or not given:
        raise _invalid(f"{name} must be a text or a list of them")
    texts = [given] if isinstance(given, str) else given
    # tokens instead of texts cannot be routed, but an expert may understand them
    return [{"role": "user", "content": "\n".join(each for each in texts if isinstance(each, str))}]


def _numbers(given: object) -> int:
    """Return the number of tokens given as numbers in a prompt or a list of prompts."""
    parts = given if isinstance(given, list) else []
    rows = (each if isinstance(each, list) else [each] for each in parts)
    return sum(isinstance(each, int) for row in rows for each in row)


def load(data: bytes) -> Json:
    """Read a JSON object strictly; raise ValueError for anything else."""
    try:
        text = data.decode(json.detect_encoding(data), "surrogatepass")
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def dump(value: Json) -> bytes:
    """Return JSON in ASCII, which keeps text that is not valid Unicode."""
    return _ENCODER.encode(value).encode("ascii")


def event(value: Json) -> bytes:
    """Return one server-sent event, with a name for the Responses API."""
    is_named = "choices" not in value and "type" in value
    name = f"event: {ascii_text(str(value['type']))}\n".encode("ascii") if is_named else b""
    return name + b"data: " + dump(value) + b"\n\n"


def is_answer(value: object, kind: RequestKind = "chat/completions") -> bool:
    """Return whether JSON is a whole answer."""
    if kind in ("embeddings", "responses"):
        name = "data" if kind == "embeddings" else "output"
        return isinstance(value, dict) and isinstance(value.get(name), list)
    name, wanted = ("text", str) if kind == "completions" else ("message", dict)
    choices = value.get("choices") if isinstance(value, dict) else None
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(each, dict) and isinstance(each.get(name), wanted) for each in choices)
    )


def is_piece(value: Any, kind: RequestKind = "chat/completions") -> bool:
    """Return whether JSON is a piece of a stream; the last may have only the usage."""
    if kind == "responses":
        named = isinstance(value, dict) and isinstance(value.get("type"), str)
        return named and isinstance(value.get("response", {}), dict)
    choices = value.get("choices") if isinstance(value, dict) else None
    return isinstance(choices, list) and all(
        isinstance(each, dict)
        and isinstance(each.get("delta"), dict | None)
        and each.get("index", 0) in _INDEXES
        for each in choices
    )


def says_something(value: Json) -> bool:
    """Return whether a piece has more than the role; before, another expert can still answer."""
    if "choices" not in value:
        return bool(value.get("delta")) or value["type"] in ENDS
    return any(
        each.get("finish_reason") is not None
        or bool(each.get("text"))
        or any(part for name, part in (each.get("delta") or {}).items() if name != "role")
        for each in value["choices"]
    )


def texts_of(value: Json) -> Iterator[tuple[tuple[int | str, ...], Any, Any, str]]:
    """Yield path, container, key and text of all texts in an answer or a piece."""
    if isinstance(text := value.get("delta"), str):
        yield (str(value["type"]), str(value.get("item_id")), "delta"), value, "delta", text
    if isinstance(output := value.get("output"), list):
        yield from _texts_in(output, ("output",), _DEEPEST)
    for number, choice in enumerate(value.get("choices") or ()):
        index = choice.get("index", number)
        if isinstance(text := choice.get("text"), str):
            yield (index, "text"), choice, "text", text
        for name in ("delta", "message"):
            if isinstance(said := choice.get(name), dict):
                yield from _texts_in(said, (index,), _DEEPEST)


def _texts_in(
    value: Any, path: tuple[int | str, ...], depth: int
) -> Iterator[tuple[tuple[int | str, ...], Any, Any, str]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        if isinstance(part, str):
            if key not in _LABELS:
                yield (*path, key), value, key, part
        elif isinstance(part, dict | list) and depth:
            place = part.get("index", key) if isinstance(part, dict) else key
            place = place if isinstance(place, int) else key
            yield from _texts_in(part, (*path, place), depth - 1)


def ascii_text(text: str) -> str:
    """Return text for a header or a log line: printable ASCII, escaped and cut."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text[:_LONGEST_TEXT].strip()  # nothing to escape, as nearly always
    return text[:_LONGEST_TEXT].encode("unicode_escape").decode("ascii").strip()[:_LONGEST_TEXT]


def usage_of(value: Json) -> Any:
    """Return the token counts of an answer or a piece, of either API, or None."""
    whole = value.get("response")
    return value.get("usage") or (whole.get("usage") if isinstance(whole, dict) else None)


def _invalid(message: str) -> ApiError:
    return ApiError(400, message, "invalid_request")


def _finite(text: str) -> float:
    """Read a number; raise ValueError for NaN and 1e999, which JSON cannot represent."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no JSON")
    return value


_DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"))
