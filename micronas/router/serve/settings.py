"""Settings of ``micronas router serve``."""

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from micronas.quantities import parse_bytes
from micronas.router.experts import Experts, Timeouts, read_experts
from micronas.router.serve.clients import Client
from micronas.router.serve.limits import Limits
from micronas.settings import Settings, nearest, read_mapping, validate_settings, with_overrides


class ServeSettings(Settings):
    """A serve configuration; times are seconds."""

    experts: Experts
    """Experts, or the path of an experts file."""
    router: Path | None = None
    """Folder of a fitted router. Paths are relative to the folder of the configuration."""
    fixed: str | None = None
    """Expert for every prompt, in place of a router. A single expert needs neither."""
    fallback: tuple[str, ...] | None = None
    """Experts to ask, in this order, if the chosen one does not answer. By default all others: as
    ranked by the router for the category, or in the order of `experts`."""
    model: str = Field(default="micronas-router", min_length=1)
    """Model name that asks for routing; an expert's name asks for that expert."""
    host: str = "127.0.0.1"
    """Address. Other than loopback only with keys or ``insecure``."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port; 0 takes a free one."""
    hosts: tuple[str, ...] = ()
    """Names of the server in clients' ``Host`` header. Names of loopback are not needed, nor
    addresses if the server listens at more than loopback."""
    origins: tuple[str, ...] = ()
    """Web pages that may use the server, such as ``https://chat.example``; all others are
    refused."""
    keys_env: str | None = None
    """Environment variable of the keys of clients, separated by commas; None for no such keys. A
    key counts by its place: leave the place of a removed key empty."""
    clients: tuple[Client, ...] = ()
    """Clients with their own names, keys, limits and rights, in addition to those of keys_env."""
    limits: Limits = Limits()
    """Limits of each key, or of all clients together without keys."""
    state: Path | None = None
    """File that keeps spending and the control of the budget over a restart. By default beside the
    configuration: ``serve.state.json`` for ``serve.yaml``."""
    control: bool = True
    """Keep a router's budget on average, for any prompts, by moving to the mapping of a smaller or
    a larger budget."""
    sticky: float = Field(default=0.0, ge=0)
    """Seconds for which a conversation stays with the expert that answered it; 0 routes each
    request anew."""
    insecure: bool = False
    """Allow everyone who reaches the server to use it without a key."""
    timeouts: Timeouts = Timeouts()
    """Time limits of one attempt at an expert."""
    deadline: float = Field(default=300.0, gt=0)
    """Time limit of a whole request, from its arrival to the last byte of its answer."""
    retries: int = Field(default=1, ge=0)
    """Number of further rounds over the experts that may succeed, after all were asked once."""
    backoff: float = Field(default=0.25, ge=0)
    """Pause before the first retry; doubled each time, and half of it random."""
    longest_wait: float = Field(default=5.0, ge=0)
    """Longest ``Retry-After`` to wait for; a longer one makes the expert cool down."""
    failures: int = Field(default=3, gt=0)
    """Number of failed attempts in a row after which an expert cools down."""
    cool_down: float = Field(default=30.0, ge=0)
    """Rest of an expert after failures; a ``Retry-After`` is obeyed up to ten times this."""
    concurrency: int = Field(default=64, gt=0)
    """Most requests in work; others wait. Of several clients, each has at most half of those that
    the others leave."""
    patience: float = Field(default=10.0, ge=0)
    """Longest wait, after which a request is refused with 503."""
    largest_body: Annotated[int, BeforeValidator(parse_bytes)] = 4_000_000
    """Largest size of a request, such as ``4 MB``."""
    grace: int = Field(default=10, ge=0)
    """Whole seconds for requests in work after a signal to stop."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "ServeSettings":
        names = [each.name for each in self.experts]
        for each in self.experts:
            if each.endpoint is None:
                raise ValueError(f"an expert to serve must have an endpoint: {each.name!r}")
        wanted = [*(self.fallback or ()), *([self.fixed] if self.fixed is not None else [])]
        for name in wanted:
            if name not in names:
                raise ValueError(f"{name!r} is no expert; {nearest(name, names)}")
        if self.model in names:
            raise ValueError(f"model must be no expert's name, but {self.model!r} is one")
        if self.router is not None and self.fixed is not None:
            raise ValueError("a server routes by router or to one fixed expert, but both are given")
        if not (is_loopback(self.host) or self.keys_env or self.clients or self.insecure):
            raise ValueError(
                f"a server that others reach must ask for keys, but host {self.host} has none; "
                "name their variable in keys_env or clients, or set insecure: true"
            )
        return self


def is_loopback(host: str) -> bool:
    """Return whether an address or a name is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_settings(path: Path, overrides: Iterable[str] = ()) -> ServeSettings:
    """Read a serve configuration.

    Raises ConfigError if a file cannot be read, a key or name is unknown, a number is out of its
    range, or there is no way to route or to call an expert.
    """
    values, lines = read_mapping(path)
    values = with_overrides(values, overrides)
    folder = path.parent
    if isinstance(values.get("experts"), str):
        values["experts"] = read_experts(folder / values["experts"])
    settings = validate_settings(values, ServeSettings, source=str(path), lines=lines)
    router = None if settings.router is None else folder / settings.router
    state = folder / (settings.state or f"{path.stem}.state.json")
    return settings.model_copy(update={"router": router, "state": state})
