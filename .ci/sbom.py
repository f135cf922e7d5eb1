"""Print a software bill of materials: micronas and all it requires, as installed here.

``python .ci/sbom.py EXTRA ...`` prints CycloneDX 1.6 (JSON): versions, licences, and what requires
what.
"""

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from notice import closure, licence


def component(name: str) -> dict[str, Any] | None:
    """What the bill says of a package; None where it is not installed."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return None
    reference = f"pkg:pypi/{name}@{found}"
    named = [{"license": {"name": licence(name)}}]
    return {
        **{"type": "library", "bom-ref": reference, "name": name, "version": found},
        **{"purl": reference, "licenses": named},
    }


def main() -> None:
    needed = closure([f"micronas[{','.join(sys.argv[1:])}]"])
    parts = {name: part for name in sorted(needed) if (part := component(name))}
    depends = [
        {
            "ref": part["bom-ref"],
            "dependsOn": [parts[each]["bom-ref"] for each in sorted(needed[name]) if each in parts],
        }
        for name, part in parts.items()
    ]
    bill = {
        **{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1},
        "metadata": {"component": parts.pop("micronas")},
        "components": [*parts.values()],
        "dependencies": depends,
    }
    print(json.dumps(bill, indent=1))


if __name__ == "__main__":
    main()
