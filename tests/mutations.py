"""Seeded damage to the bytes of a file: what disks, editors, transfers and people do to them."""

import random
import re

_NUMBER = re.compile(rb"-?\d+\.?\d*")
_HUGE = (
    *(b"1e308", b"-1", b"0", b"1e-320", b"999999999999999999999999999999", b"4294967296"),
    *(b"-9223372036854775809", b".nan", b"NaN", b".inf", b"1e400", b"2147483648", b"0.5"),
)
_VALUES = (
    *(b"null", b"[]", b"{}", b"''", b'""', b"true", b"- a", b"!!python/object/apply:os.getcwd []"),
    *(
        *(b"&a [*a]", b"\x00", b"../../x", b"2026-13-45", b"0x", b"{", b"]", b"\xff\xfe"),
        b"\xed\xa0\x80",
    ),
)
_WORDS = (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000)


def mutated(data: bytes, source: random.Random, *, text: bool) -> bytes:
    """Damage a file once to three times; a text's numbers, values and encoding too."""
    kinds = [_cut, _flip, _overwrite, _words, _repeat, _remove, _insert]
    if text:
        kinds += [_number, _number, _value, _value, _nested, _encoded, _line]
    for _ in range(source.choice((1, 1, 1, 2, 3))):
        data = source.choice(kinds)(data, source)
    return data


def _place(data: bytes, source: random.Random) -> int:
    # half of the time near the head, where formats keep what they are
    return (
        source.randrange(min(len(data), 256) if source.random() < 0.5 else len(data)) if data else 0
    )


def _cut(data: bytes, source: random.Random) -> bytes:
    return data[: _place(data, source)]


def _flip(data: bytes, source: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(source.randint(1, 8) if data else 0):
        result[_place(data, source)] ^= 1 << source.randrange(8)
    return bytes(result)


def _overwrite(data: bytes, source: random.Random) -> bytes:
    start = _place(data, source)
    noise = source.randbytes(source.randint(1, 16))
    return data[:start] + noise + data[start + len(noise) :]


def _words(data: bytes, source: random.Random) -> bytes:
    """Sizes and offsets of binary formats are words of four bytes, in either order."""
    start = _place(data, source) // 4 * 4
    word = source.choice((*_WORDS, source.getrandbits(32)))
    return data[:start] + word.to_bytes(4, source.choice(("little", "big"))) + data[start + 4 :]


def _repeat(data: bytes, source: random.Random) -> bytes:
    start, size = _place(data, source), source.choice((1, 16, 64, 1024))
    return data[:start] + data[start : start + size] * source.randint(2, 20) + data[start + size :]


def _remove(data: bytes, source: random.Random) -> bytes:
    start = _place(data, source)
    return data[:start] + data[start + source.choice((1, 4, 16, 64)) :]


def _insert(data: bytes, source: random.Random) -> bytes:
    start = _place(data, source)
    return data[:start] + source.randbytes(source.randint(1, 16)) + data[start:]


def _number(data: bytes, source: random.Random) -> bytes:
    return _replace(data, list(_NUMBER.finditer(data)), source.choice(_HUGE), source)


def _value(data: bytes, source: random.Random) -> bytes:
    found = list(re.finditer(rb"(?<=[:,\[] )[^\s,:\]}]+|(?<=[:,\[])[^\s,:\]}]+", data))
    return _replace(data, found, source.choice(_VALUES), source)


def _nested(data: bytes, source: random.Random) -> bytes:
    depth = source.choice((50, 1000, 20_000))
    opened, closed = source.choice(((b"[", b"]"), (b"{a: ", b"}"), (b'{"a":', b"}"), (b"- ", b"")))
    deep = opened * depth + b"1" + closed * source.choice((depth, 0))
    return _replace(data, list(_NUMBER.finditer(data)), deep, source)


def _encoded(data: bytes, source: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    encoding = source.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7", "latin-1"))
    changed = text.replace("e", "é", 3) if encoding == "latin-1" else text
    return changed.encode(encoding, "replace")


def _line(data: bytes, source: random.Random) -> bytes:
    """A line twice, or not at all, or two in the other order."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    place, kind = source.randrange(len(lines)), source.randrange(3)
    taken = [lines[place] * 2] if kind == 0 else [] if kind == 1 else lines[place : place + 2][::-1]
    return b"".join([*lines[:place], *taken, *lines[place + max(1, len(taken)) :]])


def _replace(data: bytes, found: list[re.Match[bytes]], new: bytes, source: random.Random) -> bytes:
    if not found:
        return data + new
    match = source.choice(found)
    return data[: match.start()] + new + data[match.end() :]
