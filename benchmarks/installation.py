"""Sizes and seconds of installations: the library, with its tasks, with what tests need.

python benchmarks/installation.py [PYTHON ...]

Each goes into an empty environment, by the index and the cache that pip is set up with; what an
index serves decides about torch. Seconds are of this machine and its network.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
KINDS = {
    "library": ".",
    "with tasks": ".[keywords,images,machines]",
    "with tests": ".[test]",
}
_LISTED = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pythons", nargs="*", default=[sys.executable])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    given = parser.parse_args()
    for python in given.pythons:
        for kind in given.kinds:
            with TemporaryDirectory() as name:
                print(measured(python, kind, Path(name) / "venv"), flush=True)


def measured(python: str, kind: str, place: Path) -> str:
    """Install and return one line: version, kind, command, seconds, size, the largest packages."""
    subprocess.run([python, "-m", "venv", place], check=True)
    own = place / "bin/python"
    before, start = sizes(place).total(), time.perf_counter()
    command = [own, "-m", "pip", "install", "--quiet", KINDS[kind]]
    subprocess.run(command, check=True, cwd=ROOT)
    seconds, after = time.perf_counter() - start, sizes(place)
    version = subprocess.check_output([own, "--version"], text=True).split()[1]
    torch = subprocess.check_output(
        [own, "-c", "from importlib.metadata import version; print(version('torch'))"], text=True
    ).strip()
    largest = ", ".join(f"{name} {size >> 20}" for name, size in after.most_common(_LISTED))
    return (
        f"Python {version}, {kind}: pip install '{KINDS[kind]}': {seconds:.0f} s, "
        f"{(after.total() - before) >> 20} MB (torch {torch}); MB: {largest}"
    )


def sizes(place: Path) -> Counter[str]:
    """Return bytes by what lies in site-packages, and of the rest."""
    found = Counter[str]()
    for file in place.rglob("*"):
        if file.is_file() and not file.is_symlink():
            below = file.relative_to(place).parts
            is_package = "site-packages" in below
            name = below[below.index("site-packages") + 1] if is_package else "other"
            found[name] += file.stat().st_size
    return found


if __name__ == "__main__":
    main()
