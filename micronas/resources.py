"""Find the YAML files and templates that ship with micronas."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from micronas._version import VERSION
from micronas.errors import ConfigError
from micronas.settings import nearest

_Folder = Literal[
    "search_spaces",
    "search_spaces/published",
    "search_spaces/textbook",
    "latency_models",
    "export",
]

_MEANT: dict[_Folder, str] = {
    "search_spaces": "a search space",
    "search_spaces/published": "an architecture",
    "search_spaces/textbook": "an architecture",
    "latency_models": "a board",
    "export": "a template",
}


def folder(name: _Folder) -> Path:
    """Return a shipped folder: inside the package in a wheel, beside it in a checkout.

    Raises ConfigError if the installation lacks it.
    """
    package = Path(__file__).parent
    # in a wheel the folders are packages below micronas, where `micronas.export` is code
    inside = "export_templates" if name == "export" else name
    for path in (package / inside, package.parent / name):
        if path.is_dir():
            return path
    raise ConfigError(
        f"an installation of micronas must hold the folder {name!r}, but neither {package} nor "
        "its parent does; reinstall micronas"
    )


def filled(template: str, values: Mapping[str, object] = MappingProxyType({})) -> str:
    """Return a shipped template with its ``@NAMES@`` replaced; ``@VERSION@`` is micronas'."""
    values = {"VERSION": VERSION, **values}
    text = (folder("export") / template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z][A-Z0-9_]*)@", lambda match: str(values[match[1]]), text)


def names(name: _Folder) -> list[str]:
    """Return the names that `find` accepts in a folder of YAML files, sorted."""
    return sorted(path.stem for path in folder(name).glob("*.yaml"))


def find(name: _Folder, wanted: str | Path) -> Path:
    """Resolve a shipped file's name, with or without ``.yaml``, or the path of a user's own file.

    A user's file takes precedence over a shipped one of the same name, so that a copy can be edited
    in place; a bare word such as ``kws`` always means the shipped file. Raises ConfigError, which
    names the nearest shipped file, if there is neither.
    """
    path = Path(wanted).expanduser()
    is_path = bool(path.suffix) or len(path.parts) > 1
    if is_path and path.is_file():
        return path
    known = names(name)
    if len(path.parts) == 1 and path.name.removesuffix(".yaml") in known:
        return folder(name) / f"{path.name.removesuffix('.yaml')}.yaml"
    raise ConfigError(
        f"{_MEANT[name]} must be a file or one of those shipped, but got "
        f"{str(wanted)!r:.200}; {nearest(path.stem, known)}"
    )
