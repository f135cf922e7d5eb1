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
    """A serve configuration; times are seconds.

    Attributes
    ----------
    experts
        Experts, or the path of an experts file.
    router
        Folder of a fitted router. Paths are relative to the folder of the configuration.
    fixed
        Expert for every prompt, in place of a router. A single expert needs neither.
    fallback
        Experts to ask, in this order, if the chosen one does not answer. By default all others: as
        ranked by the router for the category, or in the order of `experts`.
    model
        Model name that asks for routing; an expert's name asks for that expert.
    host, port
        Address; port 0 takes a free one. Other than loopback only with keys or ``insecure``.
    hosts
        Names of the server in clients' ``Host`` header. Names of loopback are not needed, nor
        addresses if the server listens at more than loopback.
    origins
        Web pages that may use the server, such as ``https://chat.example``; all others are
        refused.
    keys_env
        Environment variable of the keys of clients, separated by commas; None for no such keys. A
        key counts by its place: leave the place of a removed key empty.
    clients
        Clients with their own names, keys, limits and rights, in addition to those of keys_env.
    limits
        Limits of each key, or of all clients together without keys.
    state
        File that keeps spending and the control of the budget over a restart. By default beside the
        configuration: ``serve.state.json`` for ``serve.yaml``.
    control
        Keep a router's budget on average, for any prompts, by moving to the mapping of a smaller or
        a larger budget.
    sticky
        Seconds for which a conversation stays with the expert that answered it; 0 routes each
        request anew.
    insecure
        Allow everyone who reaches the server to use it without a key.
    timeouts
        Time limits of one attempt at an expert.
    deadline
        Time limit of a whole request, from its arrival to the last byte of its answer.
    retries
        Number of further rounds over the experts that may succeed, after all were asked once.
    backoff
        Pause before the first retry; doubled each time, and half of it random.
    longest_wait
        Longest ``Retry-After`` to wait for; a longer one makes the expert cool down.
    failures
        Number of failed attempts in a row after which an expert cools down.
    cool_down
        Rest of an expert after failures; a ``Retry-After`` is obeyed up to ten times this.
    concurrency
        Most requests in work; others wait. Of several clients, each has at most half of those that
        the others leave.
    patience
        Longest wait, after which a request is refused with 503.
    largest_body
        Largest size of a request, such as ``4 MB``.
    grace
        Whole seconds for requests in work after a signal to stop.
    """

    experts: Experts
    router: Path | None = None
    fixed: str | None = None
    fallback: tuple[str, ...] | None = None
    model: str = Field(default="micronas-router", min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    keys_env: str | None = None
    clients: tuple[Client, ...] = ()
    limits: Limits = Limits()
    state: Path | None = None
    control: bool = True
    sticky: float = Field(default=0.0, ge=0)
    insecure: bool = False
    timeouts: Timeouts = Timeouts()
    deadline: float = Field(default=300.0, gt=0)
    retries: int = Field(default=1, ge=0)
    backoff: float = Field(default=0.25, ge=0)
    longest_wait: float = Field(default=5.0, ge=0)
    failures: int = Field(default=3, gt=0)
    cool_down: float = Field(default=30.0, ge=0)
    concurrency: int = Field(default=64, gt=0)
    patience: float = Field(default=10.0, ge=0)
    largest_body: Annotated[int, BeforeValidator(parse_bytes)] = 4_000_000
    grace: int = Field(default=10, ge=0)

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
