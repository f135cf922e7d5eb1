"""What a device needs, predicted against measured: instructions, flash, memory beside the arena.

    TFLM_SOURCE=<checkout> TFLM_LIBRARY=<libtensorflow-microlite.a> \
        python -m benchmarks.device [kws_s vww_2 ad_s RUN ...]

With OPTIMIZATION=-Os, and a library whose kernels were built so (`benchmarks.code_size` says how),
flash is compared with the code measured for that; instructions are priced for -O2.

Published networks get random weights, as what they cost does not depend on them; a run folder is
taken as it is. Firmware is built with the project's own Makefile and run on QEMU's mps2-an386, an
instruction being a nanosecond. One recording of noise goes through the whole chain. The stack is
the deepest of that and of the check; other RAM is the program's beside arena, front end and stack.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from micronas.export.examples import random_inputs
from micronas.export.firmware.application import Application
from micronas.export.firmware.project import write_project
from micronas.graph.ir import Graph
from micronas.hardware.board import Board
from micronas.hardware.front_ends import front_end_costs
from micronas.hardware.profile import profile
from micronas.space.space import Space
from micronas.streaming.events import Detector
from micronas.tasks.device import front_end
from micronas.text import table
from micronas.tflite.metadata import read_metadata
from micronas.tflite.reader import read
from micronas.tflite.writer import to_flatbuffer
from testing.budgets import MEANINGS
from testing.graphs import quantize_randomly
from testing.usage import given

_LEVEL = os.environ.get("OPTIMIZATION", "-O2")
_SAMPLES = {"mfcc": 16_000, "log-mel": 1024 + 63 * 512}


def main(names: list[str]) -> None:
    rows = [_row(name) for name in names]
    header = ["network", "front end, instructions", "network, instructions", "flash, B"]
    print(table([*header, "arena, B", "other RAM, B", "stack, B", "check"], rows))


def _row(name: str) -> list[str]:
    model, meaning = _model(name)
    graph = read(model)
    shape = graph.tensors[graph.inputs[0]].shape
    outputs = graph.tensors[graph.outputs[0]].shape[-1]
    ends = front_end(meaning, shape)
    costs = front_end_costs(meaning, (shape[1], shape[2], shape[3]))
    assert ends is not None
    assert costs is not None
    board = Board.load("stm32f446re")
    predicted = profile(graph, board, flash_bytes=len(model), meaning=meaning)
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "firmware"
        write_project(
            model,
            project,
            golden_input=random_inputs(graph, 1, seed=0),
            application=Application(ends, [], Detector((1,) * outputs)),
        )
        (project / "recordings").mkdir()
        (project / "recordings" / "noise").write_bytes(_noise(graph, meaning))
        said = _make(project, "check", "say", "size")
    front, network = map(
        int, re.findall(r"front end (\d+) \+ network (\d+) instructions", said)[-1]
    )
    text, data, bss = map(int, re.findall(r"^ *(\d+)\s+(\d+)\s+(\d+).*app\.elf", said, re.M)[-1])
    device = predicted["device"]
    flash = device["flash_bytes"]
    if _LEVEL == "-Os":
        flash += device["code_bytes_at_os"] - device["code_bytes"]
    arena = -(-predicted["arena_required_bytes"] // 16) * 16
    used, given = map(int, re.findall(r"arena: (\d+) of (\d+) bytes used", said)[0])
    assert given == arena
    stack, of_stack = max(
        tuple(map(int, pair)) for pair in re.findall(r"stack: (\d+) of (\d+)", said)
    )
    checked = re.findall(r"PASS: .*|FAIL: .*", said)
    return [
        name,
        _pair(costs.step_instructions, front),
        _pair(predicted["instructions"], network),
        _pair(flash, text + data),
        f"{used:,} of {arena:,}",
        f"{data + bss - arena - costs.buffer_bytes - of_stack:,}",
        f"{stack:,}",
        checked[0] if checked else "no answer",
    ]


def _model(name: str) -> tuple[bytes, dict[str, Any]]:
    if Path(name).is_dir():
        data = (Path(name) / "model.tflite").read_bytes()
        return data, dict(read_metadata(data)["input"])
    graph = quantize_randomly(Space.load(f"published/{name}").graph())
    return to_flatbuffer(graph), dict(MEANINGS[name.split("_")[0]])


def _noise(graph: Graph, meaning: dict[str, Any]) -> bytes:
    source = np.random.default_rng(0)
    count = _SAMPLES.get(str(meaning["features"]))
    if count is None:
        channels = graph.tensors[graph.inputs[0]].shape[3]
        return source.bytes(160 * 120 * (1 if channels == 1 else 2))
    return (source.normal(size=count) * 1000).astype(np.int16).tobytes()


def _make(project: Path, *targets: str) -> str:
    command = [
        *("make", "-C", f"{project}/qemu", f"TFLM_DIR={os.environ['TFLM_SOURCE']}"),
        f"TFLM_LIBRARY={os.environ['TFLM_LIBRARY']}",
        f"OPTIMIZATION={_LEVEL}",
    ]
    done = subprocess.run([*command, *targets], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def _pair(predicted: int, measured: int) -> str:
    return f"{predicted:,} / {measured:,} ({100 * (predicted / measured - 1):+.2f} %)"


if __name__ == "__main__":
    main(given(__doc__, 0, "TFLM_SOURCE", "TFLM_LIBRARY") or ["kws_s", "vww_2", "ad_s"])
