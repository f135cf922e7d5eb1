"""What a network takes that listens all the time: by hand, on each kind of target."""

import json
import random
from pathlib import Path

import pytest

from micronas.errors import BudgetError, ConfigError
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget, measure
from micronas.hardware.front_ends import front_end_costs, mfcc
from micronas.hardware.listening import Listening
from micronas.hardware.profile import profile
from micronas.hardware.table import profile_table
from micronas.hardware.targets import MICRONAS
from micronas.nas.member import Member
from micronas.nas.problem import Problem
from micronas.runs.costs import describe_costs
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.space.open_space import load_space
from micronas.space.space import Space
from micronas.tflite.metadata import describe
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import ds_cnn, quantize_randomly

BOARD = Board.load("stm32f446re")
ENGINE = BOARD.using(None, engine="micronas")
MEANING = {"features": "mfcc", "window_ms": 40}


def streaming() -> Space:
    space = load_space("kws_streaming")
    member = space.member("temporal", (0, 0))
    return member.architecture(member.smallest())


def test_a_window_is_computed_again_for_each_call() -> None:
    """100 ms apart: the share of the time is a window's over 100 ms, an hour 3.6 J for each mW."""
    network = Space.load("textbook/tc_resnet8")
    for board in (BOARD, ENGINE):
        alone = measure(network.graph(), board, kind="kws")
        heard = measure(network.graph(), board, kind="kws", listening=Listening(5, 20.0))
        assert alone.load is None
        assert heard.load == pytest.approx(alone.latency_ms / 100)
        assert heard.energy_j_per_hour == pytest.approx(3.6 * board.power_mw * heard.load)
        assert (heard.arena_bytes, heard.flash_bytes) == (alone.arena_bytes, alone.flash_bytes)


def test_the_engine_computes_only_what_is_new() -> None:
    """Half as many frames a call take half the time in the mean, but for what calls take."""
    graph = streaming().graph()
    window = measure(graph, BOARD, kind="kws", listening=Listening(4, 20.0))
    found = measure(graph, ENGINE, kind="kws", listening=Listening(4, 20.0))
    assert found.load < window.load / 8
    hopped = MICRONAS.hops(graph, 4)
    assert hopped.stride == 2
    assert found.arena_bytes == hopped.plan.total == hopped.plan.head + hopped.plan.tail
    assert found.load == pytest.approx(found.latency_ms / 80)  # every call is like every other
    by_frame = measure(graph, ENGINE, kind="kws", listening=Listening(1, 20.0))
    assert by_frame.load < by_frame.latency_ms / 20  # the worst of two
    assert found.load < by_frame.load < 2 * found.load


def test_budgets_of_load_and_energy_are_kept() -> None:
    front_end = mfcc(40)
    budget = Budget.model_validate({"hop": "100 ms", "load": "5%", "energy": "20 J"})
    member = Member(streaming(), ENGINE, budget, front_end=front_end)
    costs, used = member.costs(()), member.used(())
    beside = member.limits.beside
    assert beside.load == pytest.approx(beside.latency / 20)  # a frame's time every 20 ms
    assert used["load"] == pytest.approx((costs.load + beside.load) / 0.05)
    assert used["energy"] == pytest.approx((costs.energy_j_per_hour + beside.energy) / 20)


def test_a_network_that_takes_longer_than_the_hop_never_fits() -> None:
    window = Member(Space.load("textbook/tc_resnet8"), BOARD, Budget(hop=20), front_end=mfcc(40))
    assert window.costs(()).latency_ms > 20
    assert not window.fits(())


def test_draws_keep_a_load() -> None:
    space = load_space("kws_streaming")
    budget = Budget.model_validate({"hop": "80 ms", "load": "8%"})
    problem = Problem(space, ENGINE, budget, meaning=MEANING)
    drawn = problem.draw(3, random.Random(1))
    assert drawn
    for each in drawn:
        member = problem.member(each.family, each.picks)
        assert member.used(each.choice)["load"] <= 1
        assert member.binding(each.choice)[0] == "load"


def test_what_cannot_be_limited_is_refused_with_a_way_out() -> None:
    with pytest.raises(ValueError, match=r"need hop.*budget\.hop=100ms"):
        Budget.model_validate({"load": "5%"})
    with pytest.raises(ConfigError, match=r"write 5%"):
        Budget.model_validate({"hop": "100 ms", "load": "5 ms"})
    with pytest.raises(ConfigError, match=r"at most the whole time, but is 500 %; write .*=5%"):
        Budget(hop=100, load=5)
    hop = Budget.model_validate({"hop": "30 ms"})
    with pytest.raises(ConfigError, match="is 30 ms, and a frame is 20 ms"):
        hop.listening(mfcc(40))
    with pytest.raises(ConfigError, match="the time of a frame is not known"):
        hop.listening(None)
    silent = BOARD.model_copy(update={"power_mw": None})
    with pytest.raises(ConfigError, match="no power_mw"):
        Budget.model_validate({"hop": "20 ms", "energy": "1 J"}).on(silent)


def test_frames_last_what_their_front_end_says() -> None:
    cases = {
        (49, 1, 10): ({**MEANING}, 20),
        (25, 10, 1): ({**MEANING}, 40),
        (32, 1, 32): ({"features": "log-mel"}, 64),
        (128, 1, 6): ({"features": "series", "rate_hz": 50.0}, 20),
    }
    for shape, (meaning, wanted) in cases.items():
        found = front_end_costs(meaning, shape)
        assert found.frame_ms == wanted
    unknown = front_end_costs({"features": "series"}, (128, 1, 6))
    assert unknown.frame_ms is None


def test_a_hop_is_checked_before_data_is_read_where_frames_are_known(tmp_path: Path) -> None:
    """Only the recordings of a series say how long a frame is."""
    (tmp_path / "swing").mkdir()
    (tmp_path / "swing" / "one.csv").write_text("x,y\n1,2\n")
    given = [f"data.path={tmp_path}", "board=stm32f446re", "budget.hop=30ms", "budget.load=50%"]
    load_run("series", given).problem().check_feasible()
    with pytest.raises(ConfigError, match="is 30 ms, and a frame is 20 ms"):
        load_run("kws_streaming", given).problem().check_feasible()


def test_a_load_that_no_network_meets_is_refused_once_data_says_how_long_a_frame_is(
    tmp_path: Path,
) -> None:
    rows = "".join(f"{row / 50:.2f},{row % 7}\n" for row in range(64))
    for name in ("swing/one", "swing/two", "swing/three", "rest/one", "rest/two", "rest/three"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / f"{name}.csv").write_text(f"time,x\n{rows}")
    given = [f"data.path={tmp_path / 'data'}", "data.window=16", "board=stm32f446re"]
    settings = load_run("series", [*given, "budget.hop=100ms", "budget.load=0.001%"])
    with pytest.raises(BudgetError, match=r"load budget must reach .*=0\.001 %, smallest=0\."):
        run_search(settings, tmp_path / "run", tell=print)
    assert not (tmp_path / "run").exists()


def test_a_profile_says_what_a_call_takes() -> None:
    graph = streaming().graph()
    found = profile(graph, ENGINE, kind="kws", meaning=MEANING)
    heard = found["listening"]
    assert (heard["hop_frames"], heard["stride_frames"]) == (2, 2)
    assert heard["computes"] == "new rows"
    assert heard["load"] == pytest.approx(heard["mean_ms"] / 40)
    said = profile_table(json.loads(json.dumps(found)))
    call = "2 frames a call computes new rows, scores every 2, without the front end"
    assert call in " ".join(said.split())  # which a budget counts
    window = profile(graph, BOARD, kind="kws", meaning=MEANING)["listening"]
    assert window["computes"] == "windows"
    assert profile(ds_cnn(), BOARD)["listening"] is None


def test_a_budget_of_a_call_is_that_of_a_profile() -> None:
    graph = streaming().graph()
    budget = Budget.model_validate({"hop": "100 ms", "load": "10%"})
    found = profile(graph, ENGINE, kind="kws", meaning=MEANING, budget=budget)
    costs = measure(graph, ENGINE, kind="kws", listening=Listening(5, 20.0))
    beside = found["listening"]
    assert costs.load == pytest.approx(beside["load"])
    assert found["used"]["load"] > costs.load / 0.1
    assert found["fits"] is True
    assert found["budget"]["load"] == 0.1


def test_a_hop_is_judged_on_each_board(tmp_path: Path) -> None:
    described = describe(classes=[str(number) for number in range(12)], meaning=MEANING)
    data = to_flatbuffer(quantize_randomly(streaming().graph()), metadata=described)
    (tmp_path / "heard.tflite").write_bytes(data)
    names = ["nucleo_g0b1re", "stm32f767zi"]
    found = describe_costs(tmp_path / "heard.tflite", names, hop="40ms")
    slow, fast = found["boards"]
    assert (found["fits"], slow["fits"], fast["fits"]) == (False, False, True)
