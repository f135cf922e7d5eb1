"""The keys of settings classes with their types, defaults and meanings, as rows and as YAML.

Meanings are the docstrings below fields.
"""

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from micronas.errors import ConfigError
from micronas.settings import OneOf, nearest

Picked = TypeVar("Picked")
_WIDTH = 100
_NAMES = {bool: "true or false", int: "integer", float: "number", str: "text", Path: "path"}
_SUFFIXES = {tuple: "[]", list: "[]", dict: ".NAME"}


@dataclass(frozen=True)
class _Key:
    """One key."""

    name: str
    """Name with dots; ``[]`` stands for each item of a list, ``NAME`` for any name."""
    type: str
    """Type in words; empty where there are keys below."""
    default: str | None
    """Default as YAML; None where the key is required, empty where there are keys below."""
    meaning: str
    """Docstring of the field; empty without one."""


def keys(model: type[BaseModel]) -> list[_Key]:
    """Return the keys of a settings class and those below, in the order of their definition.

    A class that occurs again, such as a recipe, is one key that names the first occurrence, with
    the differences as its default.
    """
    return list(_below(model, "", PydanticUndefined, {}))


def select(model: type[BaseModel], path: str) -> list[_Key]:
    """Return one key and those below it.

    `path` is a name with dots, such as ``search.trial``. Where a key of the settings picks one of
    several kinds, the kind's name follows: ``data.kws``; by default it is the default kind. Raises
    ConfigError, which names the nearest key, if there is no such.
    """
    return _selected(model, path.split("."), "", PydanticUndefined)


def _selected(model: type[BaseModel], words: Sequence[str], above: str, given: Any) -> list[_Key]:
    word, *rest = words
    field = _picked(word, {_plain(each.name): each for each in _fields(model, given)})
    kinds, given = field.inner, field.given
    if len(kinds) > 1 and rest and (rest[0] in kinds or not isinstance(given, BaseModel)):
        kinds, given = {rest[0]: _picked(rest[0], kinds)}, PydanticUndefined
        rest = rest[1:]
    elif len(kinds) > 1 and isinstance(given, BaseModel):
        kinds = {field.name: type(given)}
    if len(kinds) != 1:
        if rest:
            raise ConfigError(f"a key must stand below settings, but {word} has none below it")
        return [_Key(f"{above}{word}", field.type, field.default, field.meaning)]
    (inner,) = kinds.values()
    above = f"{above}{field.name}."
    return _selected(inner, rest, above, given) if rest else [*_below(inner, above, given, {})]


def _picked(word: str, known: Mapping[str, Picked]) -> Picked:
    if word not in known:
        raise ConfigError(
            f"settings must be named by their keys, but got {word}; {nearest(word, known)}"
        )
    return known[word]


def _plain(name: str) -> str:
    """Return a key without ``[]`` and ``.NAME``."""
    return name.partition(".")[0].removesuffix("[]")


def kinds_below(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the kinds of settings that a key picks from, by the path for `select`."""
    return {
        f"{_plain(field.name)}.{name}": kind
        for field in _fields(model, PydanticUndefined)
        if len(field.inner) > 1
        for name, kind in field.inner.items()
    }


def as_yaml(found: Sequence[_Key]) -> str:
    """Return keys as YAML, with meanings above and types after them."""
    lines: list[str] = []
    above: list[str] = []
    said, first = "", False

    def add(parents: Sequence[str], word: str, value: str) -> None:
        nonlocal first
        space = _indent(parents)
        start = f"{space[:-2]}- " if first else space
        lines.append(f"{start}{word.removesuffix('[]')}:{value}")
        first = word.endswith("[]")

    for key in found:
        *parents, last = key.name.split(".")
        common = next(
            (i for i, pair in enumerate(zip(above, parents, strict=False)) if pair[0] != pair[1]),
            min(len(above), len(parents)),
        )
        for depth in range(common, len(parents)):
            add(parents[:depth], parents[depth], "")
        if key.meaning != said:
            space = _indent(parents)
            wrapped = textwrap.wrap(key.meaning, _WIDTH - len(space) - 2)
            lines += [f"{space}# {line}" for line in wrapped]
        add(parents, last, _value(key))
        above, said = [*parents, last], key.meaning
    return "\n".join(lines)


def _indent(parents: Sequence[str]) -> str:
    return " " * sum(4 if each.endswith("[]") else 2 for each in parents)


def _value(key: _Key) -> str:
    if key.default is None:
        return f"  # {', '.join(filter(None, ('required', key.type)))}"
    value = f" {key.default}" if key.default else ""
    return f"{value}  # {key.type}" if key.type else value


@dataclass(frozen=True)
class _Field(_Key):
    """A field, and the settings that may stand below it, by name of their kind."""

    given: Any
    inner: dict[str, type[BaseModel]]


def _fields(model: type[BaseModel], given: Any) -> Iterator[_Field]:
    meanings = _meanings(model)
    for key, field in model.model_fields.items():
        value = getattr(given, key, field.get_default(call_default_factory=True))
        suffix, inner = _inner(field)
        default = None if value is PydanticUndefined else _yaml(field, value)
        named = f"one of {', '.join(inner)}" if len(inner) > 1 else ""
        kind = named or ("" if inner else _type(field.annotation, field.metadata))
        yield _Field(f"{key}{suffix}", kind, default, meanings.get(key, ""), value, inner)


def _below(
    model: type[BaseModel], prefix: str, given: Any, seen: dict[type, tuple[str, Any]]
) -> Iterator[_Key]:
    for field in _fields(model, given):
        name, inner = f"{prefix}{field.name}", [*field.inner.values()]
        if len(inner) > 1 and isinstance(field.given, BaseModel):
            yield _Key(name, field.type, "", field.meaning)
            yield from _below(type(field.given), f"{name}.", field.given, seen)
        elif len(inner) != 1:
            yield _Key(name.removesuffix("[]"), field.type, field.default, field.meaning)
        elif inner[0] in seen:
            first, before = seen[inner[0]]
            yield _Key(name, f"as {first}", _changed(before, field.given), field.meaning)
        else:
            absent = field.default == "null"
            given = field.given if isinstance(field.given, BaseModel) else PydanticUndefined
            seen[inner[0]] = name, given
            kind = "absent by default" if absent else "required" if field.default is None else ""
            yield _Key(name, kind, "", field.meaning)
            yield from _below(inner[0], f"{name}.", given, seen)


def _changed(before: Any, given: Any) -> str:
    """Return the differences from the settings shown before, as YAML."""
    if not isinstance(given, BaseModel):
        return "null" if given is None else ""
    values = given.model_dump(mode="json")
    shown = before.model_dump(mode="json") if isinstance(before, BaseModel) else {}
    return _flow({key: value for key, value in values.items() if shown.get(key) != value})


def _inner(field: FieldInfo) -> tuple[str, dict[str, type[BaseModel]]]:
    for each in field.metadata:
        if isinstance(each, OneOf):
            return "", dict(each.kinds())
    found = _models(field.annotation)
    return next((suffix for suffix, _ in found), ""), {_kind(each): each for _, each in found}


def _kind(model: type[BaseModel]) -> str:
    """Return the value of the key that picks this class, else its name."""
    for field in model.model_fields.values():
        if get_origin(field.annotation) is Literal:
            return str(field.default)
    return model.__name__.lower()


def _models(annotation: Any, suffix: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Return the settings inside an annotation, with the suffix of keys: ``[]`` or ``.NAME``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(suffix, annotation)]
    reached = _SUFFIXES.get(get_origin(annotation), "")
    return [each for inner in get_args(annotation) for each in _models(inner, suffix + reached)]


def _type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    if any(isinstance(each, BeforeValidator) for each in metadata):
        return ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner, *more = arguments
        return _type(inner, [part for each in more for part in getattr(each, "metadata", [each])])
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin in (Union, types.UnionType):
        each = [_type(part, metadata) for part in arguments if part is not type(None)]
        return " or ".join(filter(None, each))
    if origin in (tuple, list):
        same = origin is list or arguments[-1] is Ellipsis
        inner = _type(arguments[0])
        return f"list of {inner}" if same else f"{len(arguments)} of {inner}"
    if origin is dict:
        return f"names to {_type(arguments[1])}"
    return f"{_NAMES.get(annotation, 'any')}{_bounds(metadata)}"


def _bounds(metadata: Sequence[Any]) -> str:
    given: dict[str, Any] = {}
    for each in metadata:
        for name in ("ge", "gt", "le", "lt"):
            value = getattr(each, name, None)
            given |= {} if value is None else {name: value}
    if {"ge", "le"} <= given.keys():
        return f", {given['ge']:,} to {given['le']:,}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(f", {words[name]} {value:,}" for name, value in given.items())


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstrings of a class's fields, with those of its bases."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, BaseModel) and each.__module__ != BaseModel.__module__:
            found |= _documented(each)
    plain = {key: " ".join(text.split()) for key, text in found.items()}
    return {key: re.sub(r"``(.+?)``", r"`\1`", text) for key, text in plain.items()}


@cache
def _documented(model: type[BaseModel]) -> dict[str, str]:
    """Return the strings below the fields of a class."""
    try:
        (body,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    except (OSError, TypeError):  # a class without a source file
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[field.target.id] = text
    return found


def _yaml(field: FieldInfo, value: Any) -> str:
    parts, annotated = (field.annotation, *field.metadata, ""), Annotated
    adapter: TypeAdapter[Any] = TypeAdapter(annotated[parts])  # type: ignore[arg-type]
    return _flow(adapter.dump_python(value, mode="json"))


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).split("\n")[0]
