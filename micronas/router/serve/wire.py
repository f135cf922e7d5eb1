"""A client's connection, with bounds before and after HTTP is parsed."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from micronas.router.serve.protocol import ApiError

_LARGEST_HEAD = 64 * 2**10
"""Bytes between two bodies: a request's line, headers and trailers."""
_MOST_HEADERS = 100
_SLICE = 2**14
_PATIENCE = 15.0
"""Seconds for the head of a request, for an unread body, and for any progress at the end."""


class Connection(HttpToolsProtocol):
    """HTTP with bounds on bytes and time, which uvicorn and its parser do not have."""

    _unparsed = 0
    _whole = True
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Gathering(transport))  # type: ignore[arg-type]
        self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # the parser joins a header that arrives in parts, which takes quadratic time
        for start in range(0, len(data), _SLICE):
            if self.transport.is_closing():
                return
            part = data[start : start + _SLICE]
            self._unparsed += len(part)
            super().data_received(part)
            if self._unparsed > _LARGEST_HEAD:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unparsed = 0
        self._hurry()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) == _MOST_HEADERS:
            raise ValueError("too many headers")  # ends in send_400_response
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._calm()
        self._whole = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._calm()
        self._whole = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._whole:
            self._hurry()

    def send_400_response(self, msg: str) -> None:
        many = self.headers is not None and len(self.headers) == _MOST_HEADERS
        self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if many else HTTPStatus.BAD_REQUEST)

    def _refuse(self, status: HTTPStatus) -> None:
        cycle = self.cycle
        answered = cycle is None or cycle.response_complete
        if answered or (cycle.more_body and not cycle.response_started and not self.pipeline):
            error = ApiError(status, f"the request is no HTTP in bounds: {status.phrase}", "http")
            body = json.dumps(error.body()).encode("ascii")
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _hurry(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(_PATIENCE, self._hang_up)

    def _calm(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _hang_up(self) -> None:
        self._late = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._hurry()  # an answer is on its way
        else:
            self.transport.close()


class Gathering:
    """A transport that sends all writes of one turn of the loop at once.

    Headers and a first piece are two writes, and each would wake a client, which may then take the
    processor while other requests wait.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        if not self._transport.is_closing():
            self._transport.close()
            self._see_off(0)

    def _see_off(self, unsent: int) -> None:
        """Abort a client that receives none of the remaining bytes."""
        left = self._transport.get_write_buffer_size()
        if left and left == unsent:
            self._transport.abort()
        elif left:
            asyncio.get_running_loop().call_later(_PATIENCE, self._see_off, left)

    def _flush(self) -> None:
        if self._parts and not self._transport.is_closing():
            self._transport.write(b"".join(self._parts))
        self._parts.clear()
