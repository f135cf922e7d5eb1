"""Sizes and seconds of installations: the library, then what each extra adds to it.

    python -m benchmarks.installation [--python PYTHON] [--extras keywords images ...]

The library goes into an empty environment, each extra into a copy of that, without pip's cache. The
index that pip is set up with decides about torch. Seconds include those of the network; those of
the CPU are given apart.
"""

import argparse
import configparser
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.clock import cpu_seconds
from micronas.text import table

ROOT = Path(__file__).parents[1]
_LISTED = 3


def main() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    known = list(settings["options.extras_require"])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--extras", nargs="*", choices=known, default=known)
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        library = Path(name) / "library"
        subprocess.run([given.python, "-m", "venv", library], check=True)
        rows = [measured(library, ".")]
        for extra in given.extras:
            place = Path(name) / "extra"
            shutil.copytree(library, place, symlinks=True)
            rows.append(measured(place, f".[{extra}]"))
            shutil.rmtree(place)
        version = subprocess.check_output([library / "bin/python", "--version"], text=True).strip()
        code = "from importlib.metadata import version; print(version('torch'))"
        torch = subprocess.check_output([library / "bin/python", "-c", code], text=True).strip()
    print(f"{version}, torch {torch}")
    print(table(["pip install", "adds MB", "s", "CPU s", "largest, MB"], rows))


def measured(place: Path, what: str) -> list[str]:
    """Install into an environment and return a row of the table."""
    before, start, spent = sizes(place), time.perf_counter(), cpu_seconds()
    command = [str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--no-cache-dir", what]
    subprocess.run(command, check=True, cwd=ROOT)
    seconds, spent = time.perf_counter() - start, cpu_seconds() - spent
    added = sizes(place)
    added.subtract(before)
    largest = ", ".join(
        f"{name} {size / 1e6:.0f}" for name, size in added.most_common(_LISTED) if size > 5e5
    )
    row = [f"{added.total() / 1e6:.0f}", f"{seconds:.0f}", f"{spent:.0f}", largest]
    print(what, *row, flush=True)
    return [f"'{what}'", *row]


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
