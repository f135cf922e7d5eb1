"""An expert behind an OpenAI-compatible endpoint, which may send anything."""

import re
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from anyio import to_thread

from micronas.language.client import Client, ExchangeError, Received
from micronas.language.endpoints import required_key
from micronas.router.experts import ExpertEndpoint, Timeouts
from micronas.router.serve.events import EventReader
from micronas.router.serve.protocol import (
    ENDS,
    LARGE,
    ApiError,
    Ask,
    AttemptError,
    Json,
    RequestKind,
    dump,
    is_answer,
    is_piece,
    says_something,
)
from micronas.router.serve.screen import Screen

_LONGEST_SILENCE = 2**16
"""Most bytes of pieces without content, which are kept until the first content."""
_OPERATORS = (401, 402, 403, 404, 405, 407)
"""Refusals because of key, bill, address or model id, which are not the client's fault."""


_TOO_LONG = re.compile(r"context_length_exceeded|context (length|window|size)", re.IGNORECASE)
"""Words of servers for a prompt that is too long: another expert may have a larger context."""


class Upstream:
    """The client of one expert's endpoint.

    Raises ConfigError if the variable of the key is not set or holds more than one line of ASCII,
    or the environment names a proxy that is not HTTP.
    """

    def __init__(self, name: str, endpoint: ExpertEndpoint, timeouts: Timeouts) -> None:
        variable = endpoint.api_key_env
        self._name, self._model, self._usage = name, endpoint.model, endpoint.usage
        self._client = Client(
            endpoint.base_url,
            key=required_key(variable, of=f"expert {name!r}"),
            variable=variable,
            # the caller limits the time until an answer
            connect=timeouts.connect,
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(self, ask: Ask) -> AsyncGenerator[Json, None]:
        """Yield one whole answer, or the pieces of a stream if the request wants one.

        It ends when the answer is complete. Otherwise it raises `AttemptError`, or `ApiError` if
        the request itself is wrong, so that no other expert would succeed.
        """
        body = {**ask.body, "model": self._model}
        if ask.stream and self._usage and ask.kind != "responses":
            # only the server's count gives the exact spending
            body["stream_options"] = {**(body.get("stream_options") or {}), "include_usage": True}
        large = ask.size > LARGE
        content = await to_thread.run_sync(dump, body) if large else dump(body)
        screen = Screen(self._client.secrets, self._client.redacted)
        progress = _Progress(self._client.read, ask.kind)
        try:
            async with self._client.post(content, path=ask.kind, headers=ask.headers) as received:
                if not 200 <= received.status < 300:
                    raise await self._refusal(received)
                if not ask.stream:
                    yield self._whole(await received.body(), ask.kind)
                    return
                if received.is_json:
                    raise AttemptError("an answer in one piece, not the stream asked for")
                reader = EventReader()
                async for part in received.parts():
                    for piece in progress.read(reader.feed(part)):
                        for safe in screen.feed(piece):
                            yield self._named(safe)
                    if progress.done:
                        break
                await received.finish()
        except ExchangeError as broken:
            if not progress.complete:
                raise AttemptError(broken.reason, free=not broken.sent) from None
        except ValueError:
            raise AttemptError("an unreadable answer") from None
        for safe in screen.end():
            yield self._named(safe)
        if not progress.complete:
            raise AttemptError("a stream that was cut" if progress.begun else "an empty stream")

    def _whole(self, body: bytes, kind: RequestKind) -> Json:
        answer = self._client.read(body)
        if not is_answer(answer, kind):
            raise ValueError("no choices")
        return {**answer, "model": self._name}

    def _named(self, piece: Json) -> Json:
        """Return a piece with the expert's name in place of the model's."""
        if "choices" in piece:
            return {**piece, "model": self._name}
        whole = piece.get("response")
        return {**piece, "response": {**whole, "model": self._name}} if whole else piece

    async def _refusal(self, received: Received) -> Exception:
        status = received.status
        if status in (408, 429) or status >= 500:
            return AttemptError(f"HTTP {status}", wait=received.wait, free=True)
        if not 400 <= status < 500 or status in _OPERATORS:
            return AttemptError(f"HTTP {status}", again=False, free=True)
        said = await received.complaint() or f"HTTP {status}"
        message = f"expert {self._name!r} refuses the request: {said}"
        if _TOO_LONG.search(said):
            refusal = ApiError(status, message, "context_length_exceeded")
            return AttemptError("a prompt too long for it", again=False, refusal=refusal, free=True)
        return ApiError(status, message, "refused_by_expert")


class _Progress:
    """Progress of a stream: to its end mark, or to an end of every choice."""

    def __init__(self, read: Callable[[bytes], object], kind: RequestKind) -> None:
        self.begun = self.done = False
        self._read, self._kind = read, kind
        self._open: set[int] = set()
        self._silence, self._spoke = 0, False

    @property
    def complete(self) -> bool:
        return self.begun and (self.done or not self._open)

    def read(self, events: Iterable[bytes]) -> Iterable[Json]:
        for data in events:
            if data == b"[DONE]":
                self.done = True
                return
            piece: Any = self._read(data)
            if isinstance(piece, dict) and ("error" in piece or piece.get("type") == "error"):
                raise AttemptError("an error in its stream")
            if not is_piece(piece, self._kind):
                raise ValueError("no piece of a chat")
            if "choices" not in piece:
                self.begun, self.done = True, piece["type"] in ENDS
                self._open.add(0)
            for choice in piece.get("choices", ()):
                self.begun = True
                change = self._open.discard if choice.get("finish_reason") else self._open.add
                change(choice.get("index", 0))
            self._spoke = self._spoke or says_something(piece)
            self._silence += 0 if self._spoke else len(data)
            if self._silence > _LONGEST_SILENCE:
                raise AttemptError("a stream that says nothing")
            yield piece
