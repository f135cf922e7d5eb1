"""YAML that is made of the right parts in the wrong way, as files and as overrides.

Files that are valid are taken apart into nodes, and some nodes are replaced by what other tools,
other versions of YAML and people who mean harm write; see `tests.fuzz._harness` for the bounds.
"""

import random
import shutil
import socket
import tempfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import yaml

from tests.command import Ended
from tests.command import here as command
from tests.fuzz._harness import bounded, judge, rounds
from tests.fuzz_world import CASES, Case, texts


def _bomb(fan: int, part: str = "*{0}") -> str:
    rows = ["a: &a [x, x, x]"]
    for last, this in pairwise("abcdefghijkl"):
        rows.append(f"{this}: &{this} [{', '.join([part.format(last)] * fan)}]")
    return "\n".join(rows)


CORPUS: Mapping[str, str] = {
    "aliases of aliases": _bomb(9),
    "merges of merges": _bomb(5, "{{<<: {{y: *{0}}}}}"),
    "a long text again and again": f"a: &a {'x' * 50_000}\nb: [{', '.join(['*a'] * 5000)}]",
    "an alias within itself": "name: &a [*a]",
    "a date that is none": "seed: 2026-13-45",
    "a date": "name: 2026-01-02",
    "a number of no digits": "seed: 0x_",
    "5,000 digits": f"seed: {'9' * 5000}",
    "5,000 digits to the base 16": f"seed: 0x{'f' * 5000}",
    "5,000 digits to the base 60": f"seed: {':'.join(['59'] * 2500)}",
    "a tag that is not kept": "seed: !!int x",
    "a truth that is none": "seed: !!bool x",
    "a word like a truth": "name: trueset",
    "half a pair": r'name: "\ud800"',
    "a zero byte": r'data.path: "a\0b"',
    "keys that are lists": "{[1]: 2, {a: 1}: 3}",
    "a merge of a number": "<<: 1",
    "brackets": "a: " + "[" * 20_000,
    "dashes": "- " * 20_000,
    "a long file": "a: " + "x" * 200_000,
    "as many values as there may be": "a: [" + "1," * 60_000 + "]",
}
"""Every text that once crashed, hung or took all memory, by what it was."""
_SCALARS = (
    *("0x_", "0o8", "0b2", "1_000", "1e999", "-.inf", ".NaN", "9" * 400, "0." + "3" * 400),
    *("true", "truely", "falsehood", "True1", "yes", "no", "null", "~", "Null", "''", '""', "="),
    *("2026-13-45", "2026-01-02", "2026-01-02T25:61:61Z", "12:30:45", "1:99:99", "190:20:30.15"),
    *("!!int x", "!!int ''", "!!float x", "!!bool x", "!!null x", "!!timestamp x", "!!binary x"),
    *("!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!str 1", "!!map {}", "!!seq []"),
    *("!!python/object/apply:os.getcwd []", "!x y", "!<tag:yaml.org,2002:int> 0x", "<<"),
    *(r'"\ud800"', r'"\0"', r'"\x1b[31m"', r'"\u202e"', r'"\N\_\L\P"', "'\n\n'", "|\n  x", ">-\n"),
    *("..", "/", "../../x", "/dev/zero", "/dev/stdin", "/proc/self/mem", "~/x", "x" * 5000, "%x"),
    *("[]", "{}", "[[]]", "[{}]", "{a: }", "[,]", "[1, 2", "{a", "? a", "- a", "&a x", "*a", "*x"),
    *("-1", "0", "1", "0.5", "1e-320", "65536", "4294967296", "-9223372036854775809", "1e400"),
    *("1 KB", "1e9 GB", "-1 KB", "nan KB", "1 KBB", "0x10 KB", "inf ms", "1e400 ms"),
)
_KEYS = ("seed", "budget", "data.path", "search.steps", "train", "a.b", "", ".")
_FILES = tuple(case for case in CASES if case.file.endswith(".yaml") and "/" not in case.file)

_LONGEST = 10**6
"""Characters beyond which parts are not repeated: lists of repeated lists fill any disk."""


def run(seconds: float, seed: int) -> None:
    """Read every text of the corpus, then new ones until the time is over."""
    with (
        tempfile.TemporaryDirectory() as name,
        texts(Path(name)) as folder,
        socket.create_server(("127.0.0.1", 0)) as taken,  # so that no server starts
    ):
        port = taken.getsockname()[1]
        whole = {case.file: (folder / case.file).read_text() for case in _FILES}
        for what, text in CORPUS.items():
            bounded(what, lambda: _read(folder, _FILES[0], text, whole, port))  # noqa: B023
            if text.count(":") == 1:
                bounded(what, lambda: _override(text.replace(": ", "=", 1)))  # noqa: B023
        rounds(seconds, seed, lambda source: _case(folder, source, whole, port))


def _case(folder: Path, source: random.Random, whole: Mapping[str, str], port: int) -> str:
    if source.random() < 0.3:
        return _override(f"{source.choice(_KEYS)}={source.choice(_SCALARS)}")
    case = source.choice(_FILES)
    root = yaml.compose(whole[case.file])
    assert root is not None
    lines = _shown(root, source, share=source.choice((0.02, 0.1, 0.3)))
    return _read(folder, case, lines, whole, port)


def _shown(node: yaml.Node, source: random.Random, share: float) -> str:
    """Write a node on one line, with a share of its parts replaced."""
    if source.random() < share:
        return _instead(source)
    anchor = f"&{source.choice('abc')} " if source.random() < share else ""
    if isinstance(node, yaml.MappingNode):
        pairs = [
            (_key(key, source, share), _shown(value, source, share)) for key, value in node.value
        ]
        if pairs and source.random() < share:
            pairs.append(source.choice(pairs))
        if source.random() < share:
            pairs.append(("<<", source.choice(("*a", "[*a, *b]", "{x: 1}", "1"))))
        return anchor + "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
    if isinstance(node, yaml.SequenceNode):
        parts = [_shown(part, source, share) for part in node.value]
        if source.random() < share:
            times = source.choice((0, 2, 300))
            parts *= times if sum(map(len, parts)) * times < _LONGEST else 1
        return anchor + "[" + ", ".join(parts) + "]"
    quoted = yaml.safe_dump(node.value, default_style='"', width=10**9).strip()
    return anchor + (quoted if node.tag.endswith(":str") else node.value)


def _key(node: yaml.Node, source: random.Random, share: float) -> str:
    if source.random() < share / 2:
        return source.choice(
            ("1", "~", "true", "[a]", "{a: 1}", "2026-01-02", "? a", "'\\0'", ".nan")
        )
    return str(node.value)


def _instead(source: random.Random) -> str:
    kind = source.randrange(8)
    if kind == 0:
        depth = source.choice((10, 100, 2000))
        opened, closed = source.choice((("[", "]"), ("{a: ", "}"), ("[{a: ", "}]")))
        return opened * depth + source.choice(_SCALARS) + closed * depth
    if kind == 1:
        return "[" + ", ".join(source.choices(_SCALARS, k=source.choice((1, 3, 50)))) + "]"
    return source.choice(_SCALARS)


def _read(folder: Path, case: Case, text: str, whole: Mapping[str, str], port: int) -> str:
    path = folder / case.file
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    what = f"{case.command} of {text[:3000]!r}"
    try:
        judge(command(case.command.replace("PORT", str(port))), what)
    finally:
        path.write_text(whole[case.file])
        for name in case.writes:
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).unlink(missing_ok=True)
    return what


def _override(text: str) -> str:
    words = ["search", "kws_small", "board=stm32f446re", "data.path=nowhere", text]
    ended: Ended = command(words)
    judge(ended, text)
    assert ended.code == 2, (text, ended)  # there is no data
    return text
