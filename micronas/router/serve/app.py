"""The HTTP server's paths."""

import hmac
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from micronas.errors import ConfigError
from micronas.language.endpoints import api_key
from micronas.router.decision import Routing
from micronas.router.serve.dispatch import Dispatcher
from micronas.router.serve.exchange import Exchange, Slots
from micronas.router.serve.limits import KeyLimits
from micronas.router.serve.metrics import CONTENT_TYPE, Metrics
from micronas.router.serve.plan import Fixed, Planner
from micronas.router.serve.protocol import ApiError, Kind, parse_ask
from micronas.router.serve.settings import ServeSettings
from micronas.router.serve.web import WebGuard

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LONGEST_STATE = 512
_log = logging.getLogger("micronas.router")
Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(settings: ServeSettings, routing: Routing | None = None) -> Starlette:
    """Return the server as an ASGI application.

    Parameters
    ----------
    settings
        As read from a serve configuration.
    routing
        In place of the router the settings name.

    Raises
    ------
    ConfigError
        If a key is not set, an expert cannot be called or the router cannot be loaded.
    """
    keys = _keys(settings)
    metrics = Metrics()
    dispatcher = Dispatcher(settings, metrics)
    planner = Planner(settings, routing or _routing(settings))
    slots = Slots(settings, metrics)
    limits = KeyLimits(settings.limits)
    if planner.controller is not None:
        metrics.watch(planner.controller)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        planner.close()
        await dispatcher.aclose()

    def protected(path: str, endpoint: Endpoint, method: str = "GET") -> Route:
        return Route(path, _Guarded(endpoint, keys), methods=[method])

    async def exchange(request: Request, kind: Kind) -> Response:
        arrival = time.monotonic()
        try:
            with anyio.fail_after(settings.deadline):
                body = await _body(request, settings.largest_body)
                ask = parse_ask(body, kind, headers=_traced(request), key=request.state.key)
        except TimeoutError:
            message = f"the request must be there in {settings.deadline:g} s, but is not"
            late = ApiError(408, message, "deadline")
            return JSONResponse(late.body(), late.status, {"Connection": "close"})
        except ClientDisconnect:
            metrics.requests.labels("", "", "gone").inc()
            _log.info("a client left within its request: seconds=%.3f", time.monotonic() - arrival)
            return Response()
        planner.check(ask)
        limits.admit(ask.key)
        return Exchange(
            ask,
            settings,
            planner=planner,
            dispatcher=dispatcher,
            slots=slots,
            metrics=metrics,
            limits=limits,
            arrival=arrival,
        )

    def asked(kind: Kind) -> Route:
        return protected(f"/v1/{kind}", lambda request: exchange(request, kind), "POST")

    async def responses(_: Request) -> Response:
        message = "/v1/responses is not served; send the messages to /v1/chat/completions"
        raise ApiError(404, message, "not_served")

    async def models(_: Request) -> Response:
        names = [settings.model, *(each.name for each in settings.experts)]
        return JSONResponse({"object": "list", "data": [_model(name) for name in names]})

    async def one_model(request: Request) -> Response:
        name = request.path_params["name"]
        if name != settings.model and name not in dispatcher.served:
            raise planner.unknown(name)
        return JSONResponse(_model(name))

    async def healthz(_: Request) -> Response:
        cooling = {name: round(each.cooling, 3) for name, each in dispatcher.served.items()}
        resting = {name: rest for name, rest in cooling.items() if rest}
        return JSONResponse({"status": "ok", "cooling": resting})

    async def figures(_: Request) -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    # no framework above Starlette: what it does for a request costs more than routing it
    app = Starlette(
        lifespan=lifespan,
        routes=[
            asked("chat/completions"),
            asked("completions"),
            asked("embeddings"),
            protected("/v1/responses", responses, "POST"),
            protected("/v1/models", models),
            protected("/v1/models/{name:path}", one_model),
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
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(WebGuard, settings=settings)
    return app


class _Guarded:
    """An endpoint for clients with a key; as an application, which Starlette wraps in nothing."""

    def __init__(self, endpoint: Endpoint, keys: Sequence[bytes]) -> None:
        self._endpoint, self._keys = endpoint, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        # every key is compared in full, so that the time taken tells nothing
        fits = [hmac.compare_digest(given, key) for key in self._keys]
        if self._keys and not any(fits):
            raise ApiError(401, "the API key is missing or wrong", "invalid_api_key")
        request.state.key = f"key {fits.index(True) + 1}" if fits else ""
        response = await self._endpoint(request)
        await response(scope, receive, send)


def _keys(settings: ServeSettings) -> Sequence[bytes]:
    if settings.keys_env is None:
        return ()
    keys = [key.strip().encode() for key in api_key(settings.keys_env).split(",") if key.strip()]
    if not keys:
        raise ConfigError(
            f"keys_env must name a variable that holds keys, but {settings.keys_env} is not set"
        )
    return keys


def _routing(settings: ServeSettings) -> Routing:
    if settings.router is not None:
        from micronas.router.policy import Router

        router = Router.load(settings.router)
        names = [each.name for each in settings.experts]
        for row in router.mapping():
            if row["expert"] not in names:
                raise ConfigError(
                    f"every expert of {settings.router} must be served, but it sends "
                    f"{row['category']!r} to {row['expert']!r}; add it to experts"
                )
        return router
    chosen = [each for each in settings.experts if settings.fixed in (None, each.name)]
    if len(chosen) > 1:
        raise ConfigError(
            f"{len(chosen)} experts need router: the folder of a fitted one, or fixed: an expert"
        )
    (expert,) = chosen
    return Fixed(expert.name, expert.active)


async def _body(request: Request, largest: int) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # what a page of the web cannot send without asking first
    if kind != "application/json":
        raise ApiError(415, "a request must have the Content-Type application/json", "no_json")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > largest:
            raise ApiError(413, f"a request must have at most {largest} bytes", "too_large")
    return bytes(body)


def _traced(request: Request) -> dict[str, str]:
    """Return the headers of a trace (W3C Trace Context), where they are what they should be."""
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
    return await _api_error(request, ApiError(error.status_code, str(error.detail), "http"))


async def _bug(request: Request, error: Exception) -> Response:
    _log.error("a bug: %s", type(error).__name__)
    return await _api_error(request, ApiError(500, "the router failed", "internal"))
