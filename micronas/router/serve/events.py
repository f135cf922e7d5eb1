"""Parse server-sent events incrementally."""

import re

from micronas.router.serve.protocol import AttemptError

_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")
_LARGEST_EVENT = 2**20


class EventReader:
    """Parser of the ``data`` in ``text/event-stream`` (WHATWG HTML, 9.2.6).

    It works on bytes and ends lines only at CR and LF: a character may be split between two
    packets, and U+2028 inside JSON does not end a line.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._data: list[bytes] = []
        self._rest_size = self._data_size = 0
        self._open = False

    def feed(self, received: bytes) -> list[bytes]:
        """Return the data of the events that are now complete.

        Raises AttemptError if an event is larger than 1 MiB; pieces of answers are smaller.
        """
        complete: list[bytes] = []
        self._rest.append(received)
        self._rest_size += len(received)
        # join once a line ends: joining all parts each time would take quadratic time
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
            raise AttemptError(f"an event of more than {_LARGEST_EVENT} bytes in its stream")
        return complete
