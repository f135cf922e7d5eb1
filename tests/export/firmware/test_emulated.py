"""Front ends on an emulated Cortex-M4 and Cortex-M0: the codes of this machine, and their price.

Run by `make firmware`, which needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and
qemu-system-arm. `make tflm` runs whole firmware, on a build of TensorFlow Lite Micro of one's own,
named by TFLM_SOURCE and TFLM_LIBRARY.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application, Decision
from micronas.export.firmware.board import CORTEX_M0, CORTEX_M4
from micronas.export.firmware.front_ends import Camera, FrontEnd
from micronas.export.firmware.front_ends.front_end import Array
from micronas.export.firmware.host import OnHost
from micronas.export.firmware.project import write_project
from micronas.graph.ir import Quantization
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.targets import CMSIS_NN
from micronas.space.space import Space
from micronas.tasks.device import front_end
from micronas.testing.emulator import INSTRUCTIONS_PER_TICK, OnEmulator
from micronas.testing.graphs import quantize_randomly
from micronas.tflite.writer import to_flatbuffer

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


@pytest.mark.firmware
@pytest.mark.parametrize(
    ("meaning", "shape", "step", "inputs"),
    [
        (SPEECH, (49, 10, 1), 320, noise(16_000, 10)),
        ({**SPEECH, "window_ms": 30}, (49, 10, 1), 320, noise(16_000, 3)),
        (MACHINE, (32, 32, 1), 512, noise(65 * 512, 4)),
        (PIXELS, (50, 50, 1), 160 * 120, [*np.arange(3 * 19_200).astype(np.uint8).reshape(3, -1)]),
        (SENSOR, (64, 1, 3), 3, [*np.random.default_rng(0).normal(size=(5, 64, 3)).astype("f4")]),
    ],
    ids=["mfcc", "mfcc30", "log_mel", "image", "series"],
)
def test_codes_and_costs_on_a_cortex_m4(
    meaning: dict[str, object],
    shape: tuple[int, int, int],
    step: int,
    inputs: list[Array],
    tmp_path: Path,
) -> None:
    """Codes of this machine; buffers to the byte, instructions within 2 %, flash never above."""
    ends = made(meaning, *shape)
    emulated = OnEmulator(ends, STEP, tmp_path, step=step)
    here = OnHost(ends, STEP)
    heard = emulated.run(inputs)
    assert [each.codes.tolist() for each in heard] == [here.codes(x).tolist() for x in inputs]
    costs, sizes = front_end_costs(meaning, shape), emulated.sizes()
    assert costs is not None
    assert costs.buffer_bytes == sizes.buffers
    assert 0.95 * costs.flash_bytes <= sizes.flash <= costs.flash_bytes
    taken = heard[0].total_ticks * INSTRUCTIONS_PER_TICK[CORTEX_M4.machine]
    assert costs.input_instructions == pytest.approx(taken, rel=0.02)


@pytest.mark.firmware
@pytest.mark.parametrize(
    ("meaning", "shape", "step", "inputs"),
    [
        (SPEECH, (49, 10, 1), 320, noise(16_000, 3)),
        (MACHINE, (32, 32, 1), 512, noise(65 * 512, 2)),
    ],
    ids=["mfcc", "log_mel"],
)
def test_a_core_without_floating_point_takes_the_integer_form(
    meaning: dict[str, object],
    shape: tuple[int, int, int],
    step: int,
    inputs: list[Array],
    tmp_path: Path,
) -> None:
    ends = made(meaning, *shape)
    heard = OnEmulator(ends, STEP, tmp_path, step=step, board=CORTEX_M0).run(inputs)
    here = OnHost(ends, STEP, fixed_point=True)
    assert [each.codes.tolist() for each in heard] == [here.codes(x).tolist() for x in inputs]


@pytest.fixture(scope="module")
def library() -> tuple[str, str]:
    """A build of one's own; it is no part of micronas, and nothing is downloaded for it."""
    found = os.environ.get("TFLM_SOURCE"), os.environ.get("TFLM_LIBRARY")
    if None in found:
        pytest.fail("TFLM_SOURCE and TFLM_LIBRARY must name a build of TensorFlow Lite Micro")
    return found  # type: ignore[return-value]


@pytest.mark.tflm
@pytest.mark.parametrize("published", ["kws_s", "ds_cnn_s"])
def test_firmware_passes_and_needs_every_line_of_its_arena(
    published: str, library: tuple[str, str], tmp_path: Path
) -> None:
    graph = quantize_randomly(Space.load(f"published/{published}").graph())
    project, needed = tmp_path / "firmware", CMSIS_NN.plan(graph).required
    write_project(
        to_flatbuffer(graph),
        project,
        golden_input=random_inputs(graph, 1, seed=0),
        application=Application(made(SPEECH, 49, 10, 1), [], Decision()),
    )
    code, said = checked(project, library)
    assert code == 0, said
    assert "PASS: 12 output bytes as expected" in said
    given = -(-needed // 16) * 16
    assert f"of {given} bytes used" in said
    code, said = checked(project, library, f"DEFINITIONS=-DMICRONAS_ARENA_BYTES={given - 16}")
    assert code != 0
    assert f"arena: {given} bytes needed, {given - 16} bytes given" in said


def checked(project: Path, library: tuple[str, str], *variables: str) -> tuple[int, str]:
    source, archive = library
    command = ["make", "-C", f"{project}/qemu", f"TFLM_DIR={source}", f"TFLM_LIBRARY={archive}"]
    subprocess.run(["make", "-C", f"{project}/qemu", "clean"], check=True, capture_output=True)
    done = subprocess.run(
        [*command, *variables, "check"], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr
