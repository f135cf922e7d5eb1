"""Run the server until a signal stops it."""

import gc
import logging
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from micronas.errors import ConfigError
from micronas.router.serve.settings import ServeSettings

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

_NEEDED = ("starlette", "uvicorn", "httptools", "aiohttp", "httpx", "prometheus_client")
_KEEP_ALIVE = 30
"""Seconds until an idle connection is closed, longer than clients wait to close theirs."""


def serve(settings: ServeSettings, read: Callable[[], ServeSettings] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; requests in work may finish.

    The address is printed once the server listens, and one line per request goes to stderr.
    Prompts, answers and keys are never written.

    Raises ConfigError if a package is missing, the address is taken, a key not set or an expert not
    callable.

    `read` reads the configuration again, at ``POST /admin/reload`` and SIGHUP.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"serving needs the packages {', '.join(_NEEDED)}, but {', '.join(missing)} is not "
            "there: pip install '.[router]'"
        )
    import uvicorn

    from micronas.router.serve.app import create_app

    app = create_app(settings, read=read)
    _log_to_stderr()
    with listen(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"{settings.model} at http://{shown}:{port}/v1", flush=True)
        # loaded objects stay; scanning them again would stop all requests for about 45 ms
        gc.freeze()
        try:
            uvicorn.Server(configured(app, settings)).run(sockets=[listener])
        except KeyboardInterrupt:
            return  # the usual end of a server, which has already shut down


def configured(app: "Starlette", settings: ServeSettings, **more: Any) -> "uvicorn.Config":
    """Return the configuration of uvicorn for an application; `more` is added to it."""
    import uvicorn

    from micronas.router.serve.wire import Connection

    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=settings.grace,
        **{"log_level": "warning", **more},
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises ConfigError if the address is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise ConfigError(
            f"the server cannot listen at {host} port {port}: {error.strerror or error}; choose "
            "another host or port"
        ) from error
    # connections inherit it: asyncio sets it only where the socket's protocol number is given, and
    # without it the second half of each answer waits 40 ms for the first one's acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("micronas.router")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False
