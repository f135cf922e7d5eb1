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
        As in an experts file, or the path of one.
    router
        Folder of a fitted router. Paths are taken from the folder of the configuration.
    fixed
        In place of a router: the expert that gets every prompt. One expert alone needs neither.
    fallback
        Who answers, in this order, where the chosen expert does not. By default all the others:
        as the router ranks them for the category, or in the order of `experts`.
    model
        The name under which clients ask for routing; an expert's name asks for that expert.
    host, port
        Address; port 0 takes a free one. Off this machine only with keys or
        ``insecure``.
    hosts
        Names under which clients reach the server, as their ``Host`` header says it. Loopback's
        names need not be there, nor addresses where the server listens at more than loopback.
    origins
        Web pages that may use the server, such as ``https://chat.example``; all others are
        refused.
    keys_env
        Environment variable with the keys clients may use, separated by commas; None asks for
        none.
    clients
        Clients that have a name, a key, limits and rights of their own, beside those of keys_env.
    limits
        Limits of each key, or of all clients together where there are no keys.
    state
        File that keeps what was spent and the budget's control over a restart. By default it
        stands beside the configuration: ``serve.state.json`` for ``serve.yaml``.
    control
        Whether a router's budget is kept on average, whatever prompts come, by moving to the
        mapping of a smaller or a larger budget.
    sticky
        Seconds for which a conversation stays with the expert that answered it; 0 routes each
        request anew.
    insecure
        Whether anybody who reaches the server may use it without a key.
    timeouts
        Of one attempt at an expert.
    deadline
        Of a whole request, from its arrival to the last byte of its answer.
    retries
        Further rounds over the experts that may do better, after all have been asked once.
    backoff
        Pause before the first retry; doubled each time, and half of it random.
    longest_wait
        A ``Retry-After`` up to this is waited for; a longer one cools the expert down instead.
    failures
        Failed attempts in a row after which an expert cools down.
    cool_down
        How long it is left alone then; a ``Retry-After`` is obeyed up to ten times this.
    concurrency
        Requests in work at most; others wait.
    patience
        How long they do, before they are refused with 503.
    largest_body
        Of a request, such as ``4 MB``.
    grace
        Whole seconds that requests in work may take after a signal to stop.
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
    """Whether an address or a name is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_settings(path: Path, overrides: Iterable[str] = ()) -> ServeSettings:
    """Read a serve configuration.

    Raises
    ------
    ConfigError
        If a file cannot be read, a key or name is unknown, a number is out of its range, or there
        is no way to route or to call an expert.
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
