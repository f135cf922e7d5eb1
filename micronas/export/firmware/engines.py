"""Choice of a runtime by its engine's name."""

from collections.abc import Mapping

from micronas.export.firmware.engine import OnEngine
from micronas.export.firmware.runtime import EngineName, Runtime
from micronas.export.firmware.shared import ProjectKind
from micronas.export.firmware.tflm import OnTflm


def runtime(
    engine: EngineName,
    models: Mapping[str, bytes],
    kind: ProjectKind,
    what: str,
    *,
    arena: int | None = None,
) -> Runtime:
    """Return the runtime of models on an engine; see `Runtime` and `OnEngine`."""
    if engine == "micronas":
        return OnEngine(models, kind, what, most=arena)
    return OnTflm(models, kind, what)
