"""The interface of an expert in service: an endpoint over HTTP, or a function of this process."""

from collections.abc import AsyncGenerator
from typing import Protocol

from micronas.router.serve.protocol import ApiError, Ask, Json


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
    refusal
        What the client is told if no other expert answers: the request, not the expert, is why.
    free
        Whether the expert did no work that is paid for.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = True,
        wait: float | None = None,
        refusal: ApiError | None = None,
        free: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason, self.again, self.wait, self.refusal = reason, again, wait, refusal
        self.free = free


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
