"""Server-sent events, read as they come in."""

import re

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_LARGEST_EVENT = 2**20


class EventReader:
    """Parser of ``text/event-stream`` (WHATWG HTML, 9.2.6), of which only ``data`` matters here.

    It works on bytes and ends lines at CR and LF alone: a character may be split between two
    pieces of the network, and U+2028 inside JSON is no end of a line.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._rest_size = self._data_size = 0
        self._open = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of the events that are complete now.

        Raises
        ------
        ValueError
            If an event is larger than 1 MiB, which no piece of an answer is.
        """
        complete: list[bytes] = []
        self._rest.append(received)
        self._rest_size += len(received)
        # joined once a line ends: to join all parts each time would take the square of their number
        if self._open or b"\n" in received or b"\r" in received:
            *lines, rest = _LINE_END.split(b"".join(self._rest))
            self._rest, self._rest_size, self._open = [rest], len(rest), rest.endswith(b"\r")
            for line in lines:
                name, _, value = line.partition(b":")
                if name == b"data":
                    self._data.append(value.removeprefix(b" "))
                    self._data_size += len(line)
                elif not line and self._data:
                    complete.append(b"\n".join(self._data))
                    self._data, self._data_size = [], 0
        if self._rest_size + self._data_size > _LARGEST_EVENT:
            raise ValueError("an event is too large")
        return complete
