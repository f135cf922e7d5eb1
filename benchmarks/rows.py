"""Results of benchmarks: a file of JSON lines, to which whatever is finished is added."""

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def read(results: Path) -> list[Record]:
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def append(results: Path, record: Record) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
