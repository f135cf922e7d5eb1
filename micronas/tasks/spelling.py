"""Find classes spelt in two ways."""

from collections.abc import Iterable


def same_but_for_case(labels: Iterable[str]) -> list[str]:
    """Return a list with one sentence on labels that differ in case or spaces alone, or []."""
    spelt: dict[str, list[str]] = {}
    for label in sorted(labels):
        spelt.setdefault("".join(label.lower().split()), []).append(label)
    alike = [" and ".join(names) for names in spelt.values() if len(names) > 1]
    return [f"Classes that differ in spelling only: {'; '.join(alike)}."] if alike else []
