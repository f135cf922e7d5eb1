"""The simulator: by hand, against formulas, and from the command line."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from micronas.cli.router_store import simulate as command
from micronas.errors import ConfigError, DataError
from micronas.router.store import Level, read_trace, simulate, zipf_trace
from micronas.router.store.scenario import parse_bandwidth

SIZES = {"a": 2, "b": 2, "c": 2, "router": 3}
LEVELS = [Level("host", 4, 10.0), Level("device", 2, 100.0)]


def test_bytes_and_time_by_hand() -> None:
    # device holds one expert, the host two:
    #   a: both miss   a: device hit   b: both miss   a: host hit   c: both miss (b goes)   b: both
    result = simulate(list("aabacb"), SIZES, levels=LEVELS, run_seconds=0.5)
    host, device = result.tiers["host"], result.tiers["device"]
    assert (host.hits, host.misses, host.evictions, host.bytes) == (1, 4, 2, 8)
    assert (device.hits, device.misses, device.evictions, device.bytes) == (1, 5, 4, 10)
    assert list(result.tiers) == ["host", "device"]
    assert host.seconds == pytest.approx(0.8)
    assert device.seconds == pytest.approx(0.1)
    assert result.hit_rates == pytest.approx({"host": 2 / 6, "device": 1 / 6})
    assert result.seconds_per_request == pytest.approx((0.8 + 0.1 + 3.0) / 6)
    assert result.switch_share == pytest.approx(0.9 / 3.9)


def test_belady_by_hand() -> None:
    # one tier of two: a b c(out b, whose next use is farther) a b(out a or c) -> 4 misses; LRU 5
    one = [Level("host", 4, 1.0)]
    assert simulate(list("abcab"), SIZES, levels=one, policy="belady").tiers["host"].misses == 4
    assert simulate(list("abcab"), SIZES, levels=one).tiers["host"].misses == 5


def test_what_is_pinned_stays_and_takes_its_room() -> None:
    levels = [Level("host", 6, 1.0), Level("device", 5, 1.0)]
    trace = ["router", "a", "router", "b", "router", "a"]
    result = simulate(trace, SIZES, levels=levels, pinned=["router"])
    assert result.tiers["device"].hits == 3
    assert result.tiers["device"].misses == 3
    assert result.tiers["host"].misses == 2
    with pytest.raises(ConfigError, match="must fit into the top tier, but exceeds it by 1 B"):
        simulate(["router"], SIZES, levels=[Level("device", 2, 1.0)], pinned=["router"])
    free = simulate(trace, SIZES, levels=levels)
    assert free.tiers["device"].hits == 2
    with pytest.raises(ConfigError, match="'a' takes 2 B and device has room for 1 B; raise"):
        simulate(trace, SIZES, levels=[levels[0], Level("device", 4, 1.0)], pinned=["router"])


def test_a_tier_needs_a_bandwidth() -> None:
    with pytest.raises(ConfigError, match=r"bandwidth of host must be positive, but is 0"):
        Level("host", 4, 0.0)


def test_warm_up_is_not_counted() -> None:
    result = simulate(list("abab"), SIZES, levels=[Level("host", 4, 1.0)], warmup=2)
    assert (result.requests, result.tiers["host"].hits, result.tiers["host"].misses) == (2, 2, 0)


def test_a_batch_that_reaches_past_the_warm_up_is_counted() -> None:
    one = [Level("host", 4, 1.0)]
    result = simulate(list("abab"), SIZES, levels=one, batch=4, patience=9, warmup=3)
    assert (result.requests, result.lookups, result.hit_rates) == (2, 1, {"host": 0.5})


def test_grouping_by_hand() -> None:
    # three wait: a b a, so a a; then b b a, of which a is in memory; then b b b
    one = [Level("host", 2, 1.0)]
    trace = list("ababab")
    assert simulate(trace, SIZES, levels=one).tiers["host"].misses == 6
    grouped = simulate(trace, SIZES, levels=one, batch=3, patience=9)
    assert (grouped.requests, grouped.lookups) == (6, 3)
    assert grouped.tiers["host"].misses == 2


TRACES = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=50)


@given(TRACES, st.integers(1, 6), st.integers(1, 4), st.integers(1, 6), st.integers(0, 4))
def test_no_request_is_lost_and_belady_moves_least(
    trace: list[str], device: int, more: int, batch: int, patience: int
) -> None:
    sizes = dict.fromkeys("abcdef", 1)
    levels = [Level("host", device + more, 1.0), Level("device", device, 1.0)]
    settings: dict[str, Any] = {"levels": levels, "batch": batch, "patience": patience}
    lru = simulate(trace, sizes, **settings)
    bound = simulate(trace, sizes, policy="belady", **settings)
    for result in (lru, bound):
        upper, lower = result.tiers["device"], result.tiers["host"]
        assert result.requests == len(trace)
        assert upper.hits + upper.misses == result.lookups
        assert lower.hits + lower.misses == upper.misses
        assert upper.bytes == upper.misses >= len(set(trace))
        assert lower.misses >= len(set(trace))
    assert bound.tiers["device"].misses <= lru.tiers["device"].misses
    assert lru.lookups == bound.lookups <= len(trace)


def test_uniform_requests_hit_in_proportion_to_what_fits() -> None:
    names = [f"e{number}" for number in range(40)]
    trace = zipf_trace(names, 40_000, exponent=0, seed=1)
    result = simulate(trace, dict.fromkeys(names, 1), levels=[Level("host", 10, 1.0)], warmup=2000)
    spread = math.sqrt(0.25 * 0.75 / result.requests)
    assert abs(result.hit_rates["host"] - 10 / 40) < 5 * spread


def test_zipf_requests_hit_as_che_approximates() -> None:
    """Che, Tung and Wang 2002: an expert stays for one characteristic time."""
    names = [f"e{number}" for number in range(100)]
    trace = zipf_trace(names, 60_000, exponent=0.9, seed=2)
    result = simulate(trace, dict.fromkeys(names, 1), levels=[Level("host", 20, 1.0)], warmup=5000)
    chance = np.arange(1, 101) ** -0.9
    chance /= chance.sum()
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        fuller = (1 - np.exp(-chance * middle)).sum() > 20
        low, high = (low, middle) if fuller else (middle, high)
    expected = (chance * (1 - np.exp(-chance * low))).sum()
    assert result.hit_rates["host"] == pytest.approx(expected, abs=0.01)


def test_a_drawn_trace_has_its_shape_and_its_seed() -> None:
    trace = zipf_trace(["a", "b", "c"], 60_000, exponent=1.0, seed=5)
    share = {name: trace.count(name) / len(trace) for name in "abc"}
    assert share == pytest.approx({"a": 6 / 11, "b": 3 / 11, "c": 2 / 11}, abs=0.01)
    assert trace == zipf_trace(["a", "b", "c"], 60_000, exponent=1.0, seed=5)
    assert trace != zipf_trace(["a", "b", "c"], 60_000, exponent=1.0, seed=6)
    for names, requests, exponent in (([], 1, 1.0), (["a"], 0, 1.0), (["a"], 1, math.nan)):
        with pytest.raises(ConfigError, match="a drawn trace must have"):
            zipf_trace(names, requests, exponent=exponent)


def test_traces_are_read_from_csv_and_json_lines(tmp_path: Path) -> None:
    table = tmp_path / "trace.csv"
    table.write_text("time,expert\n1,a\n2,b\n3,a\n", encoding="utf-8")
    lines = tmp_path / "trace.jsonl"
    lines.write_text(
        '{"expert": "a"}\n\n{"expert": "b", "ms": 3}\n{"expert": "a"}\n', encoding="utf-8"
    )
    assert read_trace(table) == read_trace(lines) == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trace.csv", "time,name\n1,a\n", "row 1 of .* does not; write a CSV column expert"),
        ("trace.csv", "expert\n", "holds none"),
        ("trace.jsonl", '{"expert": "a"}\n{"expert": 3}\n', "row 2 of"),
        ("trace.jsonl", "a\n", "row 1 of"),
        ("trace.jsonl", "[]\n", "row 1 of"),
        ("trace.jsonl", "", "holds none"),
    ],
)
def test_a_trace_that_names_no_expert_is_an_error(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_trace(path)


def test_bandwidths_have_units() -> None:
    assert parse_bandwidth("20 MB/s") == 20e6
    assert parse_bandwidth("1KiB/S") == 1024
    for text in ("20 MB", "20 MB/min", "2 m/s", "-1 MB/s", "MB/s", None):
        with pytest.raises(ConfigError, match="must be"):
            parse_bandwidth(text)


BASE = ["--host", "8MB", "--device", "4MB", "--disk-bw", "100MB/s", "--host-bw", "1000MB/s"]


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.command()(command)
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(done.exception, Exception):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_prints_every_order_and_policy(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("expert\n" + "a\nb\nc\n" * 30, encoding="utf-8")
    arguments = [*BASE, "--trace", trace, "--size", "4MB", "--batch", 6, "--run", "10ms"]
    rows = json.loads(run(*arguments, "--json"))
    assert [(row["batch"], row["policy"]) for row in rows] == [
        *((1, "lru"), (1, "belady"), (6, "lru"), (6, "belady")),
    ]
    # arrival order and LRU: the worst there is, each request waits for both tiers
    assert rows[0]["tiers"]["host"]["misses"] == rows[0]["tiers"]["device"]["misses"] == 90
    assert rows[0]["seconds_per_request"] == pytest.approx(0.04 + 0.004 + 0.01)
    assert rows[0]["switch_share"] == pytest.approx(0.044 / 0.054)
    assert rows[2]["lookups"] < 90
    assert rows[2]["seconds_per_request"] < rows[0]["seconds_per_request"]
    text = run(*arguments)
    assert "54.0" in text
    assert text.count("belady") == 2
    assert "grouped, 6 waiting" in text


def test_the_command_draws_what_its_seed_says(tmp_path: Path) -> None:
    sizes = tmp_path / "sizes.yaml"
    sizes.write_text("code: 1 MB\nmath: 2 MB\nchat: 2 MB\nrouter: 1 MB\n", encoding="utf-8")
    arguments = [*BASE, "--zipf", 1.1, "--sizes", sizes, "--pin", "router", "--requests", 500]
    first = run(*arguments, "--warmup", 50, "--json")
    assert first == run(*arguments, "--warmup", 50, "--json")
    assert first != run(*arguments, "--warmup", 50, "--seed", 1, "--json")
    row = json.loads(first)[0]
    assert row["requests"] == 450
    assert row["tiers"]["host"]["misses"] == 0  # everything fits there
    assert 0 < row["hit_rates"]["device"] < 1
    alone = json.loads(
        run("--host", "2MB", "--disk-bw", "1MB/s", "--zipf", 0, "--size", "1MB", "--json")
    )
    assert list(alone[0]["tiers"]) == ["host"]
    assert alone[0]["requests"] == 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--zipf", "1", "--size", "1 XB"], r"quantity of bytes must be .* got '1 XB'"),
        (["--zipf", "1", "--size", "1MB", "--host-bw", "3MB"], "a bandwidth must be bytes a sec"),
        (["--zipf", "1", "--size", "1MB", "--run", "3 MB"], "quantity of milliseconds must be"),
        (["--trace", "no.csv", "--size", "1MB"], r"trace must be a readable .*no\.csv"),
        (["--trace", "TRACE", "--sizes", "SIZES"], "unknown expert 'c0de'; did you mean 'code'"),
        (["--trace", "TRACE", "--sizes", "BAD"], r"bad\.yaml: a quantity of bytes must be"),
        (["--zipf", "1", "--sizes", "NONE"], r"none\.yaml must give at least one expert's size"),
        (["--trace", "TRACE", "--size", "6MB"], "'c0de' takes 6000000 B and device has room for"),
        (["--zipf", "1", "--size", "1MB", "--batch", "0"], "batch: input should be greater"),
        (["--zipf", "-1", "--size", "1MB"], "zipf: input should be greater"),
        (["--zipf", "1", "--size", "1MB", "--warmup", "10000"], "warmup=10000 of 10000; lower"),
        (["--size", "1MB"], "requests must come from either a trace or zipf"),
        (["--zipf", "1"], "bytes must come from either size or sizes"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    files = {"TRACE": "t.jsonl", "SIZES": "s.yaml", "BAD": "bad.yaml", "NONE": "none.yaml"}
    (tmp_path / "t.jsonl").write_text('{"expert": "c0de"}\n', encoding="utf-8")
    (tmp_path / "s.yaml").write_text("code: 1 MB\n", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("c0de: large\n", encoding="utf-8")
    (tmp_path / "none.yaml").write_text("{}\n", encoding="utf-8")
    given = [str(tmp_path / files[each]) if each in files else each for each in arguments]
    with pytest.raises((ConfigError, DataError), match=message) as caught:
        run(*BASE, *given)
    assert "\n" not in str(caught.value)


def test_a_device_needs_its_bandwidth() -> None:
    with pytest.raises(ConfigError, match="device and host_bw must be given together"):
        run("--host", "8MB", "--device", "4MB", "--disk-bw", "1MB/s", "--zipf", 1, "--size", "1MB")
