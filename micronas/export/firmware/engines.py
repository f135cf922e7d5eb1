"""Choice of a runtime by its engine's name."""

from collections.abc import Mapping

from micronas.errors import ConfigError
from micronas.export.firmware.application import Application
from micronas.export.firmware.engine import OnEngine, OnHops
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
    application: Application | None = None,
) -> Runtime:
    """Return the runtime of models on the engine of an application; see `Runtime`, `OnEngine`.

    Raises ConfigError if an arena is given for TFLM, or for a network that streams, which runs row
    by row in any case.
    """
    if application is not None and application.frames is not None:
        if arena is not None:
            raise ConfigError(
                f"a network that streams goes row by row by itself, but got --arena {arena}; "
                "leave --arena out"
            )
        work = application.front_end.work_bytes
        return OnHops(models, kind, what, frames=application.frames, work=work)
    if engine == "micronas":
        return OnEngine(models, kind, what, most=arena)
    if arena is not None:
        raise ConfigError(
            f"TFLM plans its arena itself, but got --arena {arena}; leave it out, or take --engine "
            "micronas"
        )
    return OnTflm(models, kind, what)
