"""Reference pages that are made from the code: commands and settings.

A page says where with a comment. ``<!-- commands -->`` becomes all commands of the command line;
``<!-- settings micronas.runs.settings.RunSettings -->`` becomes a table of its keys and of those
below, dotted as the command line takes them; a further word is put in front of every key.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Annotated, Any, get_args, get_origin

import griffe
import typer.main
import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from micronas.settings import OneOf

_COMMANDS = re.compile(r"<!-- commands -->")
_SETTINGS = re.compile(r"<!-- settings ([\w.]+)\.(\w+) ?(\S*) -->")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what the comments of a page ask for."""
    markdown = _COMMANDS.sub(lambda _: "\n\n".join(commands()), markdown)
    return _SETTINGS.sub(lambda match: settings(match[1], match[2], match[3]), markdown)


def commands() -> Iterator[str]:
    """Markdown of every command: a heading, its help, its parameters."""
    from micronas.cli import app

    whole: Any = typer.main.get_command(app)
    for name, command in whole.commands.items():
        yield from _command(command, f"micronas {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    below = getattr(command, "commands", {})
    parameters = [each for each in command.params if each.name != "help" and not each.hidden]
    yield f"{'#' * len(path.split())} {path}"
    yield _text(command.help or "")
    if not below:
        words = [_word(each) for each in parameters if each.param_type_name == "argument"]
        usage = " ".join([path, *words, "[OPTIONS]"])
        rows = "\n".join(map(_parameter, parameters))
        yield f"```text\n{usage}\n```\n\n| parameter | meaning | default |\n|---|---|---|\n{rows}"
    for name, each in below.items():
        yield from _command(each, f"{path} {name}")


def _parameter(parameter: Any) -> str:
    is_option = parameter.param_type_name == "option"
    name = ", ".join(parameter.opts) if is_option else _word(parameter)
    needed = "required" if parameter.required else ""
    unset = parameter.default is None or parameter.default is False or callable(parameter.default)
    default = needed if unset else _code(parameter.default)
    return f"| {_code(name)} | {_cell(parameter.help or '')} | {default} |"


def _word(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper())
    return name if argument.required or name.startswith("[") else f"[{name}]"


def settings(module: str, name: str, prefix: str = "") -> str:
    """A table of the keys of a settings class: key, default, meaning."""
    model = getattr(import_module(module), name)
    start = f"{prefix}." if prefix else ""
    rows = "\n".join(_rows(model, start, PydanticUndefined))
    return f"| key | default | meaning |\n|---|---|---|\n{rows}"


def _rows(model: type[BaseModel], prefix: str, given: Any) -> Iterator[str]:
    meanings = _meanings(model)
    for key, field in model.model_fields.items():
        default = getattr(given, key, field.get_default(call_default_factory=True))
        below = _below(field.annotation)
        if len(below) == 1 and not any(isinstance(each, OneOf) for each in field.metadata):
            suffix, inner = below[0]
            optional = default is None
            if meanings.get(key) or optional:
                shown = _code("null") if optional else ""
                yield f"| {_code(prefix + key)} | {shown} | {meanings.get(key, '')} |"
            yield from _rows(inner, f"{prefix}{key}{suffix}.", default)
        else:
            shown = "required" if default is PydanticUndefined else _code(_yaml(field, default))
            yield f"| {_code(prefix + key)} | {shown} | {meanings.get(key, '')} |"


def _below(annotation: Any, suffix: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Settings inside an annotation, and how keys reach them: of each item, or of each name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(suffix, annotation)]
    reached = {tuple: "[]", list: "[]", dict: ".NAME"}.get(get_origin(annotation), "")
    return [each for inner in get_args(annotation) for each in _below(inner, suffix + reached)]


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """What the docstrings of a class and its bases say of its attributes."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if each.__module__.startswith("micronas."):
            described = _package()[f"{each.__module__}.{each.__name__}".removeprefix("micronas.")]
            sections = described.docstring.parse("numpy") if described.docstring else []
            for section in sections:
                if section.kind is griffe.DocstringSectionKind.attributes:
                    for item in section.value:
                        for name in item.name.split(", "):
                            found[name] = _cell(item.description)
            for name, member in described.members.items():
                if member.is_attribute and member.docstring:
                    found[name] = _cell(member.docstring.value)
    return found


@cache
def _package() -> Any:
    return griffe.load("micronas")


def _yaml(field: FieldInfo, value: Any) -> str:
    kind = TypeAdapter(Annotated[field.annotation, field])
    plain = kind.dump_python(value, mode="json")
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6).split("\n")[0]


def _code(value: Any) -> str:
    return f"`{str(value).replace('|', chr(92) + '|')}`"


def _cell(text: str) -> str:
    return _text(text).replace("\n", " ").replace("|", "\\|")


def _text(text: str) -> str:
    """Docstring markup as Markdown."""
    return re.sub(r"``(.+?)``", r"`\1`", text).replace("<", "&lt;")
