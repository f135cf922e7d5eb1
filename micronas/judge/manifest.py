"""An evaluation set on disk: prompts as JSON lines, and a manifest of its origin."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from micronas.errors import DataError
from micronas.files import text_hash, write_atomically
from micronas.language.rows import json_lines, read_rows

PROMPTS = "prompts.jsonl"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Prompt:
    """One prompt of an evaluation set."""

    id: str
    text: str
    category: str
    language: str
    """ISO 639-1 code, or ``und`` where it is unknown."""
    source: str
    """Name of the prompt's source."""
    licence: str
    hash: str
    """SHA-256 of the text, hexadecimal."""


def write_prompts(path: Path, prompts: Iterable[Prompt]) -> str:
    """Write an evaluation set and return the SHA-256 of the file."""
    data = json_lines(asdict(prompt) for prompt in prompts)
    write_atomically(path, data)
    return hashlib.sha256(data).hexdigest()


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest with sorted keys and no times or paths, so that it can be compared."""
    text = json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=2)
    write_atomically(path, f"{text}\n".encode())


def load_prompts(path: Path) -> list[Prompt]:
    """Read an evaluation set, a JSON-lines file or the folder of the set.

    Raises DataError if a line is not a prompt, an id is not unique or a text does not have its
    hash.
    """
    path = path / PROMPTS if path.is_dir() else path
    names = [field.name for field in fields(Prompt)]
    prompts: dict[str, Prompt] = {}
    for line, row in read_rows(path):
        wrong = [name for name in names if not isinstance(row.get(name), str)]
        if wrong or len(row) != len(names):
            raise DataError(
                f"{path}:{line}: a prompt must have the texts {', '.join(names)}, "
                f"but got {sorted(row)!r:.120}"
            )
        prompt = Prompt(**row)
        if text_hash(prompt.text) != prompt.hash:
            raise DataError(
                f"{path}:{line}: prompt {prompt.id!r} must have the hash of its text, but was "
                "changed after it was built; build the set again"
            )
        if prompt.id in prompts:
            raise DataError(f"{path}:{line}: an id must be unique, but {prompt.id!r} stands twice")
        prompts[prompt.id] = prompt
    if not prompts:
        raise DataError(f"{path} must hold at least one prompt, but is empty")
    return list(prompts.values())
