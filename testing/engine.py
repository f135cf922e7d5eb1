"""Compile generated networks and run them, on the host and on emulated cores."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from micronas.engine.generate import Files, generate
from micronas.engine.hop_writer import generate_hops
from micronas.engine.kernels import Makers, maker_of
from micronas.export.firmware.board import CORTEX_M4, Emulated, startup_files
from micronas.graph.integer import run_outputs
from micronas.graph.ir import Graph
from micronas.graph.kernels.codes import Values
from testing.emulator import emulate_with_stack

THUMB_1 = replace(CORTEX_M4, core="Cortex-M0+", flags="-mcpu=cortex-m0plus -mthumb")
"""A Cortex-M0+'s instructions on a machine with memory for any network."""
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_WARNINGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
_TICK = 40
"""Instructions of one tick of SysTick under ``-icount shift=0``."""
_HOST = """#include <stdio.h>
#include <stdlib.h>
#include "net.h"
int main(void) {
  int8_t* arena = malloc(NET_ARENA_BYTES + 4);
@BUFFERS@
  for (;;) {
@READ@
@RESET@
    if (net_invoke(@ARGUMENTS@)) return 2;
@WRITE@
  }
}
"""
_BOARD = """#include <stdint.h>
#include "net.h"
const char* micronas_next(void);
uint32_t micronas_read(void* bytes, uint32_t count);
void micronas_puts(const char* text);
static uint32_t wraps;
void SysTick_Handler(void) { ++*(volatile uint32_t*)&wraps; }
static uint32_t Now(void) {
  return (*(volatile uint32_t*)&wraps << 24) + 0xFFFFFF - *(volatile uint32_t*)0xE000E018;
}
static void Number(uint32_t value) {
  char text[12], *at = text + 11;
  *at = 0;
  *--at = ' ';
  do *--at = (char)('0' + value % 10); while (value /= 10);
  micronas_puts(at);
}
static int8_t arena[NET_ARENA_BYTES + 4] __attribute__((aligned(8)));
@BUFFERS@
int main(void) {
  *(volatile uint32_t*)0xE000E014 = 0xFFFFFF;
  *(volatile uint32_t*)0xE000E018 = 0;
  *(volatile uint32_t*)0xE000E010 = 7;
  while (*(volatile uint32_t*)0xE000E018 == 0) {
  }
  while (micronas_next()) {
@BEGIN@
    for (;;) {
@READ@
@RESET@
      const uint32_t begin = Now();
      const int given = @CALL@;
      Number(Now() - begin);
      if (@FAILED@) return 2;
@WRITE@
      micronas_puts("\\n");
    }
  }
  return 0;
}
"""


_HOP_HOST = """#include <stdio.h>
#include <stdlib.h>
#include "net.h"
int main(void) {
  int8_t *arena = malloc(NET_ARENA_BYTES), *in = malloc(NET_INPUT_BYTES);
  int8_t* out = malloc(NET_OUTPUT_BYTES);
  net_reset(arena);
  while (fread(in, 1, NET_INPUT_BYTES, stdin) == NET_INPUT_BYTES) {
    const int scores = net_hop(in, out, arena);
    if (scores < 0) return 2;
    fwrite(out, 1, (size_t)scores * (NET_OUTPUT_BYTES / NET_MOST_SCORES), stdout);
  }
  return 0;
}
"""


@dataclass(frozen=True)
class Ran:
    """What a generated network computed."""

    outputs: bytes
    """Of each example all outputs, in the graph's order."""
    instructions: int = 0
    """Of one example in the mean; on an emulated core."""
    stack: int = 0
    """Bytes of stack, those of the program around it included."""


def examples(graph: Graph, count: int, seed: int = 0) -> dict[str, Values]:
    """Return random codes for each input, [count, ...]; first all -128, then all 127."""
    rng = np.random.default_rng(seed)
    found = {}
    for name in graph.inputs:
        shape = graph.tensors[name].shape
        shape = shape[1:] if shape[0] == 1 else shape
        codes = rng.integers(-128, 128, (count, *shape)).astype(np.int8)
        codes[:1], codes[1:2] = -128, 127
        found[name] = codes
    return found


def typical(graph: Graph, count: int = 2) -> dict[str, Values]:
    """Return `examples` without those of one code, by which some kernels take less."""
    return {name: codes[2:] for name, codes in examples(graph, 2 + count).items()}


def wanted(graph: Graph, given: Mapping[str, Values]) -> bytes:
    """Return what integer execution gives, in the form of `Ran.outputs`."""
    return _joined(run_outputs(graph, given), graph.outputs)


def _joined(values: Mapping[str, Values], names: Sequence[str]) -> bytes:
    count = len(next(iter(values.values())))
    return b"".join(
        np.ascontiguousarray(values[name][index]).tobytes()
        for index in range(count)
        for name in names
    )


def on_host(
    graph: Graph,
    given: Mapping[str, Values],
    folder: Path,
    *,
    compiler: str = "gcc",
    flags: Sequence[str] = ("-O0", *SANITIZED),
    in_arena: bool = False,
    most: int | None = None,
) -> Ran:
    """Compile a network and run it here, its inputs and outputs apart or in the arena."""
    files = generate(graph, "net", most=most)
    offsets = re.findall(r"#define (NET_(?:INPUT|OUTPUT)\w*_OFFSET) ", files.header)
    buffers = [
        f"  int8_t* {name} = {f'arena + {offset}' if in_arena else f'malloc({size})'};"
        for (name, size), offset in zip(_sizes(graph).items(), offsets, strict=True)
    ]
    state = "  static net_state state;" if "net_state" in files.header else ""
    text = _filled(_HOST, graph, files, [*buffers, state], "fread({0}, 1, {1}, stdin)", "return 0")
    text = text.replace(
        "@WRITE@",
        "\n".join(f"fwrite({name}, 1, {size}, stdout);" for name, size in _outputs(graph)),
    )
    _write(folder, files, text)
    return Ran(_ran_here(folder, _joined(given, graph.inputs), compiler, flags))


def check_on_host(graph: Graph, folder: Path, **how: object) -> None:
    """Compare four examples on this machine, compiled as `on_host` does, byte by byte."""
    given = examples(graph, 4)
    assert on_host(graph, given, folder, **how).outputs == wanted(graph, given)  # type: ignore[arg-type]


def hops_on_host(
    graph: Graph,
    frames: Values,
    hop: int,
    folder: Path,
    *,
    compiler: str = "gcc",
    flags: Sequence[str] = ("-O0", *SANITIZED),
) -> Ran:
    """Compile a streaming network and run it here on whole hops of frames."""
    _write(folder, generate_hops(graph, "net", hop=hop), _HOP_HOST)
    return Ran(_ran_here(folder, np.ascontiguousarray(frames).tobytes(), compiler, flags))


def _ran_here(folder: Path, given: bytes, compiler: str, flags: Sequence[str]) -> bytes:
    sources = [str(folder / name) for name in ("net.c", "main.c")]
    program = folder / "run"
    subprocess.run(
        [compiler, *_WARNINGS, *flags, "-o", str(program), *sources],
        check=True,
        capture_output=True,
    )
    environment = {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [str(program)], input=given, check=True, capture_output=True, env=environment
    )
    return done.stdout


def build(
    graph: Graph,
    folder: Path,
    board: Emulated = CORTEX_M4,
    *,
    optimize: str = "-O2",
    most: int | None = None,
    makers: Makers = maker_of,
    include: Sequence[str] = (),
    libraries: Sequence[str] = (),
) -> Path:
    """Compile a network for an emulated core; return the program.

    Parameters
    ----------
    include, libraries
        Folders of headers, and archives, that the network's kernels need.
    """
    files = generate(graph, "net", most=most, makers=makers)
    buffers = [f"static int8_t {name}[{size}];" for name, size in _sizes(graph).items()]
    state = "static net_state state;" if "net_state" in files.header else ""
    board_text = _replaced(_BOARD, BEGIN="", CALL="net_invoke(@ARGUMENTS@)", FAILED="given")
    text = _filled(board_text, graph, files, [*buffers, state], "micronas_read({0}, {1})", "break")
    show = "\n".join(
        f"for (int i = 0; i < {size}; ++i) Number((uint8_t){name}[i]);"
        for name, size in _outputs(graph)
    )
    _write(folder, files, text.replace("@WRITE@", show))
    return _built(folder, board, optimize, include, libraries)


def build_hops(graph: Graph, folder: Path, hop: int, board: Emulated = CORTEX_M4) -> Path:
    """Compile a streaming network for an emulated core; return the program, which `on_core` runs on
    whole hops: its outputs are the scores that there were."""
    text = _replaced(
        _BOARD,
        BUFFERS="static int8_t in[NET_INPUT_BYTES], out[NET_OUTPUT_BYTES];",
        BEGIN="net_reset(arena);",
        READ="if (micronas_read(in, NET_INPUT_BYTES) != NET_INPUT_BYTES) break;",
        RESET="",
        CALL="net_hop(in, out, arena)",
        FAILED="given < 0",
        WRITE="for (int i = 0; i < given * (NET_OUTPUT_BYTES / NET_MOST_SCORES); ++i) "
        "Number((uint8_t)out[i]);",
    )
    _write(folder, generate_hops(graph, "net", hop=hop), text)
    return _built(folder, board, "-O2", (), ())


def _replaced(text: str, **values: str) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _built(
    folder: Path, board: Emulated, optimize: str, include: Sequence[str], libraries: Sequence[str]
) -> Path:
    for name, content in startup_files(board).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    core = board.flags.split()
    network = [*_WARNINGS, *core, optimize, "-ffunction-sections", "-fdata-sections"]
    network += [f"-I{each}" for each in include]
    subprocess.run(
        ["arm-none-eabi-gcc", *network, "-c", str(folder / "net.c"), "-o", str(folder / "net.o")],
        check=True,
        capture_output=True,
    )
    program = folder / "run.elf"
    command = [
        *("arm-none-eabi-gcc", "-std=gnu99", *core, "-O2", "-nostartfiles", "--specs=nano.specs"),
        *("-fno-tree-loop-distribute-patterns", "-Wl,--gc-sections", f"-T{folder}/qemu/board.ld"),
        *(f"-Wl,-Map={folder}/run.map", str(folder / "main.c"), str(folder / "qemu/board.c")),
        *(str(folder / "net.o"), *libraries, "-o", str(program)),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return program


def on_core(
    program: Path, given: Mapping[str, Values], graph: Graph, board: Emulated = CORTEX_M4
) -> Ran:
    """Run a built network on its emulated core."""
    return _on_core(program, _joined(given, graph.inputs), board)


def hops_on_core(program: Path, frames: Values, board: Emulated = CORTEX_M4) -> Ran:
    """Run a program of `build_hops`; instructions are those of one call in the mean."""
    return _on_core(program, np.ascontiguousarray(frames).tobytes(), board)


def _on_core(program: Path, given: bytes, board: Emulated) -> Ran:
    path = program.parent / "examples"
    path.write_bytes(given)
    lines, stack = emulate_with_stack(program, [path], board)
    rows = [[int(word) for word in line.split()] for line in lines]
    codes = b"".join(bytes(row[1:]) for row in rows)
    ticks = sum(row[0] for row in rows)
    return Ran(codes, round(ticks * _TICK / len(rows)), stack)


def sections(path: Path) -> tuple[int, int]:
    """Return bytes of code, and of constants and initial values."""
    command = ["arm-none-eabi-size", "-A", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    sizes = {name: int(size) for name, size in re.findall(r"^(\.\S+) +(\d+)", said, re.M)}
    text = sum(size for name, size in sizes.items() if name.startswith(".text"))
    rest = sum(size for name, size in sizes.items() if re.match(r"\.(rodata|data|ARM\.ex)", name))
    return text, rest


def _filled(
    template: str, graph: Graph, files: Files, buffers: Sequence[str], read: str, end: str
) -> str:
    names = [*_sizes(graph), "arena", *(["&state"] if files.state else [])]
    reads = [
        f"if ({read.format(name, size)} != {size}) {end};"
        for name, size in list(_sizes(graph).items())[: len(graph.inputs)]
    ]
    return _replaced(
        template,
        BUFFERS="\n".join(buffers),
        READ="\n".join(reads),
        RESET="net_reset(&state);" if files.state else "",
        ARGUMENTS=", ".join(names),
    )


def _sizes(graph: Graph) -> dict[str, int]:
    roles = (("input", graph.inputs), ("output", graph.outputs))
    return {
        f"{role}_{number}": graph.tensors[name].elements
        for role, names in roles
        for number, name in enumerate(names)
    }


def _outputs(graph: Graph) -> list[tuple[str, int]]:
    return list(_sizes(graph).items())[len(graph.inputs) :]


def _write(folder: Path, files: Files, main: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "net.h").write_text(files.header, encoding="utf-8")
    (folder / "net.c").write_text(files.source, encoding="utf-8")
    (folder / "main.c").write_text(main, encoding="utf-8")
