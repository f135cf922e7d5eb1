"""Read YAML files into validated objects; errors name the line, the key and the nearest key."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import (
    CoreSchema,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    core_schema,
)

from micronas.errors import ConfigError
from micronas.files import regular
from micronas.yaml_text import LARGEST_FILE, LONGEST_NAME, Location, mark_lines, parsed

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _Metaclass
else:
    _Metaclass = type(BaseModel)


Model = TypeVar("Model", bound=BaseModel)
Extent = Annotated[int, Field(gt=0, le=65_535)]
"""Size of a part of a network; larger ones fit no board and would take for ever to count."""


class _OneError(_Metaclass):
    """Make complaints about arguments a ConfigError: pydantic's own inside a validation stay."""

    def __call__(cls: type[Any], *arguments: Any, **values: Any) -> Any:  # noqa: N805
        try:
            return super().__call__(*arguments, **values)
        except ValidationError as error:
            raise ConfigError(_all_complaints(error, cls, cls.__name__, {}, [])) from error


def _without_truths(schema: Any) -> Any:
    """Return the schema with numbers that refuse true and false: pydantic reads them as 1 and 0."""
    if isinstance(schema, list):
        return [_without_truths(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kind = schema.get("type")
    if kind in ("int", "float"):
        return core_schema.no_info_before_validator_function(_no_truth(f"{kind}_type"), schema)
    return {key: _without_truths(value) for key, value in schema.items()}


def _no_truth(complaint: Any) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if type(value).__name__ in ("bool", "bool_"):  # NumPy's, too
            raise PydanticKnownError(complaint)
        return value

    return checked


class Settings(BaseModel, metaclass=_OneError):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, values: Any) -> Any:
        """Complete sections by what defaults set: ``train: {threads: 2}`` keeps its epochs."""
        for name, field in cls.model_fields.items():
            given = values.get(name) if isinstance(values, Mapping) else None
            if isinstance(field.default, Settings) and isinstance(given, Mapping):
                values = {**values, name: field.default.model_dump(exclude_unset=True) | {**given}}
        return values

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return _without_truths(handler(source))


@dataclass(frozen=True)
class OneOf:
    """Mark a field whose settings are of one of several kinds, picked by the value of a key.

    It is a union with a discriminator, whose kinds are looked up at validation: some may be added
    after the class of the field was made.
    """

    key: str
    kinds: Callable[[], Mapping[str, type[Settings]]]
    """Function that returns the kinds by the value of `key`."""
    default: str | None = None
    """Default of `key`; None where it is required."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def _validate(self, value: Any) -> Settings:
        kinds = self.kinds()
        if isinstance(value, Settings) and getattr(value, self.key, None) in kinds:
            return value
        if not isinstance(value, Mapping):
            raise ValueError("must be a mapping of keys to values")
        if self.default is None and self.key not in value:
            raise self._wrong({"type": "missing", "loc": (self.key,), "input": value})
        name = value.get(self.key, self.default)
        if not isinstance(name, str) or name not in kinds:
            rule = f"must be one of {', '.join(kinds)} ({nearest(str(name), kinds, listed=True)})"
            unknown = PydanticCustomError("unknown_kind", "{rule}", {"rule": rule})
            raise self._wrong({"type": unknown, "loc": (self.key,), "input": name})
        return kinds[name].model_validate(value)

    def _wrong(self, complaint: InitErrorDetails) -> ValidationError:
        # pydantic puts the path of the field before that of an error raised inside
        return ValidationError.from_exception_data(self.key, [complaint])


def settings_below(field: FieldInfo) -> set[type[BaseModel]]:
    """Return the settings classes that are allowed under a field."""
    kinds = [each.kinds().values() for each in field.metadata if isinstance(each, OneOf)]
    return _nested(field.annotation).union(*kinds)


def read_settings(path: Path, model: type[Model], overrides: Iterable[str] = ()) -> Model:
    """Read a YAML file into a settings object.

    Strings ``key.sub=value`` in `overrides` replace or add values; the value is YAML. Raises
    ConfigError of one line if the file cannot be read, is not YAML or does not fit the model.
    """
    values, lines = read_mapping(path)
    overrides = list(overrides)
    values = with_overrides(values, overrides)
    return validate_settings(values, model, source=str(path), lines=lines, overrides=overrides)


def read_mapping(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """Read a YAML mapping and the line of each of its keys."""
    try:
        with regular(path).open("rb") as file:
            text = file.read(LARGEST_FILE + 1).decode()
    except (OSError, UnicodeDecodeError) as error:
        command = f"micronas search series board=NAME data.path={path}"
        hint = f"; data goes into data.path, as in `{command}`" if path.exists() else ""
        raise ConfigError(
            f"a configuration must be a readable text file of settings: {error}{hint}"
        ) from error
    try:
        values, node = parsed(text)
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path} must hold a mapping of keys to values, but got {values!r:.80}")
    lines: dict[Location, int] = {}
    mark_lines(node, (), lines)
    return values, lines


def with_overrides(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return the values with each ``a.b=value`` of the command line applied."""
    result = dict(values)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"an override must be key=value, but got {text!r}")
        inner = result
        *parents, last = key.strip().split(".")
        for parent in parents:
            below = inner.get(parent)
            inner[parent] = dict(below) if isinstance(below, dict) else {}
            inner = inner[parent]
        try:
            inner[last], _ = parsed(value)
        except ValueError as error:
            raise ConfigError(
                f"the value of override {key!r} must be YAML, but got {value!r:.80} ({error})"
            ) from error
    return result


def validate_settings(
    values: Mapping[str, Any],
    model: type[Model],
    *,
    source: str,
    lines: Mapping[Location, int] | None = None,
    overrides: Iterable[str] = (),
) -> Model:
    """Build a settings object; all complaints of pydantic become one ConfigError.

    Errors name the file `source`, but not for `overrides`, strings ``key=value`` that are already
    in `values`.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            _all_complaints(error, model, source, lines or {}, list(overrides))
        ) from error


def _all_complaints(
    error: ValidationError,
    model: type[BaseModel],
    source: str,
    lines: Mapping[Location, int],
    overrides: list[str],
) -> str:
    """Join complaints, one per key: those on the file with its name, those on overrides without."""
    of_file: dict[Location, str] = {}
    given: dict[Location, str] = {}
    words = {part for known in lines for part in known}
    words |= {word for text in overrides for word in text.partition("=")[0].strip().split(".")}
    for path, items in _by_key(error, words).items():
        if any(_names(text, path) for text in overrides):
            given[path] = _complaint(path, items, model, {})
        else:
            of_file[path] = _complaint(path, items, model, lines)
    blamed = [f"{source}: " + "; ".join(of_file.values())] if of_file else []
    return "; ".join([*blamed, *given.values()])


def _names(override: str, path: Location) -> bool:
    """Return whether a complaint on a key is about the value of an override."""
    key = tuple(override.partition("=")[0].strip().split("."))
    # the path ends early where the first words of the key are unknown
    return all(word == str(part) for word, part in zip(key, path, strict=False))


def _by_key(error: ValidationError, words: set[int | str]) -> dict[Location, list[Any]]:
    """Return complaints by key: a union has one for each of its members.

    `words` are those of the keys that were written; empty for all.
    """
    found: dict[Location, list[Any]] = {}
    items = error.errors(include_url=False)
    within = {item["loc"][:end] for item in items for end in range(len(item["loc"]))}
    for item in items:
        location: Location = item["loc"]
        if item["type"] == "too_short" and location in within:
            continue  # pydantic does not count members that have a complaint of their own
        # pydantic puts members of unions, which the user did not write, into the path
        end = next((n for n, part in enumerate(location) if _is_member(part)), len(location))
        path = tuple(
            part
            for place, part in enumerate(location[:end])
            if isinstance(part, int) or part in words or not words or place == len(location) - 1
        )
        found.setdefault(path, []).append(item)
    return found


def _is_member(part: int | str) -> bool:
    """Return whether this is a type's name, which has brackets, and not a key."""
    return isinstance(part, str) and "[" in part


def nearest(name: str, known: Iterable[str], *, listed: bool = False) -> str:
    """Return a hint with the nearest known word, or with all known words unless they are listed."""
    options = sorted(known)
    # the name may be foreign, and comparing takes the square of its length
    close = difflib.get_close_matches(name[:LONGEST_NAME], options, 1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"choose one of {'them' if listed else ', '.join(options)}"


_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "path_type": "a path",
}
"""Words for the type that a validation error expects."""
_TAGS = ("discriminator", "expected_tags")
"""Entries of pydantic's error on an unknown kind, in quotes: its key, and all kinds."""


def _complaint(
    path: Location, items: Sequence[Any], model: type[BaseModel], lines: Mapping[Location, int]
) -> str:
    item = items[0]
    found = [lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in lines]
    line = f"line {found[0]}: " if found else ""
    key = ".".join(str(part) for part in path) or "the file"
    if item["type"] == "extra_forbidden":
        return f"{line}unknown key {key!r}; {_hint(model, path)}"
    if item["type"] == "missing":
        return f"{line}key {key!r} is required"
    if item["type"] == "union_tag_invalid":
        said = item["ctx"]
        name, kinds = (re.findall("'(.+?)'", said[each]) for each in _TAGS)
        return f"{line}{key}.{name[0]}: unknown {said['tag']!r}; {nearest(said['tag'], kinds)}"
    wanted = dict.fromkeys(map(_wanted, items))
    # a complaint on items of a list shows the list
    whole = min(items, key=lambda each: len(each["loc"]))["input"]
    if None not in wanted:
        return f"{line}{key}: must be {' or '.join(map(str, wanted))}, but got {whole!r:.80}"
    item = next(each for each in items if _wanted(each) is None)  # of the right type, out of range
    message = item["msg"].removeprefix("Value error, ")
    stated = f"{line}{f'{key}: ' if path else ''}{message[:1].lower()}{message[1:]}"
    said = repr(item["input"])[:80]
    # rules of ours may state the value already
    is_ours = item["type"] == "value_error"
    is_said = (is_ours and said in message) or isinstance(item["input"], dict)
    return stated if is_said else f"{stated}, but got {said}"


def _hint(model: type[BaseModel], path: Location) -> str:
    """Return the kind of settings that has the key, if any; else the nearest key."""
    field = model.model_fields.get(str(path[0]))
    for one_of in (each for each in (field.metadata if field else ()) if isinstance(each, OneOf)):
        kinds = [name for name, kind in one_of.kinds().items() if path[-1] in kind.model_fields]
        if kinds and len(path) == 2:
            which = " or ".join(kinds)
            return f"it is one of {path[0]}.{one_of.key}={which}"
    return nearest(str(path[-1]), _fields(model, path[:-1]))


def _wanted(item: Any) -> str | None:
    """Return the expected type for a complaint on a wrong type; None for others."""
    kind = item["type"]
    if kind == "literal_error":
        return str(item["ctx"]["expected"])
    name = _KINDS.get(kind)
    is_inside = len(item["loc"]) > 1 and _is_member(item["loc"][-2])
    return f"a list of {name.removeprefix('a ')}s" if name and is_inside else name


def _fields(model: type[BaseModel], path: Sequence[int | str]) -> set[str]:
    """Return the names that the model allows at a place in the file, through nested models."""
    models = {model}
    for part in path:
        below = {
            nested
            for outer in models
            for field_name, field in outer.model_fields.items()
            if part == field_name
            for nested in settings_below(field)
        }
        models = below or models
    return {name for each in models for name in each.model_fields}


def _nested(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {model for argument in get_args(annotation) for model in _nested(argument)}
