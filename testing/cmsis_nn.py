"""CMSIS-NN, compiled from a checkout for an emulated core."""

import re
import subprocess
from pathlib import Path

from micronas.export.firmware.board import Emulated

_ROOMS = (
    "BasicMath",
    "Convolution",
    "FullyConnected",
    "NNSupport",
    "Pooling",
    "Softmax",
    "Transpose",
)


def library(source: Path, board: Emulated, folder: Path) -> Path:
    """Compile the functions on integers; return the archive, in a folder that is there."""
    files = [
        path.absolute()
        for room in _ROOMS
        for path in sorted((source / f"Source/{room}Functions").glob("*.c"))
        if not re.search(r"_f(16|32)$", path.stem)
    ]
    objects = folder / "objects"
    objects.mkdir()
    command = ["arm-none-eabi-gcc", *board.flags.split(), "-O2", "-ffunction-sections"]
    command += [f"-I{source.absolute()}/Include", "-c", *map(str, files)]
    subprocess.run(command, check=True, cwd=objects)
    made = [str(each) for each in objects.iterdir()]
    subprocess.run(["arm-none-eabi-ar", "rcs", str(folder / "cmsis_nn.a"), *made], check=True)
    return folder / "cmsis_nn.a"
