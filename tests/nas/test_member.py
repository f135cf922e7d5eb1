"""Budgets: units, the board's own limits, refusal before anything heavy."""

import os
import re
import subprocess
import sys

import pytest

from micronas.errors import BudgetError, ConfigError
from micronas.hardware.board import Board
from micronas.hardware.code import code_bytes, operators_of
from micronas.hardware.costs import Budget
from micronas.hardware.front_ends import mfcc
from micronas.hardware.listening import front_end_ms
from micronas.nas.member import Member
from micronas.space.space import Space
from micronas.tflite.metadata import placeholder
from micronas.tflite.writer import flatbuffer_bytes

SMALL = Space.load("kws_small")
BOARD = Board.load("stm32f446re")


def test_limits_that_are_not_given_are_the_boards() -> None:
    limits = Budget(latency="50 ms").on(BOARD)
    assert limits.given() == {
        "sram": BOARD.sram_bytes - BOARD.reserved.sram_bytes,
        "flash": BOARD.flash_bytes,
        "latency": 50,
    }
    network = Budget(latency="50 ms", counts="network").on(BOARD)
    assert (
        network.left()
        == network.given()
        == {**limits.given(), "flash": BOARD.flash_bytes - BOARD.reserved.flash_bytes}
    )


def test_what_runs_beside_the_network_is_counted() -> None:
    """A keyword network: 6,040 B of buffers, its code and its front end's, a frame of 91,160
    instructions."""
    front_end = mfcc(40)
    budget = Budget(sram="30 KB", flash="124 KB", latency="80 ms")
    member = Member(SMALL, BOARD, budget, front_end=front_end)
    code = code_bytes(operators_of(SMALL.resolve(SMALL.largest())))
    rate = BOARD.latency_model().ms_per_instruction
    assert rate is not None
    assert member.limits.given() == {"sram": 30_000, "flash": 124_000, "latency": 80}
    left = member.limits.left()
    assert left["sram"] == 30_000 - 6_040
    assert 0 <= 124_000 - code - front_end.flash_bytes - left["flash"] < 3_000  # a PAD may come
    assert left["latency"] == pytest.approx(80 - 91_160 * rate)
    choice = SMALL.smallest()
    costs, used = member.costs(choice), member.used(choice)
    assert member.spent(choice)["latency"] == costs.latency_ms
    assert used["latency"] == pytest.approx((costs.latency_ms + 91_160 * rate) / 80)
    tight = Budget(flash="48 KB")
    with pytest.raises(BudgetError, match=r"flash counts .* beside the network \(budget.counts"):
        Member(SMALL, BOARD, tight, front_end=front_end).check_feasible()
    Member(SMALL, BOARD, tight.model_copy(update={"counts": "network"})).check_feasible()


def test_the_code_for_weights_of_four_bits_is_charged_to_networks_that_have_any() -> None:
    """A space with both costs its networks of 8 bits no more than one without the choice."""
    space = Space.load("kws_mixed")
    member = Member(space, BOARD, Budget(flash="200 KB"))
    eight, four = space.uniform(0.5), space.uniform(0.5, bits=4)
    code = [code_bytes(operators_of(space.resolve(each))) for each in (eight, four)]
    assert code[1] > code[0] + 15_000
    for choice, most in ((eight, 3_000), (four, 3_500)):  # a PAD may come, an 8-bit layer beside
        files = member.costs(choice).flash_bytes
        beside = 200_000 * member.used(choice)["flash"] - files
        needed = code_bytes(operators_of(space.resolve(choice)))
        assert needed - 1 <= beside < needed + most
    limits = member.limits
    assert limits.left()["flash"] - limits.left(int4=True)["flash"] == limits.unpacking > 15_000
    assert Member(SMALL, BOARD, Budget()).limits.unpacking == 0
    assert Member(space, BOARD, Budget(counts="network")).limits.unpacking == 0


def test_a_front_end_takes_the_cycles_of_its_core() -> None:
    """Integers on a Cortex-M0+, whatever form prices the network; Helium's kernels say nothing."""
    cycles = {}
    for name in ("nucleo_g0b1re", "stm32f446re", "ek_ra8d1"):
        board = Board.load(name)
        taken = {front_end_ms(board.using(form), mfcc(40), 1_000) for form in board.forms}
        assert len(taken) == 1
        cycles[board.core] = taken.pop() * board.clock_hz / 1e6
    assert cycles == pytest.approx(
        {"Cortex-M0+": 10.7, "Cortex-M4": 2.09, "Cortex-M85": 0.5}, rel=0.01
    )


@pytest.mark.parametrize("wrong", [{"sram": "64 ms"}, {"latency": "0 ms"}])
def test_a_wrong_unit_is_refused_and_macs_may_have_none(wrong: dict[str, str]) -> None:
    assert Budget(macs="3").macs == 3
    with pytest.raises(ConfigError, match="positive number with a unit"):
        Budget(**wrong)


def test_costs_are_those_of_the_exported_file() -> None:
    member = Member(SMALL, BOARD, Budget())
    choice = SMALL.uniform(0.5, 0.5)
    costs, metadata = member.costs(choice), placeholder(SMALL.classes)
    assert costs.flash_bytes == flatbuffer_bytes(SMALL.resolve(choice), metadata=metadata)
    assert costs.arena_required_bytes >= costs.arena_bytes > costs.arena_head_bytes
    assert costs.ops == 2 * costs.macs


@pytest.mark.parametrize("name", ["sram", "flash", "latency", "macs"])
def test_a_budget_below_the_smallest_network_names_it(name: str) -> None:
    budget = {"sram": "4 KB", "flash": "2 KB", "latency": "1 ms", "macs": "0.1 MMACs"}[name]
    with pytest.raises(BudgetError, match=rf"^{name} budget must reach .*smallest=.*raise {name}"):
        Member(SMALL, BOARD, Budget(**{name: budget})).check_feasible()
    Member(SMALL, BOARD, Budget()).check_feasible()


@pytest.mark.parametrize(("name", "budget"), [("sram", "132 KB"), ("flash", "1 MB")])
def test_a_budget_beyond_the_board_is_refused(name: str, budget: str) -> None:
    with pytest.raises(BudgetError, match=rf"budget.{name} must be at most what the board has"):
        Member(SMALL, BOARD, Budget(**{name: budget}))


@pytest.mark.long
def test_an_impossible_budget_is_refused_without_torch_and_before_data(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """The folder of data does not exist: the budget must be what is complained about."""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "micronas",
        "search",
        "kws_small",
        "board=stm32f446re",
        "budget.sram=2KB",
        f"data.path={tmp_path / 'none'}",
    ]
    before = os.times()
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    after = os.times()
    assert after.children_user - before.children_user < 10  # 2 s alone; of processor time
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    # a busy machine is told after two seconds that the command is at work
    assert sum("is at work" not in line for line in lines) == 1
    assert "sram budget must reach the smallest network" in lines[-1]
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)
