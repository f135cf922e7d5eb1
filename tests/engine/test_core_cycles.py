"""Modelled cycles of a loop, counted by hand."""

import pytest

from testing.core_cycles import CORES
from testing.m4_cycles import Instruction, Ran


def loop(*lines: tuple[str, str], runs: int = 10) -> list[Ran]:
    """Instructions of two bytes that run as often as each other; the last jumps back."""
    last = len(lines) - 1
    return [
        (Instruction("f", 2 * place, name, operands), runs, (runs - 1) * (place == last))
        for place, (name, operands) in enumerate(lines)
    ]


SUM = loop(("ldr", "r3, [r0, r1]"), ("add", "r2, r3"), ("sub", "r1, #4"), ("bne", "0 <f>"))


@pytest.mark.parametrize(
    ("core", "cycles"),
    [
        ("Cortex-M0+", 10 * (2 + 1 + 1 + 1) + 9),  # a load takes 2, a jump that is taken 2
        ("Cortex-M33", 10 * (1 + 2 + 1 + 1) + 9 * 2),  # the sum waits for what is loaded
        # load; sum, which waits, with the difference; the jump back, which is predicted
        ("Cortex-M7", 10 * (1 + 2 + 0 + 1) + 9),
    ],
)
def test_a_loop_that_adds(core: str, cycles: float) -> None:
    assert sum(CORES[core](SUM)) == cycles


def test_registers_are_stored_two_a_cycle_on_an_m7_and_one_on_others() -> None:
    saved = loop(("push", "{r4-r7, lr}"), ("pop", "{r4-r7, pc}"), runs=1)
    assert [sum(CORES[core](saved)) for core in ("Cortex-M0+", "Cortex-M33", "Cortex-M7")] == [
        6 + 8,
        6 + 6,
        3.5 + 3.5,
    ]


def test_products_are_no_pair_but_a_product_and_a_load_are() -> None:
    products = loop(("smlad", "r0, r2, r3, r0"), ("smlad", "r1, r2, r4, r1"), runs=1)
    mixed = loop(("smlad", "r0, r2, r3, r0"), ("ldr", "r4, [r5]"), runs=1)
    assert [sum(CORES["Cortex-M7"](each)) for each in (products, mixed)] == [2, 1]
