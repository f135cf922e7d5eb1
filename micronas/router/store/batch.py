"""Waiting requests in batches of one expert each, so that experts are switched less often."""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass
from typing import Generic, TypeVar

from micronas.errors import ConfigError

Request = TypeVar("Request")


@dataclass(frozen=True)
class Batch(Generic[Request]):
    """Requests that go to one expert together, in order of arrival."""

    expert: str
    requests: list[Request]


class BatchQueue(Generic[Request]):
    """Requests wait here; each `take` returns some of one expert.

    An expert that is in memory already comes first, then the one most requests wait for. A batch
    overtakes a waiting request if all of the batch arrived after it; at most ``patience`` batches
    overtake any request. So a request that found n others waiting is served after at most
    ``n + patience`` batches.

    Not thread-safe: it belongs to the one loop that serves.

    Parameters
    ----------
    size
        Most requests in a batch.
    patience
        Most batches that overtake a request; with 0 the oldest request is always in the next
        batch, and others of its expert with it.

    Raises
    ------
    ConfigError
        If the size is not positive or the patience negative.
    """

    def __init__(self, size: int, *, patience: int) -> None:
        if size < 1 or patience < 0:
            raise ConfigError(
                "a batch must hold at least 1 request and patience be at least 0, but got "
                f"size={size}, patience={patience}"
            )
        self._size = size
        self._patience = patience
        self._arrivals = 0
        self._waiting: dict[str, deque[tuple[int, Request]]] = {}
        self._overtakers: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, request: Request, expert: str) -> None:
        """Add a request that just arrived."""
        self._waiting.setdefault(expert, deque()).append((self._arrivals, request))
        self._arrivals += 1

    def take(self, *, resident: Container[str] = ()) -> Batch[Request]:
        """Remove the next batch and return it.

        Parameters
        ----------
        resident
            Experts that need no loading now.

        Raises
        ------
        IndexError
            If no request is waiting.
        """
        if not self._waiting:
            raise IndexError("no request is waiting")
        heads = {expert: queue[0][0] for expert, queue in self._waiting.items()}
        oldest = min(heads, key=heads.__getitem__)
        # whoever overtook a younger request overtook the oldest too, which therefore counts for all
        self._overtakers = [head for head in self._overtakers if head > heads[oldest]]
        if len(self._overtakers) >= self._patience:
            expert = oldest
        else:
            expert = max(
                heads, key=lambda each: (each in resident, len(self._waiting[each]), -heads[each])
            )
        self._overtakers.append(heads[expert])
        queue = self._waiting[expert]
        requests = [queue.popleft()[1] for _ in range(min(self._size, len(queue)))]
        if not queue:
            del self._waiting[expert]
        return Batch(expert, requests)
