"""Ray, where work runs that this machine is too small for."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from micronas.errors import ConfigError


@contextmanager
def connected(address: str, *, cpus: int) -> Iterator[Any]:
    """Yield the module `ray`, connected; leave it in the end.

    Parameters
    ----------
    address
        ``local`` starts Ray on this machine, ``auto`` joins the one that runs here, ``HOST:PORT``
        that of a cluster.
    cpus
        For how many a Ray that is started here makes room.

    Raises
    ------
    ConfigError
        If Ray is not installed or does not answer.
    """
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(
            "Ray is an extra, which is not installed; pip install '.[ray]', or leave ray out"
        ) from error
    room = {"num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(
            address=address,
            logging_level="ERROR",
            log_to_driver=False,
            **(room if address == "local" else {}),
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"Ray must answer at its address, but {address!r} does not ({reason}); start it, "
            "or give --ray local"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()
