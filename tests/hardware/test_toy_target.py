"""A target in one file: whatever counts costs asks the board for it."""

from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from micronas.calibration.fit import calibrate
from micronas.calibration.measurements import read_measurements
from micronas.errors import BudgetError, ConfigError
from micronas.graph.ir import Graph, Op
from micronas.graph.memory import ArenaPlan
from micronas.hardware import targets
from micronas.hardware.board import Board
from micronas.hardware.code import Level
from micronas.hardware.costs import Budget, measure
from micronas.hardware.instructions import Price
from micronas.hardware.profile import profile
from micronas.hardware.targets.target import Growth, Target
from micronas.nas.member import Member
from micronas.nas.supernet.expected import expected
from micronas.nas.supernet.gates import Gates
from micronas.space.space import Space

SPACE = Space.load("kws_small")


class Toy(Target):
    """Ten instructions for each element written, an arena of all tensors, 1,000 bytes of code."""

    name = "toy"
    title = "a toy"
    growth = Growth(
        flash_per_channel=0,
        flash_per_width=0,
        flash_per_layer=0,
        sram_per_channel=0,
        sram_per_layer=0,
    )

    def plan(self, graph: Graph) -> ArenaPlan:
        size = sum(each.elements for each in graph.tensors.values() if not each.constant)
        return ArenaPlan(size, 0, size, ())

    def price(self, graph: Graph, op: Op) -> Price | None:
        return Price("toy", 10.0 * graph.output_of(op).elements, extrapolated=False)

    def code_bytes(self, operators: Collection[str], *, kernels: Level = "-O2") -> int:
        return 1000


@pytest.fixture(autouse=True)
def registered() -> Iterator[Toy]:
    toy = Toy()
    targets.register(toy)
    yield toy
    targets.forget(toy)


@pytest.fixture
def board() -> Board:
    return Board.load("stm32f446re").model_copy(update={"engine": "toy"})


def written(graph: Graph) -> int:
    return 10 * sum(graph.output_of(op).elements for op in graph.ops)


def test_costs_are_the_targets(board: Board, registered: Toy) -> None:
    graph = SPACE.resolve(SPACE.smallest())
    costs = measure(graph, board, kind="kws")
    rate = board.latency_model("kws").coefficients["instructions"]
    assert costs.latency_ms == pytest.approx(written(graph) * rate)
    assert costs.arena_bytes == costs.host_arena_bytes == registered.plan(graph).total
    assert Budget(sram=1e5, flash=5e5).on(board, operators=["ADD"]).beside.flash == 1000


def test_limits_are_judged_by_it(board: Board) -> None:
    need = Member(SPACE, board, Budget()).costs(SPACE.smallest()).arena_bytes
    assert Member(SPACE, board, Budget(sram=need)).fits(SPACE.smallest())
    with pytest.raises(BudgetError, match="sram budget"):
        Member(SPACE, board, Budget(sram=need - 1)).check_feasible()


def test_operators_it_has_no_kernel_for_are_refused(board: Board, registered: Toy) -> None:
    registered.kinds = ("CONV_2D", "FULLY_CONNECTED")
    with pytest.raises(ConfigError, match="no kernel for AVERAGE_POOL_2D, DEPTHWISE_CONV_2D"):
        Member(SPACE, board, Budget())


def test_profile_shows_it(board: Board) -> None:
    graph = SPACE.resolve(SPACE.largest())
    described = profile(graph, board)
    assert described["instructions"] == written(graph)
    assert described["device"]["code_bytes"] == 1000
    assert [each["instructions"] for each in described["layers"]] == [
        10 * graph.output_of(op).elements for op in graph.ops
    ]


def test_certain_gates_expect_what_it_counts(registered: Toy) -> None:
    gates = Gates(SPACE.decisions)
    for choice in (SPACE.smallest(), SPACE.largest()):
        graph = SPACE.resolve(choice)
        found = expected(SPACE, gates.one_hot(choice), target=registered)
        assert float(found.features["instructions"]) == pytest.approx(written(graph))
        if choice == SPACE.largest():
            assert float(found.sram) == pytest.approx(registered.plan(graph).total)


def test_a_calibration_counts_by_it(tmp_path: Path, registered: Toy) -> None:
    lines = ["model,latency_ms"]
    for number, choice in enumerate((SPACE.smallest(), SPACE.largest())):
        SPACE.architecture(choice).save(tmp_path / f"{number}.yaml")
        lines.append(f"{number}.yaml,{written(SPACE.resolve(choice)) * 1e-5}")
    (tmp_path / "times.csv").write_text("\n".join(lines))
    measured = read_measurements(tmp_path / "times.csv", target=registered)
    sizes = {"sram_bytes": 256e3, "flash_bytes": 1e6, "clock_hz": 80e6}
    found = calibrate(measured, name="mine", kernels="toy", **sizes)
    model = next(each for each in found.board.latency if each.form == "instructions")
    assert model.coefficients["instructions"] == pytest.approx(1e-5)
    assert found.board.target is registered


def test_an_engine_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("like: stm32f446re\nname: mine\nengine: toys\n")
    with pytest.raises(ConfigError, match=r"unknown engine 'toys'.*toy"):
        Board.load(path)
    path.write_text("like: stm32f446re\nname: mine\nengine: toy\n")
    assert Board.load(path).target.name == "toy"
