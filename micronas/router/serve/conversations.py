"""Conversations of requests, and the experts that answer them."""

import hashlib
import time
from collections import OrderedDict

from micronas.router.decision import RoutingDecision
from micronas.router.serve.protocol import Ask

_MOST = 100_000


class Conversations:
    """Decisions of conversations, each kept for some seconds after its last request."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._kept: OrderedDict[str, tuple[float, RoutingDecision]] = OrderedDict()

    def name(self, ask: Ask) -> str:
        """Return the name of a conversation, a hash of its beginning; empty if none are kept."""
        if not self._seconds:
            return ""
        beginning = f"{ask.key}\n{ask.beginning}".encode("utf-8", "replace")
        return hashlib.sha256(beginning).hexdigest()

    def decision(self, name: str) -> RoutingDecision | None:
        """Return the decision of a conversation, or None if it is not kept or too old."""
        until, found = self._kept.get(name, (0.0, None))
        return found if time.monotonic() < until else None

    def keep(self, name: str, decision: RoutingDecision) -> None:
        """Keep the decision of a conversation."""
        self._kept[name] = (time.monotonic() + self._seconds, decision)
        self._kept.move_to_end(name)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def take(self, former: "Conversations") -> None:
        """Take over the conversations of the former configuration."""
        self._kept.update(former._kept)
