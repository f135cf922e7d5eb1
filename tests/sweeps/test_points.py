"""What a sweep consists of."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.hardware.names import board_file
from micronas.resources import find
from micronas.sweeps.points import parse_over, plan

RUN = ("board=stm32f446re", "data.path=words")
DNAS = (*RUN, "search.strategy=dnas")


def test_the_product_in_order_with_readable_names() -> None:
    over = parse_over(["budget.latency=20ms,50 ms", "board=stm32f446re,stm32f767zi", "seed=0,1"])
    points = plan("kws_small", over, RUN)
    assert len(points) == 8
    assert [point.name for point in points[:3]] == [
        "latency=20ms,board=stm32f446re,seed=0",
        "latency=20ms,board=stm32f446re,seed=1",
        "latency=20ms,board=stm32f767zi,seed=0",
    ]
    last = points[-1].settings
    assert (last.budget.latency, last.board, last.seed) == (50, "stm32f767zi", 1)
    assert points[-1].over == {"budget.latency": "50 ms", "board": "stm32f767zi", "seed": 1}


def test_values_may_be_lists_and_mappings_and_names_stay_files() -> None:
    over = parse_over(
        ["search.temperature=[1, 0.5],[2, 0.5]", "train={epochs: 3}", "search.strategy=dnas"]
    )
    points = plan("kws_small", over, RUN)
    assert points[1].settings.search.temperature == (2.0, 0.5)
    assert points[0].settings.train.epochs == 3
    assert all("/" not in point.name and " " not in point.name for point in points)


def test_a_label_that_two_keys_share_is_written_in_full() -> None:
    over = {"search.batch_size": [32], "train.batch_size": [64], "seed": [3]}
    train = "train={epochs: 2, batch_size: 8}"
    (point,) = plan("kws_small", over, [*RUN, train])
    assert point.name == "search.batch_size=32,train.batch_size=64,seed=3"


@pytest.mark.long
def test_who_shares_a_part_of_the_supernet(tmp_path: Path) -> None:
    def shared(over: str, *rest: str) -> list[str | None]:
        return [point.shared for point in plan("kws_small", parse_over([over]), [*DNAS, *rest])]

    for over in (
        "board=stm32f446re,stm32f767zi",
        "budget.latency=20ms,50ms",
        "budget.sram=16 KB,20 KB",
        "train={epochs: 3},{epochs: 4}",
    ):
        assert len(set(shared(over))) == 1
    for over in ("seed=0,1", "data.path=a,b", "search.learning_rate=0.01,0.02", "space=kws,vww"):
        assert len(set(shared(over))) == 2
    assert shared("seed=0,1", "search.warmup=0") == [None, None]
    strategies = "search.strategy=ranked,auto"
    others = shared(f"{strategies},halving,evolution,random,dnas")
    assert [each is not None for each in others] == [*[False] * 5, True]
    assert None not in shared(strategies, "search.supernet=space")


def test_a_space_that_was_edited_does_not_share(tmp_path: Path) -> None:
    text = Path("search_spaces/kws_small.yaml").read_text()
    files = [tmp_path / name for name in ("a.yaml", "b.yaml")]
    files[0].write_text(text)
    files[1].write_text(text.replace("max: 64", "max: 56", 1))
    points = plan("kws_small", {"space": [str(file) for file in files]}, DNAS)
    assert points[0].shared != points[1].shared


@given(st.lists(st.integers() | st.text("ab ,=[]:", min_size=1) | st.booleans(), min_size=1))
def test_values_are_read_as_they_were_written(values: list[object]) -> None:
    assert parse_over([f"key={','.join(map(json.dumps, values))}"]) == {"key": values}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["seed"], "must be KEY=VALUE"),
        (["seed="], "must be KEY=VALUE"),
        (["=1"], "must be KEY=VALUE"),
        (["seed=1", "seed=2"], "comes twice"),
        (["seed=[1"], "must be YAML"),
    ],
)
def test_what_cannot_be_read_is_named(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_over(texts)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "over one key or more"),
        ({"seed": []}, "with a list of values"),
        ({"seed": "12"}, "with a list of values"),
        ({"seed": [1, 1]}, "must differ"),
        ({"budget.latency": ["20ms", "20 ms"]}, "must differ"),
        ({"budget.latency": ["20 ms", "0.02 s"]}, "must differ"),
        ({"data.path": ["words", str(Path("words").absolute())]}, "must differ"),
        ({"distill.teacher": ["a/b", "./a//c/../b/"]}, "must differ"),
        ({"space": ["kws_small", str(find("search_spaces", "kws_small"))]}, "must differ"),
        ({"board": ["stm32f446re", str(board_file("stm32f446re"))]}, "must differ"),
        ({"budget.latancy": ["20 ms"]}, "did you mean 'latency'"),
        ({"board": ["stm32f446rr"]}, "stm32f446re"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_at_once(
    over: dict[str, list[object]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan("kws_small", over, RUN)
