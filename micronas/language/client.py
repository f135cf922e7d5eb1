"""The client of OpenAI-compatible endpoints, robust against any answer.

It uses aiohttp, whose parser is compiled: httpx takes about twice the CPU of the rest of the
router's work on a request. Proxies and certificates are found like in httpx.
"""

import asyncio
import base64
import html
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from copy import copy
from functools import cached_property
from typing import Any
from urllib.parse import quote

import aiohttp
import anyio
import httpx
import yarl

from micronas.language.answers import read_json
from micronas.language.endpoints import proxy_for, retry_after
from micronas.text import one_line

_LARGEST_ANSWER = 16 * 2**20
_LARGEST_ERROR = 64 * 2**10
_LARGEST_HEADER = 64 * 2**10
_LONGEST_TEXT = 500
_PIECE = 2**16
_MOST_INTERIM = 10
_LONGEST_WAIT = 24 * 3600.0
_SHORTEST_SECRET = 8
"""Least length of a secret: shorter keys are words (EMPTY, none) that a text may contain."""
_KEEP_ALIVE = 4.0
"""Seconds that a connection may idle; common servers close it after 5."""
_DRAIN = 0.1
_UNMADE = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)


class _Response(aiohttp.ClientResponse):
    """A response with a limited number of interim responses (100 Continue).

    aiohttp reads them without end, and meanwhile neither runs other tasks nor ends a cancelled one.
    """

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        read, left = protocol.read, _MOST_INTERIM

        async def counted() -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise aiohttp.ClientPayloadError("too many interim responses")
            return await read()

        protocol.read = counted
        try:
            return await super().start(connection)
        finally:
            del protocol.read


class ExchangeError(Exception):
    """A request without a complete answer.

    Parameters
    ----------
    reason
        Reason of the failure, in our words: those of others may quote the address and the key.
    sent
        The endpoint may have worked, and charged, for the request.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.sent = reason, sent


class Received:
    """A response before its body is read."""

    def __init__(self, response: aiohttp.ClientResponse, client: "Client") -> None:
        self._response, self._client = response, client
        self.status = response.status

    @property
    def wait(self) -> float | None:
        """Seconds that the endpoint asks to wait, at most a day."""
        value = self._response.headers.get("retry-after", "")
        return retry_after(value, longest=_LONGEST_WAIT)

    @property
    def is_json(self) -> bool:
        """Whether the body is one piece of JSON by its type, and so no stream of events."""
        return self._response.content_type == "application/json"

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as received, unpacked, in parts of bounded size."""
        unpack = _unpacker(self._response.headers.get("content-encoding", ""))
        async for received in self._response.content.iter_any():
            for part in unpack(received):
                yield part
                if len(part) == _PIECE:
                    await anyio.sleep(0)  # long unpacking must not block other tasks

    async def body(self, largest: int = _LARGEST_ANSWER) -> bytes:
        """Return the whole body without the key.

        Raises ValueError if the body is larger, or packed by an unknown method.
        """
        body = bytearray()
        async for part in self.parts():
            body += part
            if len(body) > largest:
                raise ValueError("an answer is too large")
        return self._client.redact(bytes(body))

    async def complaint(self) -> str:
        """Return the endpoint's message on a refused request: one line without the key."""
        try:
            body = await self.body(_LARGEST_ERROR)
        except ValueError:
            return ""
        try:
            error = read_json(body)["error"]
            said = error["message"] if isinstance(error, dict) else error
        except (ValueError, LookupError, TypeError):
            said = None
        return self._client.clean(said if isinstance(said, str) else body.decode(errors="replace"))

    async def finish(self) -> None:
        """Read to the end, if it is near, so that the connection can be used again."""
        if not self._response.content.at_eof():
            with anyio.move_on_after(_DRAIN):
                await self._response.content.readany()


class Client:
    """Client of one address.

    Raises ConfigError if the environment names a proxy that is no HTTP proxy.

    Parameters
    ----------
    url
        Address that requests are posted to.
    key, variable
        Bearer token, empty for none, and its variable, which replaces it in answers and errors.
    connect, total
        Seconds for the connection and for the whole exchange; None if the caller times it.
    connections
        Most connections at a time; 0 for any number.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        variable: str | None = None,
        connect: float | None = None,
        total: float | None = None,
        connections: int = 0,
    ) -> None:
        self.url = url
        self._stand_in = f"[{variable}]"
        self.secrets = sorted(_forms(key), key=len, reverse=True)
        self._address, self._proxy = yarl.URL(url), proxy_for(url)
        self._addresses = {"": self._address}
        self._certificates = httpx.create_ssl_context()
        self._timeout = aiohttp.ClientTimeout(total=total, connect=connect)
        self._connections = connections
        # answers that are packed all the same are unpacked here, with a bounded size
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    @cached_property
    def _session(self) -> aiohttp.ClientSession:
        # made late: it belongs to the running loop, and none runs while a server is set up
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=_KEEP_ALIVE, ssl=self._certificates
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            proxy=self._proxy,
            max_field_size=_LARGEST_HEADER,
            auto_decompress=False,
            response_class=_Response,
            timeout=self._timeout,
        )

    async def aclose(self) -> None:
        """Close connections."""
        session = self.__dict__.pop("_session", None)
        if session is not None:
            await session.close()

    @asynccontextmanager
    async def post(
        self, content: bytes, *, path: str = "", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Received]:
        """Send JSON to the address, or a path below it, and wait for the head of the response.

        Raises
        ------
        ExchangeError
            On failure, also within the block, while a body is read.
        """
        try:
            if path not in self._addresses:
                self._addresses[path] = self._address / path
            address = self._addresses[path]
            async with self._session.post(
                address, data=content, headers=headers, allow_redirects=False
            ) as response:
                yield Received(response, self)
        except aiohttp.ClientError as error:
            if isinstance(error, _UNMADE):
                raise ExchangeError("no connection", sent=False) from None
            raise ExchangeError("a connection that was cut") from None
        except asyncio.TimeoutError:
            raise ExchangeError("no answer in time") from None

    def redact(self, data: bytes) -> bytes:
        """Return received bytes without the key, in any form in which an echo may contain it."""
        for secret in self.secrets:
            data = data.replace(secret.encode("ascii"), self._stand_in.encode("ascii", "replace"))
        return data

    def read(self, data: bytes) -> Any:
        """Return received JSON, read by `read_json`, without the key, escaped or not."""
        value = read_json(self.redact(data))
        if self.secrets and b"\\" in data:
            value = read_json(self.redact(json.dumps(value).encode("ascii")))
        return value

    def redacted(self, text: str) -> str:
        """Return text without the key, which `redact` misses where JSON escapes letters."""
        for secret in self.secrets:
            text = text.replace(secret, self._stand_in)
        return text

    def clean(self, text: str) -> str:
        """Return received text as one printable line, cut, without the key."""
        return one_line(self.redacted(text))[:_LONGEST_TEXT]


def post_once(client: Client, content: bytes) -> tuple[int, bytes]:
    """Return status and body of one request, from synchronous code.

    Raises ExchangeError if there is no answer; ValueError if the answer is too large.
    """

    # a session belongs to one loop, and several threads may call at once
    own = copy(client)

    async def exchange() -> tuple[int, bytes]:
        try:
            async with own.post(content) as received:
                return received.status, await received.body()
        finally:
            await own.aclose()

    # a separate thread, since that of a notebook has a running loop
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, exchange()).result()


def _forms(key: str) -> set[str]:
    if len(key) < _SHORTEST_SECRET:
        return set()
    data, escaped = key.encode("ascii"), json.dumps(key)[1:-1]
    digits = {data.hex(), "".join(f"%{each:02x}" for each in data)}
    # within a longer text base64 has one of three alignments, with other letters at both ends
    packed = {base64.b64encode(data).decode("ascii")}
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode("ascii")
        packed.add(text[-(-before * 4 // 3) : (before + len(data)) * 4 // 3])
    packed |= {each.replace("+", "-").replace("/", "_") for each in packed}
    plain = {key, escaped, escaped.replace("/", r"\/"), quote(key), quote(key, safe="")}
    return plain | {html.escape(key), *packed, *digits, *map(str.upper, digits)}


def _unpacker(encoding: str) -> Callable[[bytes], Iterator[bytes]]:
    if encoding.strip().lower() in ("", "identity"):
        return lambda data: iter((data,))
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        raise ValueError("an answer is packed in a way that was not asked for")
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # a header of gzip or of zlib

    def unpack(data: bytes) -> Iterator[bytes]:
        try:
            # a packed megabyte may be a gigabyte: unpack at most a piece at a time
            part = data
            while (data or len(part) == _PIECE) and not stream.eof:
                yield (part := stream.decompress(data, _PIECE))
                data = stream.unconsumed_tail
        except zlib.error:
            raise ValueError("an answer cannot be unpacked") from None

    return unpack
