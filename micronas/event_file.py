"""Write event files for TensorBoard, without its package.

Its own writer imports TensorFlow where installed, which takes seconds and logs to stderr.

A file is a sequence of records: length, masked CRC of the length, an `Event` as a protocol buffer,
masked CRC of it (tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto).
"""

import socket
import struct
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

_CASTAGNOLI = 0x82F63B78
"""Polynomial of CRC-32C, with reversed bits."""
_DOUBLE, _FLOAT, _BYTES = 1, 5, 2
"""Wire types of a protocol buffer."""
_WALL_TIME, _STEP, _VERSION, _SUMMARY = 1, 2, 3, 5
"""Fields of an `Event`; field 1 of a `Summary` holds values, each with a tag and a number."""


class EventFile:
    """A new file in `folder`, which is made; OSError if it cannot be written."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(time.time()):010d}.{socket.gethostname()}.{uuid.uuid4().hex}"
        self._path = folder / f"events.out.tfevents.{name}"
        self._append(_field(_VERSION, b"brain.Event:2"))

    def add(self, numbers: Mapping[str, float], *, step: int) -> None:
        """Append the numbers of one step by name."""
        values = b"".join(
            _field(1, _field(1, name.encode()) + _key(2, _FLOAT) + struct.pack("<f", number))
            for name, number in numbers.items()
        )
        self._append(_key(_STEP, 0) + _varint(step) + _field(_SUMMARY, values))

    def _append(self, event: bytes) -> None:
        event = _key(_WALL_TIME, _DOUBLE) + struct.pack("<d", time.time()) + event
        length = struct.pack("<Q", len(event))
        with self._path.open("ab") as file:
            file.write(length + _masked(length) + event + _masked(event))


def _key(field: int, wire: int) -> bytes:
    return bytes([field << 3 | wire])


def _field(field: int, content: bytes) -> bytes:
    return _key(field, _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    """Encode seven bits per byte, the lowest first; all but the last have the eighth bit set."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F)
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def _masked(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF)


def _row(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ _CASTAGNOLI * (crc & 1)
    return crc


_TABLE = [_row(byte) for byte in range(256)]
