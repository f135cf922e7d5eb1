"""Refuse requests of foreign web pages, which a user's browser would send here at a cost."""

import ipaddress
import re

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from micronas.router.serve.protocol import ApiError, ascii_text
from micronas.router.serve.settings import ServeSettings, is_loopback

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+?)\.?(:\d*)?", re.ASCII)


class WebGuard:
    """Refuse hosts that are not this server's (DNS rebinding), and pages of other origins.

    Hosts and origins of the settings are accepted, in addition to hosts that no page can have.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._hosts = {each.lower() for each in (*settings.hosts, settings.host)}
        self._origins = settings.origins
        self._alone = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._objection(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
        else:
            await JSONResponse(error.body(), error.status)(scope, receive, send)

    def _objection(self, scope: Scope) -> ApiError | None:
        given: dict[bytes, list[str]] = {b"host": [], b"origin": []}
        for name, value in scope["headers"]:
            if name in given:
                given[name].append(value.decode("latin-1"))
        if len(given[b"host"]) != 1 or not self._serves(given[b"host"][0]):
            shown = ascii_text(", ".join(given[b"host"]))
            message = f"the host {shown!r} is not served here; name it in hosts"
            return ApiError(421, message, "unknown_host")
        for origin in given[b"origin"]:
            if origin not in self._origins:
                message = f"pages of {ascii_text(origin)!r} are not served; name it in origins"
                return ApiError(403, message, "foreign_origin")
        return None

    def _serves(self, host: str) -> bool:
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1].strip("[]")
        if name in self._hosts or is_loopback(name):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return not self._alone  # a foreign server can claim a name, but not an address
