"""Networks on TensorFlow Lite Micro: arenas, operators, values of build files."""

from collections.abc import Collection, Iterable, Mapping

from micronas.errors import ExportError
from micronas.export.firmware.c_source import constant_name, to_c_header
from micronas.export.firmware.runtime import Runtime
from micronas.export.firmware.shared import ProjectKind, arena_bytes
from micronas.graph.ir import Graph, Kind
from micronas.graph.operators import OPERATORS
from micronas.hardware.targets import ARDUINO, CMSIS_NN, HELIUM, HOST
from micronas.quantities import aligned
from micronas.resources import filled
from micronas.tflite.reader import read

TFLM_COMMIT = "90b983c2b3f1480642e040bbd2ddb37b998f3424"
"""Commit of tensorflow/tflite-micro on which arena, instructions and flash were measured."""

_ARDUINO_MARGIN = 32
"""Bytes of arena per operator beyond `ARDUINO`'s plan; six networks took 11 to 16."""
INT8_ALONE: tuple[Kind, ...] = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "PAD"),
    *("AVERAGE_POOL_2D", "MAX_POOL_2D", "SOFTMAX", "TRANSPOSE_CONV"),
)
"""Kinds for which CMSIS-NN has a kernel of int8 only, with a third less flash."""

_MAKE = "#   make -C <checkout> -f tensorflow/lite/micro/tools/make/Makefile microlite"
_MAKE_FOR_BOARD = (
    f"{_MAKE} \\\n"
    "#     TARGET=cortex_m_generic TARGET_ARCH=cortex-m4+fp OPTIMIZED_KERNEL_DIR=cmsis_nn\n"
)


class OnTflm(Runtime):
    """Runtime of networks as files in flash, run by an interpreter."""

    def __init__(self, models: Mapping[str, bytes], kind: ProjectKind, what: str) -> None:
        super().__init__(models, kind, what)
        self._graphs = [read(model) for model in models.values()]
        check_scales(kind, self._graphs)

    def files(self, *, works: bool) -> dict[str, str]:
        has_states = any(each.variable for graph in self._graphs for each in graph.tensors.values())
        values = {
            "COMMIT": TFLM_COMMIT,
            # windows overlap: each begins with states of zero
            "RESET": "interpreter_.Reset() == kTfLiteOk && " if has_states else "",
            "INCLUDES": "\n".join(f'#include "{name}.h"' for name in self.models),
            "MODELS": "\n".join(f"    {{{constant_name(name)}}}," for name in self.models),
            **arena(self._graphs, self.what),
            **resolver(self._graphs),
        }
        templates = {
            **{name: f"{name}.in" for name in ("arena.h", "resolver.h")},
            "network.h": "network_tflm.h.in",
        }
        if self.kind == "cmake":
            templates |= {"tflm.cmake": "tflm.cmake.in"}
        headers = {f"{each}.h": to_c_header(data, name=each) for each, data in self.models.items()}
        return headers | {name: filled(each, values) for name, each in templates.items()}

    def board_files(self) -> dict[str, str]:
        return {"qemu/tflm.mk": filled("tflm.mk.in", {"COMMIT": TFLM_COMMIT})}

    def values(self) -> dict[str, str]:
        return build_values(arena(self._graphs, self.what)["MARGIN"])


def build_values(margin: str = "0") -> dict[str, str]:
    """Return the values of templates; a sketch adds `margin` bytes to its arena."""
    return {
        "COMMIT": TFLM_COMMIT,
        "CMAKE": "Needs a checkout of tensorflow/tflite-micro with its library built.",
        "MADE": f"{_MAKE}\n",
        "GIVEN": " -DTFLM_DIR=<checkout>",
        "MADEFOR": _MAKE_FOR_BOARD,
        "GIVENFOR": " -DTFLM_DIR=<checkout> -DTFLM_LIBRARY=<libtensorflow-microlite.a>",
        "RUNTIME": "include(tflm.cmake)\n",
        "MAKES": " TFLM_DIR=<checkout>",
        "LIBRARY": f", and the checkout's library:\n#\n{_MAKE_FOR_BOARD}",
        "INCLUDE": "include $(HERE)tflm.mk\n",
        "NEEDS": filled("tflm_sketch.in", {"MARGIN": margin}),
        "CLOCK": '"tensorflow/lite/micro/micro_time.h"',
        "TICKS": "tflite::GetCurrentTimeTicks()",
        "RATE": "tflite::ticks_per_second()",
    }


def check_scales(kind: ProjectKind, graphs: Iterable[Graph]) -> None:
    """Raise ExportError if a sketch's linear layer has a scale per output.

    The kernels of TFLM's Arduino library silently use the first for all.
    """
    for graph in graphs if kind == "arduino" else ():
        for op in graph.ops:
            if op.kind == "FULLY_CONNECTED" and graph.constant_of(op).per_channel:
                raise ExportError(
                    "TFLM's Arduino library takes one scale for all weights of a linear layer, but "
                    f"{op.name} has {graph.constant_of(op).shape[0]}; export the network with "
                    "to_tflite(..., linear_scales='tensor'), or with --engine micronas"
                )


def resolver(graphs: Collection[Graph]) -> dict[str, str]:
    """Return the values COUNT and RESOLVE of templates for the operators of graphs."""
    kinds: dict[Kind, bool] = {}  # whether an operator of the kind has weights of 4 bits
    for graph in graphs:
        for op in graph.ops:
            if op.kind != "UNKNOWN":
                int4 = any(graph.tensors[name].dtype == "int4" for name in op.inputs if name)
                kinds[op.kind] = kinds.get(op.kind, False) or int4
    registers: dict[str, str] = {}  # once each
    for kind in sorted(kinds):
        is_alone = kind in INT8_ALONE and not kinds[kind]
        given = f"MICRONAS_INT8({kind})" if is_alone else ""
        registers.setdefault(OPERATORS[kind].register, given)
    calls = [f"resolver.{name}({given}) == kTfLiteOk" for name, given in registers.items()]
    return {"COUNT": str(len(calls)), "RESOLVE": " &&\n         ".join(calls)}


def arena(graphs: Collection[Graph], what: str) -> dict[str, str]:
    """Return the templates' values for the largest arena of graphs."""
    board = max(arena_bytes(graph, CMSIS_NN) for graph in graphs)
    sketch = max(arena_bytes(graph, ARDUINO) + _ARDUINO_MARGIN * len(graph.ops) for graph in graphs)
    return {
        "WHAT": what,
        "HOST": str(max(arena_bytes(graph, HOST) for graph in graphs)),
        "BOARD": str(board),
        "HELIUM": str(max(arena_bytes(graph, HELIUM) for graph in graphs)),
        "MARGIN": str(aligned(sketch - board, 16)),
    }
