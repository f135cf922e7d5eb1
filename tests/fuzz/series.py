"""Recordings of sensors that are nearly right, as people and loggers write them: CSV and .npz.

Files are put together from rows, cells and arrays that are well-formed, odd or damaged; see
`tests.fuzz._harness` for the bounds. Each ends in a data set or in one line.
"""

import io
import random
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from micronas.errors import MicronasError
from micronas.tasks.series.check import check
from micronas.tasks.series.load import load
from micronas.tasks.series.settings import SeriesSettings
from tests.fuzz._harness import rounds

_ROWS, _WINDOW = 400, 32
_LONGEST = 2000
"""Characters of an error."""


def _lines(lines: Iterable[str], head: str = "x,y,label") -> str:
    return "\n".join([head, *lines, ""])


def _table(head: str = "x,y,label", line: str | None = None) -> str:
    """Return two classes of numbers; `line` takes the place of one of them."""
    lines = [f"{place % 7},{place % 5},{label}" for label in "ab" for place in range(_ROWS)]
    lines[5] = line or lines[5]
    return _lines(lines, head)


def _with(line: str) -> str:
    """Return the table with one line of values replaced."""
    return _table(line=line)


def _timed(time: Callable[[int], object]) -> str:
    lines = (f"{time(place)},{place % 5},{'ab'[place >= _ROWS]}" for place in range(2 * _ROWS))
    return _lines(lines, "time,x,label")


def _archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _members(packing: int = zipfile.ZIP_STORED, **members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


def _header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _bomb() -> bytes:
    """Sizes in the directory are all that is looked at, so that these can be made up."""
    data = _header(f"({2**28},)") + bytes(9999)
    sizes = (size.to_bytes(4, "little") for size in (len(data), 2**30))
    return _members(zipfile.ZIP_DEFLATED, a=data).replace(*sizes)


def _lying_bomb() -> bytes:
    """Zeros of which the directory says that they are packed in a tenth of their size."""
    data = _header(f"({2**26 + 1},)") + bytes(2**28)
    packed = bytearray(_members(zipfile.ZIP_DEFLATED, a=data))
    entry = packed.rindex(b"PK\x01\x02")
    packed[entry + 20 : entry + 24] = (len(data) // 10).to_bytes(4, "little")
    return bytes(packed)


def _windows(**other: Any) -> bytes:
    x, y = np.arange(60.0 * _WINDOW).reshape(60, _WINDOW, 1) % 7, np.array(["a", "b"] * 30)
    return _archive(**{"x": x, "y": y, **other})


CORPUS: Mapping[str, tuple[str | bytes | Callable[[], bytes], str]] = {
    "a table": (_table(), ""),
    "a field of megabytes": (
        _with(f'1,2,"{"q" * 300_000}"'),
        "a line has more than 131,072 characters",
    ),
    "a name of megabytes": (
        _table(head=f'"{"q" * 300_000}",y,label'),
        "a line has more than 131,072 characters",
    ),
    "a line of megabytes": ("1," * 2_000_000, "a line has more than 131,072 characters"),
    "a column a letter": (
        "\n".join([",".join(f"c{n}" for n in range(10**4)), ",".join(["1"] * 10**4), ""]),
        r"must have labels, but .* \(it has c0, c1, .*10,000 in all\)",
    ),
    "columns of text": (
        "a,b,c,d,e,f,g,h,i,j\n" + "q," * 9 + "q\n",
        r"h \(no numbers\), ... .10 in all",
    ),
    "an empty first line": ("\n" + _table(), ""),
    "a quote that stays open": (_with('1,2,"a'), "unexpected end of data"),
    "a quote that stays open in the header": (_table(head='"x,y,label'), "unexpected end of data"),
    "a quoted end of line": (_with('1,2,"a\nb"'), r"line 8 has 3 in column 'label': 'a\\nb'"),
    "a quoted end of line in the header": (_table(head='"x\n1",y,label'), "names of characters"),
    "a value too many": (_with("1,2,a,9"), "must have 3 values, but .* line 7 has 4"),
    "a value too few": (_with("1,2"), "must have 3 values, but .* line 7 has 2"),
    "numbers that no float32 holds": (_with("1e39,-1e308,a"), ""),
    "nothing that a float32 holds": (
        _lines(f"1e308,1,{label}" for label in "ab" for _ in range(_ROWS)),
        "without missing values",
    ),
    "numbers whose range no float32 holds": (
        _lines(f"{sign}3.4e38,1,{label}" for label in "ab" for sign in ("", "-") * _ROWS),
        "",
    ),
    "digits of other scripts": (_with("\u0663,\uff11,a"), ""),
    "a zero byte in a label": (_with("1,2,a\0"), "can be printed"),
    "a label that turns the line": (_with("1,2,\u202eb"), "can be printed"),
    "a label of pages": (_with("1,2," + "b" * 100_000), "at most 100 characters"),
    "no label anywhere": (
        _table().replace(",a\n", ",\n").replace(",b\n", ",\n"),
        "no line has a label",
    ),
    "times that are missing": (_timed(lambda _: "nan"), ""),
    "a time that is missing": (_timed(lambda n: n if n else ""), ""),
    "times beyond all": (
        _timed(lambda n: ("1e308", "-1e308", "inf", "-inf")[n % 4]),
        "times must rise",
    ),
    "times too close": (_timed(lambda n: n * 5e-324), ""),
    "dates with a time zone": (_timed(lambda n: f"2026-01-01T00:{n // 60:02}:{n % 60:02}Z"), ""),
    "dates that are none": (_timed(lambda n: ("NaT", "2026-01-01")[n % 2]), ""),
    "dates of no calendar": (_timed(lambda _: "2026-13-45"), "must be numbers or dates"),
    "windows": (_windows(), ""),
    "an archive that unpacks to gigabytes": (_bomb, "and may take .* in a file of that size"),
    "an archive that lies about it": (
        _lying_bomb,
        "and may take .* in a file of that size|Overlapped entries",  # as newer Pythons say
    ),
    "a shape of 10^20": (lambda: _members(a=_header(f"({10**20},)")), "npz must be readable"),
    "a shape of terabytes": (lambda: _members(a=_header(f"({10**12},)")), "npz must be readable"),
    "10^12 channels": (lambda: _members(a=_header(f"(0, {10**12})")), "at most 65,535 channels"),
    "a negative shape": (lambda: _members(a=_header("(-1,)")), "npz must be readable"),
    "a header of another version": (
        lambda: _members(a=b"\x93NUMPY\x09\x00" + bytes(90)),
        "npz must be readable",
    ),
    "a header that is no text": (
        lambda: _members(a=b"\x93NUMPY\x01\x00\xff\x00" + b"(" * 255),
        "npz must be readable",
    ),
    "a member that is no array": (lambda: _members(a=b"text"), "npz must be readable"),
    "pickled": (lambda: _archive(a=np.array([{}], object)), "npz must be readable"),
    "complex numbers": (lambda: _archive(a=np.ones(500) * 1j), "values are of type complex"),
    "dates as values": (lambda: _archive(a=np.zeros(500, "M8[s]")), "values are of type datetime"),
    "one label for all": (lambda: _windows(y=np.array("a")), r"y \[\]"),
    "one number for all": (lambda: _windows(x=np.array(1.0)), r"x \[\]"),
    "groups of windows in twos": (lambda: _windows(groups=np.zeros((60, 2))), "groups .60, 2"),
    "parts for some": (lambda: _windows(part=np.array(["train"])), r"part \[1\]"),
    "labels of many lines": (lambda: _windows(y=np.array(["a\n", "b"] * 30)), "can be printed"),
    "no archive": (b"PK\x03\x04", "npz must be readable"),
    "nothing": (b"", "is empty"),
}
"""Every file that once crashed, hung, took all memory or was misread, and what is said of it."""
_CELLS = (
    *("", " ", "nan", "NA", "None", "inf", "-inf", "1e39", "1e999", "5e-324", "-0", "0x10", "1_0"),
    *("1,5", "1;5", "1j", "\u0663", "\u00b2", "9" * 5000, "x" * 200, "\0", "\x1b[31m", "\u202e"),
    *('"', '"a', 'a"b', '"a""b"', '"a\nb"', "\r", "\ufeff", "NaT", "2026-01-01", "2026-13-45Z"),
    *("a", "b", "../..", "C:\\a", "*/", "??/", "<script>", "\ud800"),
)
_KINDS = ("<f4", ">f8", "i1", "?", "c8", "U3", "S3", "M8[s]", "V4", "f2")


def run(seconds: float, seed: int) -> None:
    """Read files until the time is over."""
    with tempfile.TemporaryDirectory() as name:
        rounds(seconds, seed, lambda source: _case(Path(name), source))


def read_known(what: str, folder: Path) -> str:
    """Read a file of the corpus; return what was said of it, "" where it is a data set."""
    made, _ = CORPUS[what]
    data = made() if callable(made) else made
    return _read(folder, data.encode() if isinstance(data, str) else data, window=_WINDOW)


def _read(folder: Path, data: bytes, **settings: Any) -> str:
    path = folder / ("a.npz" if data.startswith(b"PK") else "a.csv")
    path.write_bytes(data)
    said = []
    for read in (load, check):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read(SeriesSettings(path=path, **settings))
            except MicronasError as error:
                said.append(str(error))
    assert max(map(len, said), default=0) < _LONGEST, said
    return said[0] if said else ""


def _case(folder: Path, source: random.Random) -> str:
    data = _numbers(source) if source.random() < 0.3 else _text(source)
    if source.random() < 0.2 and data:
        start = source.randrange(len(data))
        data = data[:start] + source.randbytes(source.choice((0, 1, 8))) + data[start + 4 :]
    goal = source.choice(({"goal": "classes"}, {"goal": "anomalies", "normal": "a"}))
    said = _read(folder, data, **goal, window=source.choice((8, _WINDOW)))
    return f"{data[:500]!r}: {said}"


def _text(source: random.Random) -> bytes:
    mark = source.choice(",,,;\t")
    names = source.choice(("x,y,z,label", "time,x,y,label", "x,y,group,label", "x,y,z,w"))
    rows = [
        [str(place), str(place % 5), str(source.random()), "ab"[place >= _ROWS // 2]]
        for place in range(_ROWS)
    ]
    for _ in range(source.choice((0, 1, 5, 300))):
        row = source.choice(rows)
        row[source.randrange(len(row))] = source.choice(_CELLS)
    if source.random() < 0.2:
        place, cell = source.randrange(4), source.choice(_CELLS)
        for row in rows:
            row[place] = cell
    if source.random() < 0.2:
        rows.insert(source.randrange(len(rows)), ["1"] * source.choice((1, 3, 5, 5000)))
    lines = [mark.join(row) for row in ([names.split(",")] if source.random() < 0.8 else []) + rows]
    end = source.choice(("\n", "\n", "\r\n", "\r", "\n\n"))
    return end.join(lines).encode(source.choice(("utf-8", "utf-8-sig")), "surrogatepass")


def _numbers(source: random.Random) -> bytes:
    if source.random() < 0.3:
        shape = source.choice((f"({10**20},)", "(-1,)", "(2,", "()", "(3, 4)", f"({2**40}, 0)"))
        return _members(source.choice((0, 8)), x=_header(shape, source.choice(_KINDS)), y=b"")
    shape = source.choice(((30, 8, 1), (30, 32), (30,), (), (0, 8, 1), (30, 32, 2)))
    x = np.full(shape, source.choice((0, 1, 300, 3.4e38)), np.float64)
    with np.errstate(all="ignore"):
        arrays = {"x": x.astype(source.choice(_KINDS) if source.random() < 0.3 else "<f4")}
    for name in ("y", "groups", "part"):
        if source.random() < 0.6:
            values = [source.choice(_CELLS[:-1]) for _ in range(30)]
            labels = np.array([*"ab"] * 15)
            arrays[name] = source.choice((labels, labels, np.array(values), np.zeros(30), x))
    return _archive(**arrays)
