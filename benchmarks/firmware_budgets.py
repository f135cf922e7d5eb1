"""Link the firmware of networks that random budgets allow, with the memory of the board.

    TFLM_SOURCE=<checkout> TFLM_LIBRARY=<libtensorflow-microlite.a> \
        python -m benchmarks.firmware_budgets [COUNT]

Spaces, budgets and networks are drawn (`testing.budgets`); weights are random. The whole
program, from samples to labels, is built by the project's own Makefile for a board's flash and
SRAM, with 4 KB of stack. What is linked is compared with the budget, its flash with the prediction.
"""

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from micronas.hardware.board import Board
from micronas.text import table
from testing.budgets import Fitting, fitting, write_firmware
from testing.usage import given

BOARDS = ("stm32f446re", "nucleo_l476rg")


def main(count: int = 50) -> None:
    source = random.Random(25)
    rows, linked, over, errors = [], 0, 0, []
    for number in range(count):
        found = fitting(Board.load(BOARDS[number % len(BOARDS)]), source)
        image = _linked(found)
        flash, sram = found.limits.given()["flash"], found.limits.given()["sram"]
        row = [found.board.name, found.label[:40], f"{sram:,.0f}", f"{flash:,.0f}"]
        if image is None:
            rows.append([*row, "does not link", "", ""])
            continue
        linked += 1
        predicted = found.predicted["flash_bytes"]
        errors.append(predicted / image["flash"] - 1)
        # of SRAM a budget leaves stack and interpreter to the board's reserve
        given = sram + found.board.reserved.sram_bytes
        over += image["flash"] > flash or image["sram"] > given
        binding = max(found.limits.used(found.costs).items(), key=lambda each: each[1])
        rows.append(
            [
                *row,
                f"{image['sram']:,} of {found.board.sram_bytes:,}",
                f"{image['flash']:,} of {found.board.flash_bytes:,} ({100 * errors[-1]:+.1f} %)",
                f"{binding[0]} {100 * binding[1]:.0f} %",
            ]
        )
    header = ["board", "network", "budget, SRAM", "flash", "linked, SRAM", "flash", "binds"]
    print(table(header, rows))
    print(
        f"{linked} of {count} link; {over} above their budget; flash predicted above the image by "
        f"{100 * min(errors):.1f} to {100 * max(errors):.1f} %"
    )


def _linked(found: Fitting) -> Mapping[str, int] | None:
    """Return what the image takes of the board, stack included; None where it does not link."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch) / "firmware"
        write_firmware(found, project)
        command = [
            *("make", "-C", f"{project}/qemu", f"TFLM_DIR={os.environ['TFLM_SOURCE']}"),
            f"TFLM_LIBRARY={os.environ['TFLM_LIBRARY']}",
        ]
        done = subprocess.run(
            [*command, "BUILD=build", "build/app.elf"], capture_output=True, text=True, check=False
        )
        size = ["arm-none-eabi-size", f"{project}/qemu/build/app.elf"]
        sizes = subprocess.run(size, capture_output=True, text=True, check=False).stdout
    if done.returncode:
        print(done.stderr[-600:], file=sys.stderr)
        return None
    text, data, bss = map(int, sizes.splitlines()[1].split()[:3])
    return {"flash": text + data, "sram": data + bss}


if __name__ == "__main__":
    main(*map(int, given(__doc__, 0, "TFLM_SOURCE", "TFLM_LIBRARY")))
