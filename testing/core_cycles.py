"""Cycles of other Cortex-M cores than the M4, modelled from the instructions that ran.

Cortex-M0+: its technical reference manual (Arm DDI 0484C, table 3-1), single-cycle multiplier,
memory that never waits. For the Cortex-M33 and M7 Arm publishes no table. Of an M33 a load takes a
cycle, and one more where the next instruction needs it. An M7 issues two neighbours at once where
neither needs the other, and they are not both accesses, products or jumps; loops' jumps are
predicted. Caches and flash never wait.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from testing.m4_cycles import Instruction, Ran, registers_of, trace

Priced = Callable[[Sequence[Ran]], list[float]]
"""Returns the cycles of each instruction in all its runs."""
_ACCESS = re.compile(r"v?(ldr|str|ldm|stm|push|pop)")
_LOAD = re.compile(r"v?(ldr|ldm|pop)")
_MULTIPLE = re.compile(r"v?(ldm|stm|push|pop)")
_DOUBLE = re.compile(r"(ldrd|strd)")
_PRODUCT = re.compile(r"(mul|mla|mls|sm|um)")
_DIVISION = re.compile(r"[su]div")
_JUMP = re.compile(r"(b|bl|bx|blx|cbz|cbnz|tbb|tbh|b(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le))$")
_NO_RESULT = re.compile(r"(str|stm|push|cmp|cmn|tst|teq|b|cb|nop|it)")
_REGISTER = re.compile(r"\b(?:r\d+|sp|lr|ip|sl|fp|r9|pc)\b")


def _m0plus(ran: Sequence[Ran]) -> list[float]:
    return [count * _m0plus_price(each) + jumped for each, count, jumped in ran]


def _m0plus_price(each: Instruction) -> float:
    if _MULTIPLE.match(each.name):
        return 1 + registers_of(each.operands) + 2 * ("pc" in each.operands)
    if each.name == "bl":
        return 2  # and one as a jump that is taken
    return 2 if _ACCESS.match(each.name) else 1


def _m33(ran: Sequence[Ran]) -> list[float]:
    found = []
    for (each, count, jumped), before in zip(ran, [None, *ran], strict=False):
        cycles = 1.0
        if _MULTIPLE.match(each.name):
            cycles += registers_of(each.operands)
        elif _DOUBLE.match(each.name):
            cycles = 2
        elif _DIVISION.match(each.name):
            cycles = 6
        cycles += before is not None and _waits(before[0], each)
        found.append(count * cycles + 2 * jumped)
    return found


def _m7(ran: Sequence[Ran]) -> list[float]:
    found: list[float] = []
    before: Ran | None = None
    is_second = False
    for each, count, jumped in ran:
        cycles = 1.0
        if _MULTIPLE.match(each.name):
            cycles = 1 + registers_of(each.operands) / 2
        elif _DIVISION.match(each.name):
            cycles = 8
        is_neighbour = before is not None and before[1] == count
        if before is not None and is_neighbour and not is_second and _pairs(before[0], each):
            cycles, is_second = cycles - 1, True
        else:
            cycles += before is not None and _waits(before[0], each)
            is_second = False
        found.append(count * cycles + jumped)
        before = each, count, jumped
    return found


def _waits(before: Instruction, each: Instruction) -> bool:
    """Whether an instruction needs what the one before it loads."""
    is_next = each.address - before.address <= 4
    return is_next and bool(_LOAD.match(before.name)) and _needs(before, each)


def _pairs(first: Instruction, second: Instruction) -> bool:
    alike = any(
        kind.match(first.name) and kind.match(second.name) for kind in (_ACCESS, _PRODUCT, _JUMP)
    )
    is_next = second.address - first.address <= 4
    return is_next and not alike and not _JUMP.match(first.name) and not _needs(first, second)


def _needs(first: Instruction, second: Instruction) -> bool:
    """Whether the second reads or writes what the first writes."""
    if _NO_RESULT.match(first.name):
        return False
    written = _REGISTER.findall(first.operands)[: 2 if _DOUBLE.match(first.name) else 1]
    return not set(written).isdisjoint(_REGISTER.findall(second.operands))


CORES: Mapping[str, Priced] = {"Cortex-M0+": _m0plus, "Cortex-M33": _m33, "Cortex-M7": _m7}


def cycles_on(cores: Sequence[str], program: Path, files: Sequence[Path] = ()) -> dict[str, float]:
    """Return the cycles of a call of ``net_invoke`` on each core, of one run on QEMU."""
    ran, entered = trace(program, "net_invoke", files)
    return {core: sum(CORES[core](ran)) / entered for core in cores}
