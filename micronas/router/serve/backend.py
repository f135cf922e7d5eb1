"""What answers: an endpoint over HTTP, or a function of this process, behind one method."""

from collections.abc import AsyncGenerator
from typing import Protocol

from micronas.router.experts import Expert, Timeouts
from micronas.router.serve.protocol import Ask, Json


class AttemptError(Exception):
    """An attempt brought no answer, or broke off.

    Parameters
    ----------
    reason
        Why, for a person; holds no text of the upstream.
    again
        Whether the same expert may do better at once.
    wait
        Seconds it asked to be left alone.
    """

    def __init__(self, reason: str, *, again: bool = True, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait = reason, again, wait


class Backend(Protocol):
    """One expert, ready to be asked."""

    def ask(self, ask: Ask) -> AsyncGenerator[Json, None]:
        """Yield one whole answer, or the pieces of a stream if the request wants one.

        It ends when the answer is complete. Otherwise it raises `AttemptError`; or `ApiError` where
        the request itself is wrong, so that no other expert would do better.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


def backend_of(expert: Expert, timeouts: Timeouts) -> Backend:
    """Return what calls an expert.

    Raises
    ------
    ConfigError
        If a key is not set, a function cannot be imported or a model is none.
    """
    if expert.endpoint is not None:
        from micronas.router.serve.upstream import Upstream

        return Upstream(expert.name, expert.endpoint, timeouts)
    from micronas.router.serve.local import Local, classifier, function

    if expert.model is not None:
        return Local(expert.name, classifier(expert.model))
    return Local(expert.name, function(str(expert.callable)))
