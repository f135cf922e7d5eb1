"""Paths of the HTTP server."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from micronas.errors import MicronasError
from micronas.router.decision import Routing
from micronas.router.experts import parse_parameters
from micronas.router.serve.exchange import Exchange, Slots
from micronas.router.serve.metrics import CONTENT_TYPE
from micronas.router.serve.protocol import LARGE, ApiError, RequestKind, ascii_text, parse_ask
from micronas.router.serve.service import Gateway, on_hangup
from micronas.router.serve.settings import ServeSettings
from micronas.router.serve.web import WebGuard

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_STATE = 512
_log = logging.getLogger("micronas.router")
_Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(
    settings: ServeSettings,
    routing: Routing | None = None,
    read: Callable[[], ServeSettings] | None = None,
) -> Starlette:
    """Return the server as an ASGI application.

    Raises ConfigError if a key is not set, an expert cannot be called or the router cannot be
    loaded; DataError if the router, or the counts of an earlier server, cannot be read.

    `routing` replaces the settings' router; `read` reads the configuration again, at ``POST
    /admin/reload`` and SIGHUP.
    """
    gateway = Gateway(settings, routing, read)
    metrics = gateway.metrics
    slots = Slots(lambda: gateway.service, metrics)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(gateway.keep())
        on_hangup(gateway)
        yield
        keeping.cancel()
        await gateway.aclose()

    def protected(path: str, endpoint: _Endpoint, method: str = "GET") -> Route:
        return Route(path, _Guarded(endpoint, gateway), methods=[method])

    async def exchange(request: Request, kind: RequestKind) -> Response:
        arrival = time.monotonic()
        service, client = gateway.service, request.state.client
        try:
            with anyio.fail_after(service.settings.deadline):
                body = await _body(request, service.settings.largest_body)
                headers, budget = _traced(request), _budget(request)
                read = partial(parse_ask, headers=headers, key=client.name, budget=budget)
                small = len(body) <= LARGE
                ask = read(body, kind) if small else await to_thread.run_sync(read, body, kind)
        except TimeoutError:
            message = f"the request must arrive in {service.settings.deadline:g} s, but did not"
            late = ApiError(408, message, "deadline")
            return JSONResponse(late.body(), late.status, {"Connection": "close"})
        except ClientDisconnect:
            metrics.requests.labels("", "", "gone").inc()
            _log.info("a client left within its request: seconds=%.3f", time.monotonic() - arrival)
            return Response()
        # the service may have been replaced meanwhile
        service = gateway.service
        service.planner.check(ask)
        booking = gateway.ledger.admit(ask)
        service.requests += 1
        return Exchange(
            ask, service, slots=slots, booking=booking, metrics=metrics, arrival=arrival
        )

    def asked(kind: RequestKind) -> Route:
        return protected(f"/v1/{kind}", lambda request: exchange(request, kind), "POST")

    async def models(_: Request) -> Response:
        known = gateway.service.settings
        names = [known.model, *(each.name for each in known.experts)]
        return JSONResponse({"object": "list", "data": [_model(name) for name in names]})

    async def one_model(request: Request) -> Response:
        name, service = request.path_params["name"], gateway.service
        if name != service.settings.model and name not in service.dispatcher.served:
            raise service.planner.unknown(name)
        return JSONResponse(_model(name))

    async def usage(request: Request) -> Response:
        client = request.state.client
        rows = gateway.ledger.usage(None if client.admin else client.name)
        return JSONResponse({"object": "list", "data": rows})

    async def reload(request: Request) -> Response:
        if not request.state.client.admin:
            raise ApiError(403, "only clients with admin: true may reload", "no_admin")
        try:
            await gateway.reload()
        except MicronasError as error:
            raise ApiError(400, ascii_text(str(error)), "invalid_configuration") from None
        return JSONResponse({"status": "ok"})

    async def healthz(_: Request) -> Response:
        cooling = gateway.service.dispatcher.cooling()
        resting = {name: round(seconds, 3) for name, seconds in cooling.items()}
        return JSONResponse({"status": "ok", "cooling": resting})

    async def figures(_: Request) -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    # no framework above Starlette: it would cost more per request than the routing
    app = Starlette(
        lifespan=lifespan,
        routes=[
            asked("chat/completions"),
            asked("completions"),
            asked("embeddings"),
            asked("responses"),
            protected("/v1/models", models),
            protected("/v1/models/{name:path}", one_model),
            protected("/v1/usage", usage),
            protected("/admin/reload", reload, "POST"),
            Route("/healthz", healthz),
            Route("/metrics", figures),
        ],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _bug},
    )
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            # clients in pages send many of their own, such as OpenAI's X-Stainless-OS
            allow_headers=["*"],
        )
    app.add_middleware(WebGuard, settings=settings)
    return app


class _Guarded:
    """An endpoint for clients with a key, as an application, which Starlette does not wrap."""

    def __init__(self, endpoint: _Endpoint, gateway: Gateway) -> None:
        self._endpoint, self._gateway = endpoint, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        given = request.headers.get("authorization", "")
        request.state.client = self._gateway.service.clients.of(given)
        response = await self._endpoint(request)
        await response(scope, receive, send)


def _budget(request: Request) -> float | None:
    """Return the budget named by a request, or None; raise ApiError if it is not allowed."""
    given = request.headers.get("x-micronas-budget")
    if given is None:
        return None
    if not request.state.client.budget:
        raise ApiError(403, "only clients with budget: true may name a budget", "no_budget")
    try:
        return parse_parameters(given)
    except ValueError as error:
        raise ApiError(400, f"X-Micronas-Budget: {error}", "invalid_request") from None


async def _body(request: Request, largest: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # web pages cannot send this type without a preflight request
    if kind != "application/json":
        raise ApiError(415, "a request must have the Content-Type application/json", "no_json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise ApiError(413, f"a request must have at most {largest} bytes", "too_large")
    return bytes(body)


def _traced(request: Request) -> dict[str, str]:
    """Return the valid headers of a trace (W3C Trace Context)."""
    parent, state = (request.headers.get(name, "") for name in ("traceparent", "tracestate"))
    if not _TRACEPARENT.fullmatch(parent):
        return {}
    kept = 0 < len(state) <= _LONGEST_STATE and state.isascii() and state.isprintable()
    return {"traceparent": parent, **({"tracestate": state} if kept else {})}


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "micronas"}


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body(), error.status, error.headers())


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = ascii_text(f"{request.method} {request.url.path}")
    message = f"{error.detail}: {asked}; the base_url of clients ends in /v1"
    return await _api_error(request, ApiError(error.status_code, message, "http"))


async def _bug(request: Request, error: Exception) -> Response:
    _log.error("a bug: %s", type(error).__name__)
    return await _api_error(request, ApiError(500, "the router failed", "internal"))
