"""Emulated boards: start-up code, linker script, toolchain file, Makefile."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from micronas.hardware.board import Board
from micronas.resources import filled


@dataclass(frozen=True)
class Emulated:
    """Machine of QEMU."""

    machine: str
    core: str
    flags: str
    """Flags of the compiler."""
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    memory_of: str = "the emulated machine"
    """Name of the board whose flash and SRAM the linker may fill."""


CORTEX_M4 = Emulated(
    machine="mps2-an386",
    core="Cortex-M4",
    flags="-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16",
    flash_bytes=4 * 2**20,
    ram_bytes=4 * 2**20,
    stack_bytes=4096,
)


def with_memory_of(board: Board) -> Emulated:
    """Return the emulated Cortex-M4 with no more flash and SRAM than a board has.

    A program that does not fit the board does not link.
    """
    return replace(
        CORTEX_M4,
        flash_bytes=min(board.flash_bytes, CORTEX_M4.flash_bytes),
        ram_bytes=min(board.sram_bytes, CORTEX_M4.ram_bytes) & ~7,
        memory_of=board.name,
    )


def startup_files(board: Emulated = CORTEX_M4) -> dict[str, str]:
    """Return start-up code and linker script of an emulated board, below ``qemu/``."""
    return _filled({"board.c": "board.c.in", "board.ld": "board.ld.in"}, {}, board)


def board_files(values: Mapping[str, str], board: Emulated = CORTEX_M4) -> dict[str, str]:
    """Return the files of an emulated board, below ``qemu/``."""
    builds = {"toolchain.cmake": "toolchain.cmake.in", "Makefile": "qemu_makefile.in"}
    return startup_files(board) | _filled(builds, values, board)


def _filled(
    templates: Mapping[str, str], values: Mapping[str, str], board: Emulated
) -> dict[str, str]:
    values = {
        **values,
        "CORE": board.core,
        "FLAGS": board.flags,
        "FLASH": str(board.flash_bytes),
        "RAM": str(board.ram_bytes),
        "STACK": str(board.stack_bytes),
        "MEMORY": board.memory_of,
    }
    return {f"qemu/{name}": filled(template, values) for name, template in templates.items()}
