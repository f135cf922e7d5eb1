"""Fronts against their definition, and what is shown."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.sweeps.store import SweepPoint
from micronas.sweeps.table import best_that_fit, fronts, sweep_table, view
from tests.report.runs import measured


def point(
    name: str,
    board: str,
    score: float,
    latency: float,
    sram: float = 512.0,
    fits: bool = True,
    limit: float | None = None,
    beside: float = 0.0,
) -> SweepPoint:
    metrics = measured(
        int8=score,
        board=board,
        latency_ms=latency,
        budget={"sram": 1024.0, "flash": 20_000.0},
        used={"sram": sram / 1024, "flash": 0.7},
        fits=fits,
    )
    if limit is not None:
        metrics["budget"]["latency"] = limit
        metrics["used"]["latency"] = (latency + beside) / limit
        metrics["device"] = {**metrics["device"], "beside": {"latency": beside}}
    return SweepPoint(name, {"seed": name}, "done", "", 1, metrics, Path("points") / name, 65.0)


POINTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([0.1, 0.2, 0.3, 0.4]),
        st.sampled_from([1.0, 2.0, 3.0]),
        st.sampled_from([256.0, 512.0, 768.0]),
        st.booleans(),
    ),
    max_size=12,
)


@given(POINTS)
def test_fronts_are_what_nobody_beats_and_hold_only_what_fits(values: list[Any]) -> None:
    points = [point(str(number), *each) for number, each in enumerate(values)]
    found = fronts(points)
    assert set(found) == {board for board, *_, fits in values if fits}
    for column, cost in ((2, "latency"), (3, "sram")):
        for board, costs in found.items():
            fitting = [
                (str(number), each)
                for number, each in enumerate(values)
                if each[0] == board and each[-1]
            ]
            expected = {
                name
                for name, own in fitting
                if not any(
                    other[1] >= own[1]
                    and other[column] <= own[column]
                    and (other[1] > own[1] or other[column] < own[column])
                    for _, other in fitting
                )
            }
            assert set(costs[cost]) == expected
            assert len(costs[cost]) == len(expected)


def test_the_table_names_every_point_and_every_reason() -> None:
    points = [
        point("fast", "a", 0.8, 1.0),
        point("good", "a", 0.9, 2.0, 256.0),
        point("lying", "a", 1.0, 0.5, 128.0, False),
        SweepPoint("tiny", {}, "infeasible", "no network fits", 0, None, Path("points/tiny"), None),
    ]
    lines = sweep_table(points).splitlines()
    shown = {line.split()[0]: line for line in lines[2:6]}
    assert shown["fast"].split()[-2:] == ["good", "latency"]  # better within the same limits
    assert shown["good"].split()[-4:] == ["true", "latency", "sram", "flash"]
    assert shown["fast"].split()[2:5] == ["1", "65", "s"]
    assert shown["tiny"].split()[:4] == ["tiny", "infeasible", "0", "-"]
    assert shown["lying"].split()[-2:] == ["false", "good"]
    assert lines[-1] == "tiny: no network fits"
    assert view(points)["fronts"] == {
        "a": {"latency": ["fast", "good"], "sram": ["good"], "flash": ["good"]}
    }
    assert [each["state"] for each in view(points)["points"]] == [*["done"] * 3, "infeasible"]


def test_what_listening_takes_has_columns_where_it_is_known() -> None:
    points = [point("often", "a", 0.8, 1.0), point("window", "b", 0.9, 2.0)]
    assert "load" not in sweep_table(points)
    points[0].metrics["listening"] = {"load": 0.043, "energy_j_per_hour": 17.25}
    header, _, often, window, *rest = sweep_table(points).splitlines()
    assert header.split()[5:8] == ["latency", "load", "energy"]
    assert often.split()[7:13] == ["1.0", "ms", "4.3", "%", "17.2", "J/h"]
    assert window.split()[9:11] == ["-", "-"]
    assert "load, energy: of calls while listening, and of an hour of it" in rest


@given(POINTS)
def test_a_larger_budget_never_shows_less(values: list[Any]) -> None:
    """Whatever fits a point's limits counts for it, so scores rise with the limits."""
    points = [point(str(number), *each) for number, each in enumerate(values)]
    for each, (_, _, latency, *_) in zip(points, values, strict=True):
        each.metrics["budget"] = {"sram": 768.0, "latency": latency}
        each.metrics["used"] = {"sram": 0.5, "latency": 1.0}
    best = best_that_fit(points)
    scores = {each.name: values[int(each.name)][1] for each in points}
    for first, (board, score, latency, _, fits) in enumerate(values):
        if fits:
            assert scores[best[str(first)]] >= score
        for second, (other, _, more, *_) in enumerate(values):
            if board == other and more >= latency and str(first) in best:
                assert scores[best[str(second)]] >= scores[best[str(first)]]


def test_what_runs_beside_the_network_takes_its_part_of_a_limit() -> None:
    """A front end of 35 ms and a network of 20 ms do not fit 40 ms; they do fit 60 ms."""
    points = [
        point(f"{limit}ms", "a", score, latency, limit=limit, beside=35.0)
        for limit, score, latency in ((40, 0.6, 4.0), (60, 0.7, 10.0), (80, 0.9, 20.0))
    ]
    assert best_that_fit(points) == {"40ms": "40ms", "60ms": "80ms", "80ms": "80ms"}


@pytest.mark.parametrize(
    ("changed", "over"),
    [
        ({"engine": "micronas"}, {}),
        ({"listening": {"hop_frames": 1, "frame_ms": 20.0, "load": 0.01}}, {}),
        ({}, {"data.path": "other words"}),
        ({}, {"data.target": "pressure"}),
        ({}, {"data.keywords": ["on", "off"]}),
    ],
)
def test_a_network_of_another_engine_hop_or_data_stands_for_none(
    changed: dict[str, Any], over: dict[str, Any]
) -> None:
    points = [point("poor", "a", 0.6, 4.0), point("good", "a", 0.9, 4.0)]
    for each in points:
        each.metrics["budget"] = {"sram": 1024.0, "flash": 1e6, "load": 0.1}
        each.metrics["used"] = {"sram": 0.5, "flash": 0.5, "load": 0.5}
        each.metrics["listening"] = {"hop_frames": 5, "frame_ms": 20.0, "load": 0.05}
    assert best_that_fit(points) == {"poor": "good", "good": "good"}
    points[1].metrics.update(changed)
    points[1].over.update(over)
    assert best_that_fit(points) == {"poor": "poor", "good": "good"}
    assert fronts(points)["a"]["latency"] == (["poor", "good"] if over else ["good"])
    same = {key: f"./{it}/" if key == "data.path" else it for key, it in over.items()}
    points[0].over.update(same)  # the same, after all
    assert fronts(points)["a"]["latency"] == ["good"]


def test_the_network_of_a_smaller_budget_stands_beside_a_larger_one() -> None:
    points = [
        point("60ms", "a", 0.912, 58.0, limit=60.0),
        point("80ms", "a", 0.9, 79.0, limit=80.0),
    ]
    for each in points:
        each.metrics["scores"][0]["interval"] = [0.88, 0.92]
    lines = sweep_table(points).splitlines()
    assert "60ms" in lines[3].split()
    assert view(points)["best"] == {"60ms": "60ms", "80ms": "60ms"}
    assert any(line.startswith("noise: scores have 95 % intervals of up to ±2.0") for line in lines)
