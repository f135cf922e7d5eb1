"""Limits of clients, with a reservation for each request before it starts."""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from micronas.router.experts import Expert
from micronas.router.serve.meter import Habits, Meter
from micronas.router.serve.protocol import ApiError, Ask, AttemptError, Json, ascii_text
from micronas.settings import Settings

_MINUTE, _DAY = 60.0, 86_400.0
_KEYS = 10_000
_USUAL = 1024.0
"""Tokens reserved for an answer without a limit, until a longer one was seen."""


class Limits(Settings):
    """Limits of each client key, or of all clients together without keys; None is no limit."""

    requests_per_minute: float | None = Field(default=None, ge=1)
    """Number of requests that may begin; refilled evenly over a minute."""
    requests_at_once: int | None = Field(default=None, ge=1)
    """Number of requests in work."""
    tokens_per_minute: float | None = Field(default=None, ge=1)
    """Tokens of prompts and answers. A request begins while some are left and not reserved, and may
    overdraw; a stream ends when it takes more than it reserved and none are left."""
    usd_per_day: float | None = Field(default=None, gt=0)
    """US dollars by the experts' prices, per day of UTC."""
    usd_per_request: float | None = Field(default=None, gt=0)
    """US dollars per request; experts that could cost more are not asked."""


@dataclass
class Spent:
    """Totals of the requests of one client, expert and category."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0


@dataclass
class _Account:
    limits: Limits
    requests: float
    tokens: float
    seen: float
    working: int = 0
    held_tokens: float = 0.0
    held_usd: float = 0.0
    day: int = 0
    usd: float = 0.0

    def left(self, day: float) -> float:
        """Return the unspent and unreserved part of `day` dollars."""
        self._begin_day()
        return day - self.usd - self.held_usd

    def spend(self, tokens: float, usd: float) -> None:
        self._begin_day()
        self.tokens, self.usd = self.tokens - tokens, self.usd + usd

    def _begin_day(self) -> None:
        # a clock set back does not begin a new day
        if (day := int(time.time() // _DAY)) > self.day:
            self.day, self.usd = day, 0.0


class Ledger:
    """Accounts and spending of clients, by names that do not reveal their keys.

    `limits` gives those of a client; `note` gets client, expert, category and counts of each call.
    """

    def __init__(
        self, limits: Callable[[str], Limits], note: Callable[[str, str, str, Spent], None]
    ) -> None:
        self.limits, self._note = limits, note
        self.spent: dict[tuple[str, str, str], Spent] = {}
        self.habits: dict[str, Habits] = {}
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def admit(self, ask: Ask) -> "Booking":
        """Count a request and reserve its tokens; the holder must close the booking.

        Raises ApiError (429) if the client has no request or token left, or too many are in work.
        """
        limits, account = self.limits(ask.key), self._account(ask.key)
        free = account.tokens - account.held_tokens
        for what, limit, enough, lacking in (
            ("requests", limits.requests_per_minute, account.requests >= 1, 1 - account.requests),
            ("tokens", limits.tokens_per_minute, free > 0, -account.tokens),
        ):
            if limit is not None and not enough:
                wait = max(1.0, lacking * _MINUTE / limit)
                message = f"this key has {limit:g} {what} a minute, and none is left"
                raise ApiError(429, message, "key_limit", wait=wait)
        if limits.requests_at_once is not None and account.working >= limits.requests_at_once:
            message = f"this key may have {limits.requests_at_once} requests at once"
            raise ApiError(429, message, "key_limit", wait=1.0)
        account.requests -= 1
        longest = max([_USUAL, *(each.longest for each in self.habits.values())])
        return Booking(self, account, limits, ask, longest if ask.most is None else ask.most)

    def add(self, client: str, expert: str, category: str, found: Spent) -> None:
        """Count a finished call."""
        row = self.spent.setdefault((client, expert, category), Spent())
        for name, value in vars(found).items():
            setattr(row, name, getattr(row, name) + value)
        self._note(client, expert, category, found)

    def usage(self, client: str | None = None) -> list[dict[str, Any]]:
        """Return one row per client, expert and category, of one client or of all."""
        return [
            {"key": key, "model": expert, "category": category, **vars(row)}
            for (key, expert, category), row in sorted(self.spent.items())
            if client in (None, key)
        ]

    def state(self) -> Json:
        """Return the state to keep over a restart, for JSON."""
        days = {name: [each.day, each.usd] for name, each in self._accounts.items() if each.usd}
        return {"usage": self.usage(), "today": days}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`; raise LookupError, TypeError or ValueError if it is invalid."""
        for row in state["usage"]:
            counts = {name: type(value)(row[name]) for name, value in vars(Spent()).items()}
            self.spent[str(row["key"]), str(row["model"]), str(row["category"])] = Spent(**counts)
        for name, (day, usd) in state["today"].items():
            account = self._account(name)
            account.day, account.usd = int(day), float(usd)

    def _account(self, key: str) -> _Account:
        limits, now = self.limits(key), time.monotonic()
        requests, tokens = limits.requests_per_minute or 0.0, limits.tokens_per_minute or 0.0
        account = self._accounts.setdefault(key, _Account(limits, requests, tokens, now))
        if account.limits != limits:  # after a reload, what was spent without a limit is no debt
            account.limits, account.requests, account.tokens = limits, requests, tokens
        self._accounts.move_to_end(key)
        if len(self._accounts) > _KEYS:
            self._accounts.popitem(last=False)
        share, account.seen = (now - account.seen) / _MINUTE, now
        account.requests = min(account.requests + share * requests, requests)
        account.tokens = min(account.tokens + share * tokens, tokens)
        return account


class Booking:
    """Reservation of one request in its client's limits, and its spending."""

    def __init__(
        self, ledger: Ledger, account: _Account, limits: Limits, ask: Ask, answer: float
    ) -> None:
        self._ledger, self._account, self._limits, self._ask = ledger, account, limits, ask
        self._answer, self._reserved = answer, ask.asked_tokens + answer
        self._held_tokens = self._held_usd = 0.0
        self._meter: Meter | None = None
        self.category, self.usd, self.prompt, self.completion = "", 0.0, 0, 0
        account.working += 1
        self._hold(self._reserved, 0.0)

    def open(self, expert: Expert) -> None:
        """Begin to count a call, and reserve its largest cost in dollars.

        Raises AttemptError if it may cost more than the request has left, or the day has nothing
        left.
        """
        habits = self._ledger.habits.setdefault(expert.name, Habits())
        meter = Meter(expert, self._ask, habits, self._answer)
        day, request = self._limits.usd_per_day, self._limits.usd_per_request
        need = meter.usd(self._answer)
        if need and day is not None and self._account.left(day) <= 0:
            message = f"this key has ${day:g} a day, and none is left"
            wait = _DAY - time.time() % _DAY
            raise _too_dear(ApiError(429, message, "key_limit", wait=wait))
        if request is not None and self.usd + need > request:
            message = (
                f"a request of this key may cost ${request:g}, but may come to "
                f"${self.usd + need:.4g} by {ascii_text(expert.name)}; set max_tokens, or lower"
            )
            raise _too_dear(ApiError(400, message, "too_dear"))
        self._meter = meter
        self._hold(max(self._reserved, meter.tokens), need)

    def count(self, piece: Json) -> None:
        """Count a piece, or a whole answer, of the expert.

        Raises ApiError (429) if a stream takes more than it reserved and its client has nothing
        left.
        """
        meter = self._meter
        assert meter is not None
        meter.count(piece)
        usd = meter.usd()
        if meter.tokens > self._held_tokens or usd > self._held_usd:
            self._hold(max(meter.tokens, self._held_tokens), max(usd, self._held_usd))
            if self._ask.stream:
                self._check(self.usd + usd)

    def settle(self, *, free: bool = False) -> None:
        """End the counted call and book its cost; a free one costs nothing."""
        meter, self._meter = self._meter, None
        if meter is None or free:
            self._hold(self._reserved, 0.0)
            return
        meter.close()
        usd = meter.usd()
        self.usd += usd
        self.prompt += meter.prompt
        self.completion += meter.completion
        self._reserved = max(0.0, self._reserved - meter.tokens)
        self._hold(self._reserved, 0.0)
        self._account.spend(meter.tokens, usd)
        spent = Spent(1, meter.prompt, meter.completion, usd)
        self._ledger.add(self._ask.key, meter.expert.name, self.category, spent)

    def close(self) -> None:
        """Release the unspent reservation."""
        self.settle()
        self._hold(0.0, 0.0)
        self._account.working -= 1

    def _hold(self, tokens: float, usd: float) -> None:
        self._account.held_tokens += tokens - self._held_tokens
        self._account.held_usd += usd - self._held_usd
        self._held_tokens, self._held_usd = tokens, usd

    def _check(self, usd: float) -> None:
        limits, account = self._limits, self._account
        for what, limit, left in (
            ("tokens a minute", limits.tokens_per_minute, account.tokens - account.held_tokens),
            ("dollars a day", limits.usd_per_day, account.left(limits.usd_per_day or 0.0)),
            ("dollars a request", limits.usd_per_request, (limits.usd_per_request or 0.0) - usd),
        ):
            if limit is not None and left < 0:
                message = f"this key has {limit:g} {what}, and the answer takes more"
                raise ApiError(429, message, "key_limit", wait=_MINUTE)


def _too_dear(refusal: ApiError) -> AttemptError:
    return AttemptError("too dear", again=False, refusal=refusal)
