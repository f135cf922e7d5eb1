"""Conversations: which one a request belongs to, and who has answered it so far."""

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
        """Return a name of the conversation, its beginning's hash; empty where none is kept."""
        if not self._seconds:
            return ""
        beginning = f"{ask.key}\n{ask.beginning}".encode("utf-8", "replace")
        return hashlib.sha256(beginning).hexdigest()

    def decision(self, name: str) -> RoutingDecision | None:
        """Return the decision of a conversation that goes on."""
        until, found = self._kept.get(name, (0.0, None))
        return found if time.monotonic() < until else None

    def keep(self, name: str, decision: RoutingDecision) -> None:
        """Keep who answers a conversation from now on."""
        self._kept[name] = (time.monotonic() + self._seconds, decision)
        self._kept.move_to_end(name)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def take(self, former: "Conversations") -> None:
        """Go on with the conversations of a server's former configuration."""
        self._kept.update(former._kept)
