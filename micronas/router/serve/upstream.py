"""An expert behind an OpenAI-compatible endpoint, whatever it may send."""

from collections.abc import AsyncGenerator, Iterable
from functools import cached_property

import aiohttp
import anyio
import httpx
import yarl

from micronas.language.endpoints import proxy_for, required_key, retry_after
from micronas.router.experts import ExpertEndpoint, Timeouts
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
_LARGEST_HEADER = 64 * 2**10
_LONGEST_WAIT = 24 * 3600.0
_DRAIN = 0.1
_KEEP_ALIVE = 4.0
"""Seconds a connection may idle; common servers hang up after 5."""
_OPERATORS = (401, 402, 403, 404, 405, 407)
"""Refusals that are about the key, the bill, the address or the model's id: not the client's."""


class Upstream:
    """Client of one endpoint.

    It speaks by aiohttp, whose parser is no Python: httpx takes about twice the CPU of all else
    that is done for a request. It finds proxies and certificates where httpx does.

    Raises
    ------
    ConfigError
        If the variable of the key is named and not set, or holds more than one line of ASCII; or
        if the environment names a proxy that is none over HTTP.
    """

    def __init__(self, name: str, endpoint: ExpertEndpoint, timeouts: Timeouts) -> None:
        variable = endpoint.api_key_env
        key = required_key(variable, of=f"expert {name!r}") if variable else ""
        self._name, self._model = name, endpoint.model
        self._secrets = {key: f"[{variable}]"} if key else {}
        self._url = yarl.URL(endpoint.base_url + "/chat/completions")
        self._proxy = proxy_for(endpoint.base_url)
        self._certificates = httpx.create_ssl_context()
        self._connect = timeouts.connect
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        # belongs to the loop that runs, which none does when the server is put together
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_ALIVE, ssl=self._certificates
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            proxy=self._proxy,
            max_field_size=_LARGEST_HEADER,
            # the time until an answer comes is kept by whoever waits for it
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect),
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def ask(self, ask: Ask) -> AsyncGenerator[Json, None]:
        content = dump({**ask.body, "model": self._model})
        progress = _Progress()
        try:
            async with self._session.post(
                self._url, data=content, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise await self._refusal(response)
                if not ask.stream:
                    yield self._whole(await _body(response, _LARGEST_ANSWER))
                    return
                reader = EventReader()
                async for part in response.content.iter_any():
                    for piece in progress.read(reader.feed(part)):
                        yield {**piece, "model": self._name}
                    if progress.done:
                        break
                # only a connection that was read to its end can be used again
                if not response.content.at_eof():
                    with anyio.move_on_after(_DRAIN):
                        await response.content.readany()
        except aiohttp.ClientError as error:
            if not progress.complete:
                raise AttemptError(_reason(error)) from None
        except ValueError:
            raise AttemptError("an unreadable answer") from None
        if not progress.complete:
            raise AttemptError("a stream that was cut" if progress.begun else "an empty stream")

    def _whole(self, body: bytes) -> Json:
        answer = load(body)
        if not is_answer(answer):
            raise ValueError("no choices")
        return {**answer, "model": self._name}

    async def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        status = response.status
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
    """Progress of a stream: to its end mark, or to an end of every choice."""

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


async def _body(response: aiohttp.ClientResponse, largest: int) -> bytes:
    body = bytearray()
    async for received in response.content.iter_any():
        body += received
        if len(body) > largest:
            raise ValueError("an answer is too large")
    return bytes(body)


def _reason(error: aiohttp.ClientError) -> str:
    """Say what broke; the library's own text may quote the address."""
    unmade = (
        aiohttp.ClientConnectorError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ConnectionTimeoutError,
    )
    return "no connection" if isinstance(error, unmade) else "a connection that was cut"
