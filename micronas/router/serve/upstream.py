"""An expert behind an OpenAI-compatible endpoint, whatever it may send."""

from collections.abc import AsyncGenerator, Iterable

import anyio
import httpx

from micronas.endpoints import api_key, retry_after
from micronas.errors import ConfigError
from micronas.router.experts import Endpoint, Timeouts
from micronas.router.serve.backend import AttemptError
from micronas.router.serve.events import EventReader
from micronas.router.serve.protocol import (
    ApiError,
    Ask,
    Json,
    clean,
    dump,
    is_answer,
    is_piece,
    load,
)

_LARGEST_ANSWER = 32 * 2**20
_LARGEST_ERROR = 64 * 2**10
_LONGEST_WAIT = 24 * 3600.0
_DRAIN = 0.1
_OPERATORS = (401, 402, 403, 404, 405, 407)
"""Refusals that are about the key, the bill, the address or the model's id: not the client's."""


class Upstream:
    """Client of one endpoint.

    Raises
    ------
    ConfigError
        If the variable of the key is named and not set, or holds more than one line of ASCII.
    """

    def __init__(self, name: str, endpoint: Endpoint, timeouts: Timeouts) -> None:
        variable = endpoint.api_key_env
        key = api_key(variable) if variable else ""
        if variable and not key:
            raise ConfigError(
                f"the key of expert {name!r} must be in the environment variable {variable}, "
                "which is not set"
            )
        self._name, self._model = name, endpoint.model
        self._secrets = {key: f"[{variable}]"} if key else {}
        self._url = httpx.URL(endpoint.base_url + "/chat/completions")
        self._client = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # the time until an answer comes is kept by whoever waits for it
            timeout=httpx.Timeout(None, connect=timeouts.connect),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        )

    async def aclose(self) -> None:
        await self._client.aclose()

    async def ask(self, ask: Ask) -> AsyncGenerator[Json, None]:
        content = dump({**ask.body, "model": self._model})
        headers = {"Content-Type": "application/json"}
        progress = _Progress()
        try:
            async with self._client.stream(
                "POST", self._url, content=content, headers=headers
            ) as response:
                if response.status_code != 200:
                    raise await self._refusal(response)
                if not ask.stream:
                    yield self._whole(await _body(response, _LARGEST_ANSWER))
                    return
                reader, received = EventReader(), response.aiter_bytes()
                async for part in received:
                    for piece in progress.read(reader.feed(part)):
                        yield {**piece, "model": self._name}
                    if progress.done:
                        break
                # only a connection that was read to its end can be used again
                with anyio.move_on_after(_DRAIN):
                    await anext(received, None)
        except ValueError:
            raise AttemptError("an unreadable answer") from None
        except httpx.HTTPError as error:
            if not progress.complete:
                raise AttemptError(_reason(error)) from None
        if not progress.complete:
            raise AttemptError("a stream that was cut" if progress.begun else "an empty stream")

    def _whole(self, body: bytes) -> Json:
        answer = load(body)
        if not is_answer(answer):
            raise ValueError("no choices")
        return {**answer, "model": self._name}

    async def _refusal(self, response: httpx.Response) -> Exception:
        status = response.status_code
        if status in (408, 429) or status >= 500:
            wait = retry_after(response.headers.get("retry-after", ""), longest=_LONGEST_WAIT)
            return AttemptError(f"HTTP {status}", wait=wait)
        if not 400 <= status < 500 or status in _OPERATORS:
            return AttemptError(f"HTTP {status}", again=False)
        message = f"expert {self._name!r} refuses the request"
        try:
            error = load(await _body(response, _LARGEST_ERROR))["error"]
            message = f"{message}: {clean(error['message'], self._secrets)}"
        except (ValueError, LookupError, TypeError, AttributeError):
            message = f"{message} with HTTP {status}"
        return ApiError(status, message, "refused_by_expert")


class _Progress:
    """How far a stream has come: to its end mark, or to an end of every choice."""

    def __init__(self) -> None:
        self.begun = self.done = False
        self._open: set[int] = set()

    @property
    def complete(self) -> bool:
        return self.begun and (self.done or not self._open)

    def read(self, events: Iterable[bytes]) -> Iterable[Json]:
        for data in events:
            if data == b"[DONE]":
                self.done = True
                return
            piece = load(data)
            if "error" in piece:
                raise AttemptError("an error in its stream")
            if not is_piece(piece):
                raise ValueError("no piece of a chat")
            for choice in piece["choices"]:
                self.begun = True
                change = self._open.discard if choice.get("finish_reason") else self._open.add
                change(choice.get("index", 0))
            yield piece


async def _body(response: httpx.Response, largest: int) -> bytes:
    body = bytearray()
    async for received in response.aiter_bytes():
        body += received
        if len(body) > largest:
            raise ValueError("an answer is too large")
    return bytes(body)


def _reason(error: httpx.HTTPError) -> str:
    """Say what broke; the library's own text may quote the address."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "no connection"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "a connection that was cut"
    return type(error).__name__
