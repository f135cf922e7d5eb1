"""Write NOTICE: what micronas depends on and under which licence, as installed here.

Run it in an environment with every extra: ``python .ci/notice.py``. Versions are left out, as only
lower bounds are given; what a package installs on other platforms alone (CUDA) is not seen.
"""

import configparser
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, metadata, requires
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
_DEVELOPMENT = ("test", "docs", "benchmarks")
_UNSAID = {
    "espeakng-loader": "GPL-3.0-or-later, the engine inside; see above",
    "tflite-micro": "Apache-2.0",
    "torch": "BSD-3-Clause",
}
"""Of packages whose metadata says nothing, from their sources."""
_HEAD = """\
micronas
Licensed under the Apache License, Version 2.0; see LICENSE.

micronas contains no code of the packages below. It imports them where they are installed, and
they come under licences of their own, as their metadata gives them. The list is written by
.ci/notice.py.

espeakng-loader carries the speech engine eSpeak NG (GPL-3.0-or-later). micronas loads
it in a process of its own and for one purpose, the corpus of spoken words that `micronas data synth
kws` makes. Nothing else needs it: who may not install GPL code can do without the package.

"""


def direct() -> dict[str, str]:
    """Names in setup.cfg, with the extra they belong to; "" for what is always installed."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lists = {"": config["options"]["install_requires"], **config["options.extras_require"]}
    found: dict[str, str] = {}
    for extra, lines in lists.items():
        if extra not in _DEVELOPMENT:
            for line in lines.strip().splitlines():
                found.setdefault(normal(Requirement(line).name), extra)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(wanted: Iterable[str]) -> dict[str, set[str]]:
    """Packages and all that they require here: what each requires itself, by name.

    Parameters
    ----------
    wanted
        Requirements, such as ``uvicorn[standard]``.
    """
    waiting, seen = [Requirement(each) for each in wanted], set[tuple[str, str]]()
    found: dict[str, set[str]] = {}
    while waiting:
        each = waiting.pop()
        name = normal(each.name)
        for extra in {"", *each.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            needed = _required(name, extra)
            found.setdefault(name, set()).update(normal(other.name) for other in needed)
            waiting += needed
    return found


def _required(name: str, extra: str) -> list[Requirement]:
    try:
        needed = [Requirement(line) for line in requires(name) or ()]
    except PackageNotFoundError:
        return []
    return [
        each for each in needed if each.marker is None or each.marker.evaluate({"extra": extra})
    ]


def licence(name: str) -> str:
    try:
        known = metadata(name)
    except PackageNotFoundError:
        return "not installed where this list was written"
    classes = [each for each in known.get_all("Classifier") or () if each.startswith("License")]
    classified = "; ".join(each.split(" :: ")[-1] for each in classes)
    # some put the whole text there
    stated, *_ = (known.get("License") or "").strip().splitlines() or [""]
    short = stated if re.match(r"(MIT|\S*[ -]?BSD|3-Clause BSD|Apache|MPL|PSF|ISC)", stated) else ""
    return known.get("License-Expression") or classified or short or _UNSAID.get(name, "not said")


def main() -> None:
    known = direct()
    rows = []
    for name in sorted(closure(known)):
        where = known.get(name)
        said = "indirect" if where is None else f"extra {where}" if where else "required"
        rows.append(f"{name:31} {said:22}{licence(name)}")
    (ROOT / "NOTICE").write_text(_HEAD + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
