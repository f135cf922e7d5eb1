"""Cycles of a Cortex-M4, modelled: executions of each instruction on QEMU times what it takes.

Prices are those of the core's technical reference manual (Arm 100166, table 3-1) with memory that
never waits: a load takes two cycles, one behind another load or store; LDRD and LDM one more than
words; a jump that is taken refills the pipeline in two. Unaligned accesses, which take longer, are
not told apart; a division takes 7 of 2 to 12.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_PLUGIN = Path(__file__).with_name("qemu_counts.c")
_REFILL = 2
_SINGLE = re.compile(r"(ldr|str)(s?[bh])?$")
_DOUBLE = re.compile(r"(ldrd|strd)$")
_MULTIPLE = re.compile(r"(v?ldm|v?stm|v?push|v?pop)")
_DIVISION = re.compile(r"[su]div$")


@dataclass(frozen=True)
class Cost:
    """One call of a function."""

    instructions: int
    cycles: int


@dataclass(frozen=True)
class Instruction:
    """One of a program."""

    function: str
    address: int
    name: str
    operands: str


Ran = tuple[Instruction, int, int]
"""An instruction, how often it ran, and how often it jumped."""


def cost_of(program: Path, function: str, files: Sequence[Path] = ()) -> Cost:
    """Return what `costs_by_function` counts in all."""
    found = costs_by_function(program, function, files).values()
    return Cost(sum(each.instructions for each in found), sum(each.cycles for each in found))


def costs_by_function(program: Path, function: str, files: Sequence[Path] = ()) -> dict[str, Cost]:
    """Run a program on QEMU's mps2-an386; count what one call of a function takes, where it goes.

    Parameters
    ----------
    program
        An ELF file that calls the function, once in its text.
    files
        Arguments of the program.
    """
    found: dict[str, list[int]] = {}
    walked, entered = _walked(program, function, files)
    for each, count, jumped, price in walked:
        total = found.setdefault(each.function, [0, 0])
        total[0] += count
        total[1] += count * price + jumped * _REFILL
    return {
        name: Cost(instructions // entered, cycles // entered)
        for name, (instructions, cycles) in found.items()
    }


def blocks_of(
    program: Path, function: str, inner: str, files: Sequence[Path] = ()
) -> tuple[dict[int, Cost], dict[int, int]]:
    """Return what of a function runs how often in one call of `function`.

    By number of executions the instructions and their cycles, without refills; by number of jumps
    the instructions that jump.
    """
    runs: dict[int, list[int]] = {}
    jumps: dict[int, int] = {}
    walked, entered = _walked(program, function, files)
    for each, count, jumped, price in walked:
        if each.function == inner:
            total = runs.setdefault(count // entered, [0, 0])
            total[0] += 1
            total[1] += price
            if jumped:
                jumps[jumped // entered] = jumps.get(jumped // entered, 0) + 1
    return {count: Cost(*total) for count, total in runs.items()}, jumps


def _walked(
    program: Path, function: str, files: Sequence[Path]
) -> tuple[list[tuple[Instruction, int, int, int]], int]:
    """Return instructions that ran with executions, jumps and price; and how many calls ran."""
    ran, entered = trace(program, function, files)
    return [
        (each, count, jumped, _price(each, None if before is None else before[0]))
        for (each, count, jumped), before in zip(ran, [None, *ran], strict=False)
    ], entered


def trace(program: Path, function: str, files: Sequence[Path] = ()) -> tuple[list[Ran], int]:
    """Return what ran in calls of a function, by address, and how many calls; see `cost_of`."""
    listed = _disassembled(program)
    calls = [
        place
        for place, each in enumerate(listed)
        if each.name == "bl" and each.operands.endswith(f"<{function}>")
    ]
    (call,) = calls
    begin, end = int(listed[call].operands.split()[0], 16), listed[call + 1].address
    runs, jumps = _counted(program, begin, end, files)
    ran = [
        (each, runs[each.address], jumps.get(each.address, 0))
        for each in listed
        if each.address in runs
    ]
    return ran, runs[begin]


def _price(each: Instruction, before: Instruction | None) -> int:
    if _SINGLE.match(each.name):
        return 1 if before is not None and _is_pipelined(each, before) else 2
    if _DOUBLE.match(each.name):
        return 3
    if _MULTIPLE.match(each.name):
        return 1 + registers_of(each.operands)
    if _DIVISION.match(each.name):
        return 7
    return 2 if each.name in ("tbb", "tbh", "vldr", "vstr") else 1


def _is_pipelined(each: Instruction, before: Instruction) -> bool:
    """Whether an access follows another at once, and does not need what that one loads."""
    if each.address - before.address > 4 or not _SINGLE.match(before.name):
        return False
    address = re.search(r"\[(\w+)", each.operands)
    loaded = before.operands.split(",")[0] if before.name.startswith("ldr") else ""
    return address is None or address[1] != loaded


def registers_of(operands: str) -> int:
    count = 0
    for part in operands[operands.index("{") + 1 : operands.index("}")].split(","):
        ends = re.findall(r"\d+", part)
        count += int(ends[1]) - int(ends[0]) + 1 if "-" in part and len(ends) == 2 else 1
    return count


def _disassembled(program: Path) -> list[Instruction]:
    said = subprocess.run(
        ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", str(program)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found, function = [], ""
    for line in said.splitlines():
        if heading := re.match(r"[0-9a-f]+ <(.+)>:", line):
            function = heading[1]
        elif row := re.match(r" +([0-9a-f]+):\t(\S+)\t?([^@;\n]*)", line):
            address, name, operands = row.groups()
            name = name.split(".")[0]
            found.append(Instruction(function, int(address, 16), name, operands.strip()))
    return found


@lru_cache(maxsize=1)
def _plugin() -> Path:
    path = Path(tempfile.mkdtemp(prefix="micronas-qemu-")) / "counts.so"
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(path), str(_PLUGIN)]
    subprocess.run(command, check=True)
    return path


def _counted(
    program: Path, begin: int, end: int, files: Sequence[Path]
) -> tuple[dict[int, int], dict[int, int]]:
    """Executions and jumps by address, between two addresses."""
    arguments = "".join(f",arg={path}" for path in files)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "counts"
        command = [
            *("qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none"),
            *("-serial", "none", "-icount", "shift=0", "-plugin"),
            f"{_plugin()},begin={begin:x},end={end:x},out={out}",
            *("-semihosting-config", f"enable=on,target=native,arg=run{arguments}"),
            *("-kernel", str(program)),
        ]
        subprocess.run(command, check=True, capture_output=True)
        rows = [line.split() for line in out.read_text(encoding="utf-8").splitlines()]
    runs: dict[int, int] = {}
    jumps: dict[int, int] = {}
    for address, count, jumped in rows:  # an instruction may stand in several blocks
        place = int(address, 16)
        runs[place] = runs.get(place, 0) + int(count)
        jumps[place] = jumps.get(place, 0) + int(jumped)
    return runs, jumps
