"""Front ends on an emulated Cortex-M4 and Cortex-M0: the codes of this machine, and their price.

Run by `make firmware`, which needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and
qemu-system-arm.
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from micronas.export.firmware.board import CORTEX_M4, startup_files
from micronas.export.firmware.front_ends import Camera, FrontEnd
from micronas.export.firmware.front_ends.front_end import Array
from micronas.export.firmware.host import OnHost
from micronas.graph.ir import Quantization
from micronas.hardware.board import Board
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.listening import front_end_ms
from micronas.resources import filled
from micronas.tasks.device import front_end
from testing.core_cycles import CORES
from testing.emulator import CORTEX_M0, INSTRUCTIONS_PER_TICK, OnEmulator
from testing.engine import THUMB_1
from testing.m4_cycles import trace

STEP = Quantization(np.array([0.0297952], np.float32), -7)


def noise(samples: int, count: int) -> list[Array]:
    source = np.random.default_rng(3)
    loud = (10 ** source.uniform(1, 4.5, count))[:, None]
    clips = source.normal(size=(count, samples)) * loud
    return [*np.clip(clips, -32768, 32767).astype(np.int16)]


def made(meaning: dict[str, object], *shape: int, camera: str | None = None) -> FrontEnd:
    given = None if camera is None else Camera.parse(camera)
    found = front_end(meaning, (1, *shape), camera=given)
    assert found is not None
    return found


SPEECH = {"features": "mfcc", "window_ms": 40}
MACHINE = {"features": "log-mel", "mean": -4.1, "deviation": 3.2}
PIXELS = {"features": "pixels", "fit": "stretch", "mean": 128.0}
SENSOR = {
    **{"features": "series", "window": 64, "limit": 4.0},
    **{"mean": [0.1, -9.8, 2.0], "deviation": [1.0, 0.5, 30.0]},
}


End = tuple[dict[str, object], tuple[int, int, int], int, list[Array]]
ENDS: dict[str, End] = {
    "mfcc": (SPEECH, (49, 10, 1), 320, noise(16_000, 10)),
    "log_mel": (MACHINE, (32, 32, 1), 512, noise(65 * 512, 4)),
    "image": (
        *(PIXELS, (50, 50, 1), 160 * 120),
        [*np.arange(3 * 19_200).astype(np.uint8).reshape(3, -1)],
    ),
    "series": (
        *(SENSOR, (64, 1, 3), 3),
        [*np.random.default_rng(0).normal(size=(5, 64, 3)).astype("f4")],
    ),
}
"""Meaning and shape of an input, samples to read at once, and recordings."""
SHORT = {"mfcc30": ({**SPEECH, "window_ms": 30}, (49, 10, 1), 320, noise(16_000, 3))}


@pytest.mark.firmware
@pytest.mark.parametrize("end", [*ENDS.values(), *SHORT.values()], ids=[*ENDS, *SHORT])
def test_codes_and_costs_on_a_cortex_m4(end: End, tmp_path: Path) -> None:
    """Codes of this machine; buffers to the byte, instructions within 2 %, flash never above."""
    meaning, shape, step, inputs = end
    ends = made(meaning, *shape)
    emulated = OnEmulator(ends, STEP, tmp_path, step=step)
    here = OnHost(ends, STEP)
    heard = emulated.run(inputs)
    assert [each.codes.tolist() for each in heard] == [here.codes(x).tolist() for x in inputs]
    costs, sizes = front_end_costs(meaning, shape), emulated.sizes()
    assert costs.buffer_bytes == sizes.buffers
    assert 0.95 * costs.flash_bytes <= sizes.flash <= costs.flash_bytes
    taken = heard[0].total_ticks * INSTRUCTIONS_PER_TICK[CORTEX_M4.machine]
    assert costs.input_instructions == pytest.approx(taken, rel=0.02)


@pytest.mark.firmware
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_core_without_floating_point_takes_the_integer_form(end: End, tmp_path: Path) -> None:
    meaning, shape, step, inputs = end
    inputs = inputs[: 3 if meaning is SPEECH else 1]
    ends = made(meaning, *shape)
    heard = OnEmulator(ends, STEP, tmp_path, step=step, board=THUMB_1).run(inputs)
    here = OnHost(ends, STEP, fixed_point=True)
    assert [each.codes.tolist() for each in heard] == [here.codes(x).tolist() for x in inputs]
    inputs[0].tofile(tmp_path / "heard")
    call = "FrontEndRead" if meaning is PIXELS else "FrontEndPush"
    ran, _ = trace(tmp_path / "run.elf", call, [tmp_path / "heard"])
    board, costs = Board.load("nucleo_g0b1re"), front_end_costs(meaning, shape)
    expected = front_end_ms(board, costs, costs.input_instructions)  # it waits .3 % of its time
    milliseconds = 1e3 * sum(CORES["Cortex-M0+"](ran)) / board.clock_hz
    assert expected == pytest.approx(milliseconds, rel=0.03)


_CLOCK = """
#include "clock.h"
extern "C" void micronas_puts(const char* text);
static unsigned Timed(unsigned turns) {
  const unsigned start = ReadClock();
  for (volatile unsigned i = 0; i < turns; i = i + 1) {
  }
  return ReadClock() - start;
}
int main() {
  StartClock();
  const unsigned once = Timed(3000000), often = Timed(12000000);
  const bool wraps = often > (1u << 24), even = often > 3.99f * once && often < 4.01f * once;
  micronas_puts(wraps && even && TicksPerSecond() == 0 ? "PASS" : "FAIL");
  return 0;
}
"""


@pytest.mark.firmware
def test_a_cortex_m0_has_a_clock_that_goes_on_when_its_24_bits_end(tmp_path: Path) -> None:
    values = {"CLOCK": "<ctime>", "TICKS": "0", "RATE": "0"}
    files = {"clock.h": filled("clock.h.in", values), "clock.cc": _CLOCK}
    for name, text in {**files, **startup_files(CORTEX_M0)}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    flags = (*CORTEX_M0.flags.split(), "-O2", "-fno-tree-loop-distribute-patterns")
    for compiler, source in (("g++", "clock.cc"), ("gcc", "qemu/board.c")):
        command = [f"arm-none-eabi-{compiler}", *flags, "-c", source, "-o", f"{source}.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
    link = ["arm-none-eabi-g++", *flags, "-nostartfiles", "--specs=nano.specs", "-Tqemu/board.ld"]
    link += ["clock.cc.o", "qemu/board.c.o", "-o", "clock.elf"]
    subprocess.run(link, cwd=tmp_path, check=True)
    emulator = [*("qemu-system-arm", "-M", CORTEX_M0.machine, "-nographic", "-monitor", "none")]
    emulator += [*("-serial", "none", "-icount", "shift=5", "-semihosting-config")]
    emulator += ["enable=on,target=native", "-kernel", str(tmp_path / "clock.elf")]
    done = subprocess.run(emulator, capture_output=True, text=True, check=True)
    assert done.stderr.startswith("PASS")
