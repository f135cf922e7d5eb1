import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.errors import ConfigError
from micronas.quantities import format_bytes, format_macs, format_reached, parse, parse_bytes


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("128 KB", "bytes", 128_000),
        ("64KiB", "bytes", 65_536),
        ("1 mb", "bytes", 1_000_000),
        ("14 GB", "bytes", 14_000_000_000),
        ("2 TiB", "bytes", 2**41),
        (4096, "bytes", 4096),
        ("50 ms", "milliseconds", 50),
        ("1.5s", "milliseconds", 1500),
        ("800 us", "milliseconds", 0.8),
        ("180 MHz", "hertz", 180e6),
        ("2.5 MMACs", "operations", 2.5e6),
    ],
)
def test_parse_reads_what_people_write(text: object, dimension: str, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value)


@pytest.mark.parametrize("text", ["50 ms", "-3 KB", "0 KB", "KB", "1e999 KB", "1 KB 2", True, None])
def test_parse_refuses_what_is_not_a_size(text: object) -> None:
    with pytest.raises(ConfigError, match=r"quantity of bytes must be .* write 128 KB"):
        parse(text, "bytes")


@given(
    st.sampled_from(
        [
            ("sram", "bytes"),
            ("latency", "milliseconds"),
            ("macs", "operations"),
            ("load", "share"),
            ("energy", "joules"),
        ]
    ),
    st.floats(1e-6, 1e9),
)
def test_a_smallest_cost_that_is_told_is_enough_as_a_budget(
    kind: tuple[str, str], cost: float
) -> None:
    """67.84 KB were told as 67.8 KB, which was refused again."""
    name, dimension = kind
    cost = max(cost, {"sram": 10.0, "macs": 1000.0}.get(name, 0.0))
    told = parse(format_reached(name, cost).removesuffix("/h"), dimension)
    assert cost <= told <= 1.1 * cost


def test_sizes_are_written_in_thousands() -> None:
    assert [format_bytes(size) for size in (999, 102_512, 2_500_000)] == [
        "999 B",
        "102.5 KB",
        "2.50 MB",
    ]
    assert parse_bytes("102.512 KB") == 102_512
    assert format_macs(15_556_352) == "15.56 MMACs"
    assert format_macs(33_280) == "33.3 kMACs"
