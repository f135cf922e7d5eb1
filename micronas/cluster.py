"""Connections to Ray, which runs work on other machines."""

import importlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from micronas.errors import ConfigError

_PATIENCE = 10.0
"""Timeout of a connection in seconds."""


@contextmanager
def connected(address: str, *, cpus: int) -> Iterator[Any]:
    """Yield the module `ray`, connected, and disconnect at the end.

    Address ``local`` starts Ray on this machine, with so many `cpus`, ``auto`` joins the one
    running here, ``HOST:PORT`` that of a cluster. Raises ConfigError if Ray is not installed or
    does not answer.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "Ray is an extra, which is not installed; pip install '.[ray]', or leave ray out"
        ) from error
    _knock(address)
    room = {"num_cpus": cpus, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **room)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise _silent(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise ConfigError where no server listens: Ray itself would try for ever."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _silent(address, error) from error


def _silent(address: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:200]
    return ConfigError(
        f"Ray must answer at its address, but {address!r} does not ({reason}); start it, or give "
        "--ray local"
    )
