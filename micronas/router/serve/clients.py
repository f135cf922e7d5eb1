"""Clients of the server: their keys, limits and rights."""

import hmac
from collections.abc import Sequence

from pydantic import Field

from micronas.errors import ConfigError
from micronas.language.endpoints import required_key
from micronas.router.serve.limits import Limits
from micronas.router.serve.protocol import ApiError
from micronas.settings import Settings


class Client(Settings):
    """A client with its own key."""

    name: str = Field(min_length=1, max_length=100)
    """Name in usage and metrics."""
    key_env: str
    """Environment variable of the key."""
    limits: Limits | None = None
    """Limits in place of those of every key."""
    budget: bool = False
    """The client may name a budget of active parameters in the header ``X-Micronas-Budget``."""
    admin: bool = False
    """The client may reload the configuration, and see the usage of others."""


class Clients:
    """All clients of the server; without keys all users are one unnamed client.

    Raises ConfigError if the variable of a key is not set, or two clients have one name or key.
    """

    def __init__(self, keys_env: str | None, named: Sequence[Client], limits: Limits) -> None:
        self._limits = limits
        places = enumerate(required_key(keys_env, of="clients").split(","), 1)
        listed = {f"key {place}": each.strip() for place, each in places if each.strip()}
        if keys_env is not None and not listed:
            raise ConfigError(f"{keys_env} must hold keys, separated by commas, but holds none")
        found = [Client(name=name, key_env="") for name in listed]
        own = [required_key(each.key_env, of=f"client {each.name!r}") for each in named]
        keys = [*listed.values(), *own]
        self._clients = [*found, *named]
        self._keys = [each.encode() for each in keys]
        self._by_name = {each.name: each for each in self._clients}
        if len(self._by_name) < len(keys) or len(set(keys)) < len(keys):
            raise ConfigError("clients must have different names and keys, but two are the same")

    def __len__(self) -> int:
        return len(self._clients)

    def of(self, authorization: str) -> Client:
        """Return the client of a request's key; raise ApiError (401) for an unknown key."""
        if not self._keys:
            return _ANYBODY
        scheme, _, key = authorization.partition(" ")
        given = (key.strip() if scheme.lower() == "bearer" else authorization).encode()
        # every key is compared in full, so that the time reveals nothing
        fits = [hmac.compare_digest(given, key) for key in self._keys]
        if not any(fits):
            raise ApiError(401, "the API key is missing or wrong", "invalid_api_key")
        return self._clients[fits.index(True)]

    def limits(self, name: str) -> Limits:
        """Return the limits of a client, by its name."""
        client = self._by_name.get(name, _ANYBODY)
        return self._limits if client.limits is None else client.limits


_ANYBODY = Client.model_construct(name="", key_env="", limits=None, budget=True, admin=False)
