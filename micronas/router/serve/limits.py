"""Limits of each client key: requests and tokens a minute."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from pydantic import Field

from micronas.router.serve.protocol import ApiError
from micronas.settings import Settings

_MINUTE = 60.0
_KEYS = 10_000


class Limits(Settings):
    """Limits of each client key, refilled evenly over a minute; None is no limit.

    Attributes
    ----------
    requests_per_minute
        Requests that may begin.
    tokens_per_minute
        Tokens of prompts and answers. A request begins while some are left, and may overdraw.
    """

    requests_per_minute: float | None = Field(default=None, ge=1)
    tokens_per_minute: float | None = Field(default=None, ge=1)


@dataclass
class _Account:
    requests: float
    tokens: float
    seen: float


class KeyLimits:
    """What each key has left; keys are known by any name that does not show them."""

    def __init__(self, limits: Limits) -> None:
        self._requests, self._tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._limited = limits != Limits()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def admit(self, key: str) -> None:
        """Count a request; raise ApiError (429) if the key has none, or no token, left."""
        if not self._limited:
            return
        account = self._account(key)
        for what, limit, left, needed in (
            ("requests", self._requests, account.requests, 1.0),
            ("tokens", self._tokens, account.tokens, 0.0),
        ):
            if limit is not None and left < needed:
                wait = (needed - left) * _MINUTE / limit
                message = f"this key has {limit:g} {what} a minute, and none is left"
                raise ApiError(429, message, "key_limit", wait=wait)
        account.requests -= 1

    def spend(self, key: str, tokens: float) -> None:
        """Count the tokens of a request that was answered."""
        if self._limited:
            self._account(key).tokens -= tokens

    def _account(self, key: str) -> _Account:
        now = time.monotonic()
        most_requests, most_tokens = self._requests or 0.0, self._tokens or 0.0
        account = self._accounts.setdefault(key, _Account(most_requests, most_tokens, now))
        self._accounts.move_to_end(key)
        if len(self._accounts) > _KEYS:
            self._accounts.popitem(last=False)
        share, account.seen = (now - account.seen) / _MINUTE, now
        account.requests = min(account.requests + share * most_requests, most_requests)
        account.tokens = min(account.tokens + share * most_tokens, most_tokens)
        return account
