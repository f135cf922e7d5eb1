"""Run generated front ends on an emulated Cortex-M: codes, and what they cost there.

Needs ``arm-none-eabi-gcc`` with newlib and ``qemu-system-arm``.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from micronas.export.firmware.board import CORTEX_M4, Emulated, startup_files
from micronas.export.firmware.front_ends.front_end import Array, FrontEnd
from micronas.graph.ir import Quantization
from micronas.graph.kernels.codes import Values

CORTEX_M0 = Emulated(
    machine="microbit",
    core="Cortex-M0",
    flags="-mcpu=cortex-m0 -mthumb",
    flash_bytes=256 * 2**10,
    ram_bytes=16 * 2**10,
    stack_bytes=2048,
)

INSTRUCTIONS_PER_TICK = {"mps2-an386": 40}
"""With ``-icount shift=0`` an instruction is a nanosecond; SysTick runs at 25 MHz."""
_MAIN = """
#include <stdint.h>
#include "front_end.h"
const char* micronas_next(void);
uint32_t micronas_read(void* bytes, uint32_t count);
void micronas_puts(const char* text);
static FrontEnd state;
OWN
static int8_t codes[FRONT_END_CODES];
static SAMPLE samples[STEP];
volatile uint32_t wraps;
void SysTick_Handler(void) { ++wraps; }
static uint32_t Now(void) {
  return (wraps << 24) + 0xFFFFFF - *(volatile uint32_t*)0xE000E018;
}
static void Number(uint32_t value) {
  char text[12];
  char* at = text + 11;
  *at = 0;
  *--at = ' ';
  do *--at = (char)('0' + value % 10); while (value /= 10);
  micronas_puts(at);
}
int main(void) {
  *(volatile uint32_t*)0xE000E014 = 0xFFFFFF;
  *(volatile uint32_t*)0xE000E018 = 0;
  *(volatile uint32_t*)0xE000E010 = 7;
  while (*(volatile uint32_t*)0xE000E018 == 0) {
  }
  while (micronas_next()) {
    uint32_t most = 0, ticks, count, total = 0;
    START
    do {
      count = micronas_read(samples, sizeof(samples)) / (WIDTH * sizeof(SAMPLE));
      if (count == 0) break;
      ticks = Now();
      PUSH
      ticks = Now() - ticks;
      total += ticks;
      if (ticks > most) most = ticks;
    } while (count == STEP / WIDTH);
    READ
    Number(most);
    Number(total);
    for (unsigned i = 0; i < FRONT_END_CODES; ++i) Number((uint32_t)(uint8_t)codes[i]);
    micronas_puts("\\n");
  }
  return 0;
}
"""


@dataclass(frozen=True)
class Heard:
    """One input on the emulated core."""

    codes: Values
    step_ticks: int
    """Of the longest step: a frame, a picture, a reading."""
    total_ticks: int


@dataclass(frozen=True)
class Sizes:
    """What a front end takes, in bytes."""

    flash: int
    """Code and tables, with the parts of the C library that it needs."""
    buffers: int
    """The structure that the caller owns."""


class OnEmulator:
    """A front end, compiled for an emulated core.

    Parameters
    ----------
    step
        Samples of one step: the hop of a spectrum, all bytes of a picture, one reading.
    fixed_point
        Integers alone; as the core suggests when left out.
    """

    def __init__(
        self,
        front_end: FrontEnd,
        quantization: Quantization,
        folder: Path,
        *,
        step: int,
        board: Emulated = CORTEX_M4,
        fixed_point: bool | None = None,
    ) -> None:
        self._board, self._folder, self._works = board, folder, front_end.work_bytes
        self._form = [] if fixed_point is None else [f"-DFRONT_END_FIXED_POINT={int(fixed_point)}"]
        files = {**front_end.files(quantization), **startup_files(board)}
        width = {"float32": 4, "int16": 2, "uint8": 1}[front_end.samples]
        c_type = {4: "float", 2: "int16_t", 1: "uint8_t"}[width]
        streams = front_end.pace is not None
        columns = step if front_end.samples == "float32" else 1
        text, lent = _MAIN, "&work, " if front_end.work_bytes else ""
        for name, value in {
            "SAMPLE": c_type,
            "STEP": str(step),
            "WIDTH": str(columns),
            "OWN": "static FrontEndWork work;" if front_end.work_bytes else "",
            "START": "FrontEndReset(&state);" if streams else "",
            "PUSH": f"FrontEndPush(&state, {lent}samples, count);"
            if streams
            else "FrontEndRead(&state, samples, codes);",
            "READ": "FrontEndRead(&state, codes);" if streams else "",
        }.items():
            text = text.replace(name, value)
        files["run.c"] = text
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        self._link("run", ["run.c", "front_end.c", "qemu/board.c"])

    def _link(self, name: str, sources: Sequence[str]) -> None:
        command = [
            *("arm-none-eabi-gcc", "-std=gnu99", *self._board.flags.split(), "-O2", "-Wall"),
            *self._form,
            *("-ffp-contract=off", "-fno-tree-loop-distribute-patterns", "-ffunction-sections"),
            *("-fdata-sections", "-nostartfiles", "--specs=nano.specs", "-Wl,--gc-sections"),
            *(f"-T{self._folder}/qemu/board.ld", f"-I{self._folder}"),
            *(str(self._folder / source) for source in sources),
            *("-lm", "-o", str(self._folder / f"{name}.elf")),
        ]
        subprocess.run(command, check=True, stderr=subprocess.PIPE)

    def run(self, inputs: Sequence[Array]) -> list[Heard]:
        """Return what each input becomes; samples as the device gets them."""
        with tempfile.TemporaryDirectory() as scratch:
            paths = []
            for number, samples in enumerate(inputs):
                paths.append(Path(scratch) / str(number))
                paths[-1].write_bytes(np.ascontiguousarray(samples).tobytes())
            lines = emulate(self._folder / "run.elf", paths, self._board)
        rows = [[int(word) for word in line.split()] for line in lines]
        return [
            Heard(np.array(codes, np.uint8).view(np.int8), step, total)
            for step, total, *codes in rows
        ]

    def sizes(self) -> Sizes:
        """Measure by linking the same program without the front end's calls."""
        size = _sections(self._folder / "run.elf")
        empty = "int main(void) { return 0; }\n"
        (self._folder / "empty.c").write_text(empty, encoding="utf-8")
        self._link("empty", ["empty.c", "qemu/board.c"])
        without = _sections(self._folder / "empty.elf")
        probe = '#include "front_end.h"\nFrontEnd state;\n'
        probe += "FrontEndWork work;\n" if self._works else ""
        (self._folder / "probe.c").write_text(probe, encoding="utf-8")
        command = ["arm-none-eabi-gcc", *self._board.flags.split(), "-c", "-fno-common"]
        target = self._folder / "probe.o"
        subprocess.run([*command, str(self._folder / "probe.c"), "-o", str(target)], check=True)
        return Sizes(size[0] - without[0], _sections(target)[1])


def emulate(program: Path, files: Sequence[Path], board: Emulated = CORTEX_M4) -> list[str]:
    """Run a program that reads files; return the lines it prints, but for that about its stack.

    Raises
    ------
    subprocess.CalledProcessError
        If the program fails; what it printed is in `stderr`.
    """
    return emulate_with_stack(program, files, board)[0]


def emulate_with_stack(
    program: Path, files: Sequence[Path], board: Emulated = CORTEX_M4
) -> tuple[list[str], int]:
    """Run a program as `emulate` does; return its lines, and the bytes of stack it used."""
    arguments = "".join(f",arg={path}" for path in files)
    command = [
        *("qemu-system-arm", "-M", board.machine, "-nographic", "-monitor", "none"),
        *("-serial", "none", "-icount", "shift=0", "-semihosting-config"),
        f"enable=on,target=native,arg=run{arguments}",
        *("-kernel", str(program)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *lines, stack = done.stderr.strip().splitlines()
    return lines, int(stack.split()[1])


def _sections(path: Path) -> tuple[int, int]:
    """Bytes in flash and in zeroed memory."""
    said = subprocess.run(
        ["arm-none-eabi-size", str(path)], capture_output=True, text=True, check=True
    )
    text, data, bss = map(int, said.stdout.splitlines()[1].split()[:3])
    return text + data, bss
