"""Targets, one per file, and the choice of a board's."""

import re
from collections.abc import Collection

from micronas.errors import ConfigError
from micronas.graph.ir import Graph
from micronas.graph.memory import ArenaPlan
from micronas.hardware.targets.arduino import ARDUINO as ARDUINO
from micronas.hardware.targets.cmsis_nn import CMSIS_NN as CMSIS_NN
from micronas.hardware.targets.helium import HELIUM as HELIUM
from micronas.hardware.targets.host import HOST as HOST
from micronas.hardware.targets.micronas import MICRONAS as MICRONAS
from micronas.hardware.targets.target import Choice as Choice
from micronas.hardware.targets.target import Target as Target
from micronas.settings import nearest

DEFAULT: Target = CMSIS_NN
"""Target without a board: that of the firmware that micronas writes."""
TFLM = "tflm"
"""Engine whose target depends on kernels and core."""
_NAMED: dict[str, Target] = {MICRONAS.name: MICRONAS}
_DSP = ("Cortex-M4", "Cortex-M7", "Cortex-M33", "Cortex-M35P")
WITHOUT_FPU = ("Cortex-M0", "Cortex-M0+", "Cortex-M1", "Cortex-M3", "Cortex-M23")
"""Cores on which a front end runs in integers."""
_PLAIN = WITHOUT_FPU  # they lack the DSP extension, too
_LINKED = ("Cortex-M4",)
"""Cores for which code was linked and measured; others compile to another size."""
_HELIUM = ("Cortex-M52", "Cortex-M55", "Cortex-M85")


def register(target: Target) -> Target:
    """Register a target by its name, which boards give as their `kernels` or `engine`."""
    _NAMED[target.name] = target
    return target


def forget(target: Target) -> None:
    """Undo `register`."""
    del _NAMED[target.name]


def named(name: str) -> Target:
    """Return a registered target; ConfigError if none has that name."""
    if name not in _NAMED:
        raise ConfigError(f"unknown engine {name!r}; {nearest(name, (TFLM, *_NAMED))}")
    return _NAMED[name]


def core_name(core: str) -> str:
    """Return the usual name of a core, ``Cortex-M4`` for ``ARM cortex-m4f``; unknown ones as is."""
    plain = re.sub(r"arm|cortex|[\s_-]", "", core.lower()).replace("plus", "+").removesuffix("f")
    known = (*_DSP, *_PLAIN, *_HELIUM)
    return next((each for each in known if each.lower() == f"cortex-{plain}"), core)


def choose(kernels: str, core: str) -> Choice:
    """Choose the target of a board's kernels and core: one registered by that name, or TFLM.

    Firmware that micronas writes runs TFLM with CMSIS-NN on any Cortex-M, so all of them are
    planned for that. The plan is exact on cores with the DSP extension, and on those with Helium, a
    target of its own. On other Cortex-M cores CMSIS-NN's kernels ask for the same scratch memory or
    none: an upper bound. Where the networks were measured with another library, or the core is no
    Cortex-M, the needs of that library are unknown: `assumes` says so, and every output repeats it.
    `code_assumes` does the same for code, which was linked for a Cortex-M4.
    """
    core = core_name(core)
    if kernels in _NAMED:
        return _NAMED[kernels].chosen(core)
    return Choice(
        target=HELIUM if core in _HELIUM else CMSIS_NN,
        is_upper_bound=core in _PLAIN,
        assumes=_assumed(kernels, core, known=(*_DSP, *_PLAIN, *_HELIUM)),
        code_assumes=_assumed(kernels, core, known=_LINKED),
    )


def _assumed(kernels: str, core: str, *, known: Collection[str]) -> str | None:
    place = "" if core in known else f" on a Cortex-M4 in place of {core}"
    if "CMSIS-NN" not in kernels:
        return f"TFLM with CMSIS-NN{place}, not the kernels measured ({kernels})"
    return f"TFLM with CMSIS-NN{place}" if place else None


def plan(graph: Graph, target: Target = DEFAULT) -> ArenaPlan:
    """Predict the arena of a network on a target; shapes are enough."""
    return target.plan(graph)
