"""The HTTP server's paths."""

import hmac
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

from micronas.errors import ConfigError
from micronas.language.endpoints import api_key
from micronas.router.decision import Routing
from micronas.router.serve.dispatch import Dispatcher
from micronas.router.serve.exchange import Exchange, Slots
from micronas.router.serve.metrics import CONTENT_TYPE, Metrics
from micronas.router.serve.plan import Fixed, Planner
from micronas.router.serve.protocol import ApiError, parse_ask
from micronas.router.serve.settings import ServeSettings
from micronas.router.serve.web import WebGuard

_log = logging.getLogger("micronas.router")


def create_app(settings: ServeSettings, routing: Routing | None = None) -> FastAPI:
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

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        planner.close()
        await dispatcher.aclose()

    async def authorised(request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        # every key is compared in full, so that the time taken tells nothing
        if keys and not sum(hmac.compare_digest(given, key) for key in keys):
            raise ApiError(401, "the API key is missing or wrong", "invalid_api_key")

    app = FastAPI(title="micronas router", docs_url=None, redoc_url=None, lifespan=lifespan)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(WebGuard, settings=settings)
    protected = [Depends(authorised)]

    @app.post("/v1/chat/completions", dependencies=protected)
    async def chat(request: Request) -> Response:
        arrival = time.monotonic()
        try:
            with anyio.fail_after(settings.deadline):
                ask = parse_ask(await _body(request, settings.largest_body))
        except TimeoutError:
            message = f"the request must be there in {settings.deadline:g} s, but is not"
            late = ApiError(408, message, "deadline")
            return JSONResponse(late.body(), late.status, {"Connection": "close"})
        except ClientDisconnect:
            metrics.requests.labels("", "", "gone").inc()
            _log.info("a client left within its request: seconds=%.3f", time.monotonic() - arrival)
            return Response()
        planner.check(ask)
        return Exchange(
            ask,
            settings,
            planner=planner,
            dispatcher=dispatcher,
            slots=slots,
            metrics=metrics,
            arrival=arrival,
        )

    @app.get("/v1/models", dependencies=protected)
    async def models() -> dict[str, Any]:
        names = [settings.model, *(each.name for each in settings.experts)]
        return {"object": "list", "data": [_model(name) for name in names]}

    @app.get("/healthz")
    async def healthz() -> dict[str, Any]:
        cooling = {name: round(each.cooling, 3) for name, each in dispatcher.served.items()}
        return {"status": "ok", "cooling": {name: rest for name, rest in cooling.items() if rest}}

    @app.get("/metrics")
    async def figures() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    return app


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
