"""A configuration in service, and its replacement without losing a request."""

import asyncio
import json
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import anyio
from anyio import to_thread

from micronas.errors import ConfigError, DataError, MicronasError
from micronas.files import write_atomically
from micronas.router.decision import Routing
from micronas.router.serve.clients import Clients
from micronas.router.serve.dispatch import Dispatcher
from micronas.router.serve.limits import Ledger, Spent
from micronas.router.serve.metrics import Metrics
from micronas.router.serve.plan import Fixed, Planner
from micronas.router.serve.protocol import Json
from micronas.router.serve.settings import ServeSettings

_log = logging.getLogger("micronas.router")
_BETWEEN_WRITES = 5.0
_PAUSE = 0.1


class Service:
    """Clients, experts and routing of one reading of the configuration.

    Raises ConfigError if a key is not set, an expert cannot be called or the router cannot be
    loaded.
    """

    def __init__(
        self, settings: ServeSettings, metrics: Metrics, routing: Routing | None = None
    ) -> None:
        self.settings = settings
        self.clients = Clients(settings.keys_env, settings.clients, settings.limits)
        self.dispatcher = Dispatcher(settings, metrics)
        self.planner = Planner(settings, routing or _routing_of(settings))
        self.requests = 0
        """Number of requests in work that began with it."""

    async def aclose(self) -> None:
        """Release threads and connections."""
        self.planner.close()
        await self.dispatcher.aclose()


class Gateway:
    """The current service, and the accounts, metrics and state on disk that outlive it.

    `routing` replaces the settings' router; `read` reads the configuration again, None without one.
    """

    def __init__(
        self,
        settings: ServeSettings,
        routing: Routing | None = None,
        read: Callable[[], ServeSettings] | None = None,
    ) -> None:
        self.metrics = Metrics()
        self._routing, self._read, self._path = routing, read, settings.state
        self.service = Service(settings, self.metrics, routing)
        self.ledger = Ledger(lambda name: self.service.clients.limits(name), self._note)
        self._written: Json = {}
        self._retiring: set[asyncio.Task[None]] = set()
        if self._path is not None and self._path.exists():
            self._restore(self._path)
        self.metrics.watch(lambda: self.service.planner.controller)

    async def reload(self) -> None:
        """Read the configuration again; requests in work keep the former one.

        Raises MicronasError if it is wrong; nothing changes then.
        """
        if self._read is None:
            raise ConfigError("this server has no configuration file to read again")
        settings = await to_thread.run_sync(self._read)
        service = await to_thread.run_sync(Service, settings, self.metrics, self._routing)
        former, self.service = self.service, service
        service.planner.succeed(former.planner)
        task = asyncio.create_task(_retire(former))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        _log.info("the configuration was read again")

    async def keep(self) -> None:
        """Write the state whenever it has changed, until cancelled."""
        while True:
            await anyio.sleep(_BETWEEN_WRITES)
            state = self._state()
            if state != self._written:
                await to_thread.run_sync(self._write, state)

    async def aclose(self) -> None:
        """Write the state, and release everything."""
        self._write(self._state())
        await self.service.aclose()

    def _state(self) -> Json:
        controller = self.service.planner.controller
        return {**self.ledger.state(), "budget": None if controller is None else controller.state()}

    def _write(self, state: Json) -> None:
        if self._path is None or state == self._written:
            return
        try:
            write_atomically(self._path, json.dumps(state).encode("ascii"))
            self._written = state
        except (OSError, MicronasError) as error:
            _log.error("the state cannot be kept in %s: %s", self._path.name, error)

    def _restore(self, path: Path) -> None:
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            self.ledger.restore(state)
            controller = self.service.planner.controller
            if controller is not None and state["budget"] is not None:
                controller.restore(state["budget"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} must hold the counts of a server: {error!r}; delete it to count anew"
            ) from error

    def _note(self, client: str, expert: str, category: str, spent: Spent) -> None:
        labels = (client, expert, category)
        self.metrics.tokens.labels(*labels, "prompt").inc(spent.prompt_tokens)
        self.metrics.tokens.labels(*labels, "completion").inc(spent.completion_tokens)
        self.metrics.usd.labels(*labels).inc(spent.usd)


def on_hangup(gateway: Gateway) -> None:
    """Read the configuration again at SIGHUP, where signals are available."""

    async def reload() -> None:
        try:
            await gateway.reload()
        except MicronasError as error:
            _log.error("the configuration stays as it was: %s", error)

    def start() -> None:
        tasks.append(asyncio.create_task(reload()))
        del tasks[:-2]  # the loop itself holds no task

    tasks: list[asyncio.Task[None]] = []
    with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread, or Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, start)


async def _retire(service: Service) -> None:
    while service.requests:
        await anyio.sleep(_PAUSE)
    await service.aclose()


def _routing_of(settings: ServeSettings) -> Routing:
    """Return the router of the settings, or one expert for every prompt.

    Raises ConfigError if several experts have no router, or one of the router's is not served;
    DataError if the router cannot be read.
    """
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
