"""Experts of this process: functions of the messages."""

import asyncio
import importlib
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future

from micronas.errors import ConfigError
from micronas.router.serve.backend import AttemptError
from micronas.router.serve.protocol import (
    ApiError,
    Ask,
    Json,
    ascii_text,
    completion,
    pieces,
)

_log = logging.getLogger("micronas.router")


class Local:
    """A function from a request to a text, run in a thread; its stream is one piece."""

    def __init__(self, name: str, answer: Callable[[Ask], str]) -> None:
        self._name, self._answer = name, answer

    async def aclose(self) -> None:
        pass

    async def ask(self, ask: Ask) -> AsyncGenerator[Json, None]:
        if ask.kind != "chat/completions":
            message = f"expert {self._name!r} answers /v1/chat/completions only"
            raise ApiError(400, ascii_text(message), "chat_only")
        text = await _in_thread(self._try, ask)
        for each in pieces(text) if ask.stream else [completion(text)]:
            yield {**each, "model": self._name}

    def _try(self, ask: Ask) -> str:
        try:
            text: object = self._answer(ask)
        except ApiError:
            raise
        except (Exception, SystemExit) as error:
            # a user's function may raise anything; its text is for the log, not for clients
            _log.warning("expert %s: %s", ascii_text(self._name), ascii_text(repr(error)))
            raise AttemptError(type(error).__name__, again=False, free=True) from None
        if not isinstance(text, str):
            _log.warning("expert %s: no text but %s", ascii_text(self._name), type(text).__name__)
            raise AttemptError("an answer that is no text", again=False)
        return text


def function(path: str) -> Callable[[Ask], str]:
    """Import ``package.module:function``, which takes the messages and returns a text.

    Raises
    ------
    ConfigError
        If there is no such plain function.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ConfigError(
            f"a callable expert must be importable, but {path!r} is not: {error!r}"
        ) from error
    if not callable(found) or inspect.iscoroutinefunction(found):
        raise ConfigError(f"a callable expert must be a plain function, but {path!r} is none")
    return lambda ask: found(ask.messages)


async def _in_thread(work: Callable[[Ask], str], ask: Ask) -> str:
    """Run in a daemon thread: a function that never returns keeps neither slot nor process."""
    outcome: Future[str] = Future()
    outcome.set_running_or_notify_cancel()  # whoever waits may leave, the function goes on

    def run() -> None:
        try:
            outcome.set_result(work(ask))
        except Exception as error:
            outcome.set_exception(error)

    threading.Thread(target=run, daemon=True, name="expert").start()
    return await asyncio.wrap_future(outcome)
