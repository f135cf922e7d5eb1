"""Firmware of networks that random budgets allow fits the board's memory, as the linker sees it.

TFLM's code is stood in for by as many bytes as the table of measured code says; with the real one
`python -m benchmarks.firmware_budgets` links fifty.
"""

import random
import re
import subprocess
from pathlib import Path

import pytest

from micronas.hardware.board import Board
from micronas.hardware.code import code_bytes, operators_of
from testing.budgets import Fitting, fitting, write_firmware

STUBS = Path(__file__).parent / "stubs"
FLAGS = (
    *("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-O2"),
    *("-ffunction-sections", "-fdata-sections", "-DMICRONAS_SYSTICK", "-nostartfiles"),
    *("--specs=nano.specs", "-Wl,--gc-sections", "-DSTUB_SILENT"),
)
CXX = ("-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", f"-I{STUBS}")


@pytest.mark.firmware
@pytest.mark.parametrize("board", ["stm32f446re", "nucleo_l476rg"])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_budget_allows_links_and_not_in_less(board: str, seed: int, tmp_path: Path) -> None:
    found = fitting(Board.load(board), random.Random(f"{board} {seed}"))
    write_firmware(found, tmp_path / "firmware")
    linked = link(found, tmp_path / "firmware")
    assert linked.returncode == 0, linked.stderr
    flash, sram = sizes(tmp_path / "firmware/app.elf")
    limits = found.limits.given()
    assert len(found.model) < flash <= limits["flash"] <= found.board.flash_bytes
    assert sram <= limits["sram"] + found.board.reserved.sram_bytes <= found.board.sram_bytes
    script = tmp_path / "firmware/qemu/board.ld"
    whole = script.read_text()
    for region, size in (("FLASH", flash), ("RAM", sram)):
        script.write_text(re.sub(rf"({region} \(.*LENGTH = )\d+", rf"\g<1>{size - 512}", whole))
        assert f"region `{region}' overflowed" in link(found, tmp_path / "firmware").stderr


def link(found: Fitting, project: Path) -> "subprocess.CompletedProcess[str]":
    """Compile against stubs, and link with as much code as TFLM and the program take."""
    own = 0
    for name in ("app.cc", "console.cc", "front_end.c", "qemu/board.c"):
        path = project / name
        if not path.with_suffix(".o").exists():
            compiler = (
                ["arm-none-eabi-g++", *CXX] if path.suffix == ".cc" else ["arm-none-eabi-gcc"]
            )
            command = [*compiler, *FLAGS, "-c", str(path), "-o", str(path.with_suffix(".o"))]
            subprocess.run(command, check=True)
        if name != "front_end.c":
            said = run("arm-none-eabi-size", "-A", str(path.with_suffix(".o"))).stdout
            own += sum(int(size) for size in re.findall(r"^\.text\S*\s+(\d+)", said, re.MULTILINE))
    rest = code_bytes(operators_of(found.graph)) - own
    (project / "kernels.c").write_text(f"const char kernels[{rest}] = {{1}};\n")
    (project / "answers.cc").write_text(
        "#include <cstddef>\n#include <cstdint>\n"
        "std::int8_t stub_input[1], stub_output[1];\n"
        "extern const std::size_t stub_input_sizes[1], stub_output_sizes[1], stub_arena_bytes;\n"
        "const std::size_t stub_input_sizes[1] = {}, stub_output_sizes[1] = {};\n"
        "const std::size_t stub_arena_bytes = 0;\n"
    )
    objects = [str(project / f"{name}.o") for name in ("app", "console", "front_end", "qemu/board")]
    return run(
        *("arm-none-eabi-g++", *FLAGS, f"-T{project}/qemu/board.ld", "-Wl,-u,kernels"),
        *(*objects, str(project / "answers.cc"), "-xc", str(project / "kernels.c")),
        *("-lm", "-o", str(project / "app.elf")),
    )


def sizes(image: Path) -> tuple[int, int]:
    """Bytes in flash and in SRAM, stack included."""
    said = run("arm-none-eabi-size", str(image)).stdout
    text, data, bss = map(int, said.splitlines()[1].split()[:3])
    return text + data, data + bss


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, check=False)
