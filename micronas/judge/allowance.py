"""The money that calls in flight share."""

import asyncio


class Allowance:
    """A limit of money that calls reserve from before they leave.

    Each call in flight holds the most it may cost by its settings, or the dearest cost seen if
    that is more; a call leaves only if all of this fits. Nothing can then exceed the limit but the
    first calls that cost more than the settings say. Before there is any answer, one call goes
    ahead of all others, so that an endpoint of which no cost is known can do so once.

    Parameters
    ----------
    max_usd
        The limit in US dollars, or None.
    spent, dearest
        US dollars so far, and those of the dearest call.
    seen
        Whether a call has been answered, so that its cost is known.
    """

    def __init__(self, max_usd: float | None, spent: float, dearest: float, *, seen: bool) -> None:
        self.limit = float("inf") if max_usd is None else max_usd * (1 + 1e-9)
        self.spent, self.dearest = spent, dearest
        self.exhausted = False
        self._seen = seen or max_usd is None
        self._reserved: list[float] = []
        self._changed = asyncio.Condition()

    async def admit(self, worst: float) -> bool:
        """Wait for a decision whether a call may leave; if so, `settle` must follow.

        Parameters
        ----------
        worst
            The most that the call may cost by its settings, in US dollars.
        """
        async with self._changed:
            while not self.exhausted:
                held = sum(max(each, self.dearest) for each in (*self._reserved, worst))
                if self.spent + held <= self.limit and (self._seen or not self._reserved):
                    self._reserved.append(worst)
                    return True
                if not self._reserved:
                    self.exhausted = True
                    self._changed.notify_all()
                    break
                await self._changed.wait()
            return False

    async def settle(self, worst: float, usd: float, *, answered: bool) -> None:
        """Replace a call's reservation by what it cost."""
        async with self._changed:
            self._reserved.remove(worst)
            self.spent += usd
            self.dearest = max(self.dearest, usd)
            self._seen |= answered
            self._changed.notify_all()
