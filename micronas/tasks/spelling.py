"""Find classes spelt in two ways."""

import re
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from micronas.errors import DataError

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?")


def same_but_for_case(labels: Iterable[str]) -> list[str]:
    """Return a list with one sentence on labels that differ in case or spaces alone, or []."""
    spelt: dict[str, list[str]] = {}
    for label in sorted(labels):
        spelt.setdefault("".join(label.lower().split()), []).append(label)
    alike = [" and ".join(names) for names in spelt.values() if len(names) > 1]
    return [f"Classes that differ in spelling only: {'; '.join(alike)}."] if alike else []


def check_numbers(labels: Iterable[str], source: Path) -> None:
    """Raise DataError for a missing number, or one in two spellings: they would be classes."""
    spelt: dict[Decimal, str] = {}
    for label in sorted(labels):
        if label.lower() == "nan":
            raise DataError(
                f"a label must not be missing, but {source} has {label!r}; leave it empty in a CSV "
                "file, or write another word if it is a class"
            )
        if not _NUMBER.fullmatch(label):
            continue
        other = spelt.setdefault(Decimal(label), label)
        if other != label:
            raise DataError(
                f"a number must be spelt one way as a label, but {source} has {other!r} and "
                f"{label!r}; write all as one of them, or words if they are two classes"
            )
