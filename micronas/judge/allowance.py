"""The budget of money shared by calls in flight."""

import asyncio


class Allowance:
    """A limit of money from which calls reserve before they are sent.

    Each call in flight reserves its largest cost by the settings, or the dearest cost seen if that
    is more; a call is sent only if all reservations fit. Only the first calls that cost more than
    the settings say can then exceed the limit. Before the first answer one call goes alone, so that
    an endpoint of unknown cost can exceed the limit only once.

    Parameters
    ----------
    max_usd
        Limit in US dollars, or None.
    spent, dearest
        US dollars spent so far, and those of the dearest call.
    seen
        A call has been answered, so that its cost is known.
    """

    def __init__(self, max_usd: float | None, spent: float, dearest: float, *, seen: bool) -> None:
        self.limit = float("inf") if max_usd is None else max_usd * (1 + 1e-9)
        self.spent, self.dearest = spent, dearest
        self.exhausted = False
        self._seen = seen or max_usd is None
        self._reserved: list[float] = []
        self._changed = asyncio.Condition()

    async def admit(self, worst: float) -> bool:
        """Wait until it is decided whether a call may be sent; if so, `settle` must follow.

        Parameters
        ----------
        worst
            Largest cost of the call by its settings, in US dollars.
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
        """Replace a call's reservation by its cost."""
        async with self._changed:
            self._reserved.remove(worst)
            self.spent += usd
            self.dearest = max(self.dearest, usd)
            self._seen |= answered
            self._changed.notify_all()
