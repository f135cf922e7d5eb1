"""Print the versions installed here of all that `make demo` and `make test` need, for pip.

Run it in an environment in which both passed: ``python .ci/lock.py > .ci/tested.txt``. pip reads
the file as constraints; setup.cfg keeps lower bounds alone. A package that does not run on every
Python that micronas does is pinned where it does.
"""

import platform
from importlib.metadata import PackageNotFoundError, metadata, version

from notice import closure
from packaging.specifiers import SpecifierSet

_OLDEST = 10
"""Of Python 3."""


def pin(name: str) -> str | None:
    """A line of the file; None for what is not installed here, such as another platform's."""
    try:
        found = version(name).split("+")[0]
        supported = SpecifierSet(metadata(name).get("Requires-Python") or "")
    except PackageNotFoundError:
        return None
    minor = next(minor for minor in range(_OLDEST, 99) if f"3.{minor}.99" in supported)
    return f"{name}=={found}" + (f'; python_version >= "3.{minor}"' if minor > _OLDEST else "")


def main() -> None:
    needed = sorted(closure(["micronas[keywords,test]"]).keys() - {"micronas"})
    print(f"# Printed by .ci/lock.py on Python {platform.python_version()}.")
    print("\n".join(filter(None, map(pin, needed))))


if __name__ == "__main__":
    main()
