"""Parse YAML within bounds of size and depth, with the line of each key."""

import re
from typing import Any

import yaml

Location = tuple[int | str, ...]


class _Loader(yaml.SafeLoader):
    """Safe YAML with ``yes``, ``007`` and dates as words, as in YAML 1.2: they may be names."""


_BOOLEAN, _INTEGER, _DATE = (f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "timestamp"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOLEAN, _INTEGER, _DATE)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _BOOLEAN, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    _INTEGER, re.compile("[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F_]+)$"), list("-+0123456789")
)
_ERRORS = (
    *(yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    RecursionError,
)
"""Errors of constructors of scalars, too: `!!int x` raises a ValueError, `!!bool x` a KeyError."""
LARGEST_FILE = 2**17
"""Largest file in bytes, which takes seconds; files of micronas are a hundred times smaller."""
_LARGEST_VALUE = 2**18
"""Largest value in characters, with every alias written out."""
_DEEPEST = 100
"""Most brackets open at once; a parser takes time for each of them at every word."""
_LONGEST_NUMBER = 100
LONGEST_NAME = 200
"""Characters of a name that are shown or compared."""


def parsed(text: str) -> tuple[Any, yaml.Node | None]:
    """Parse YAML once, for values and lines alike; a ValueError says what is wrong with it."""
    try:
        if len(text) > LARGEST_FILE:
            raise ValueError(f"it is longer than {LARGEST_FILE} bytes; is it another file?")
        _check_depth(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _check_size(node, {})
        return loader.construct_document(node), node
    except _ERRORS as error:
        raise ValueError(_reason(error)) from error


def _check_depth(text: str) -> None:
    depth = 0
    for bracket in re.findall(r"[][{}]", text):
        depth = depth + 1 if bracket in "[{" else max(depth - 1, 0)
        if depth > _DEEPEST:
            raise ValueError(f"brackets must stand at most {_DEEPEST} deep in one another")


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split())[:300]
    says = isinstance(error, yaml.YAMLError | ValueError)
    return said if says else f"{type(error).__name__} {said}"


def _check_size(node: yaml.Node, known: dict[yaml.Node, int | None]) -> int:
    """Return the number of characters of a node with its aliases written out.

    A few lines of aliases of aliases stand for more values than any memory holds.
    """
    if node in known:
        size = known[node]
        if size is None:
            raise ValueError("an alias must not stand within what it stands for")
        return size
    known[node] = None
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith((":int", ":float")) and len(node.value) > _LONGEST_NUMBER:
            raise ValueError(f"a number must have at most {_LONGEST_NUMBER} digits")
        if "\0" in node.value:  # no name of a file can hold it
            raise ValueError("a text must not hold a zero byte")
        size = 1 + len(node.value.encode())  # an error for half a surrogate pair
    elif isinstance(node, yaml.MappingNode):
        _check_keys(node)
        size = 1 + sum(_check_size(part, known) for pair in node.value for part in pair)
    else:
        size = 1 + sum(_check_size(part, known) for part in node.value)
    if size > _LARGEST_VALUE:
        raise ValueError("its aliases must not stand for more than a file could hold")
    known[node] = size
    return size


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse duplicate keys, of which a parser takes the last one."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise ValueError(
                    f"key {key.value[:LONGEST_NAME]!r} stands twice, on lines {lines[name]} and "
                    f"{line}; keep one"
                )
            lines[name] = line


def mark_lines(node: yaml.Node, path: Location, lines: dict[Location, int]) -> None:
    """Add the line of each key and item below a node."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, key.value)
            lines[inner] = key.start_mark.line + 1
            mark_lines(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            inner = (*path, position)
            lines[inner] = value.start_mark.line + 1
            mark_lines(value, inner, lines)
