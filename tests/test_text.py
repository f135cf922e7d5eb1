import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micronas.text import difference, for_people, pairs, quantity, table, to_csv, wrapped
from tests.cases import first
from tests.command import command

HEADER = ("name", "size", "note")
ROWS = [["one", "1", "a long note of nine words about nothing much"], ["twenty", "20", "-"]]


def test_a_table_drops_what_matters_least_and_says_so() -> None:
    assert table(HEADER, ROWS, width=30, drop=("note", "size")).splitlines() == [
        "name    size",
        "------  ----",
        "one        1",
        "twenty    20",
        "not shown: note (--wide)",
    ]
    assert table(HEADER, ROWS, width=7, drop=("note", "size")).splitlines()[-1] == (
        "not shown: note, size (--wide)"
    )
    assert table(HEADER, ROWS, width=200, drop=("note",)) == table(HEADER, ROWS)


def test_a_long_cell_goes_on_in_the_next_line() -> None:
    assert table(HEADER, ROWS, width=46, drop=("size",), wrap="note").splitlines() == [
        "name    size  note",
        "------  ----  --------------------------------",
        "one        1  a long note of nine words about",
        "              nothing much",
        "twenty    20  -",
    ]
    assert "size" not in table(HEADER, ROWS, width=40, drop=("size",), wrap="note").split("\n")[0]


def test_lines_end_between_words_but_not_before_a_unit() -> None:
    layers = "8; max2x1@2 c8k5x1 max2x1@2 c8k3x1 max2x1@2"
    assert wrapped(layers, 24).split("\n") == ["8; max2x1@2 c8k5x1", "max2x1@2 c8k3x1 max2x1@2"]
    assert wrapped("an arena of 24.0 KB", 16).split("\n") == ["an arena of", "24.0 KB"]


@given(
    st.lists(st.lists(st.text("ab ", max_size=60), min_size=3, max_size=3)), st.integers(45, 200)
)
def test_no_line_is_wider_than_asked(rows: list[list[str]], width: int) -> None:
    text = table(HEADER, rows, width=width, drop=("size", "name"), wrap="note")
    assert max(map(len, text.splitlines())) <= width
    assert len(text.split("\n")) >= 2 + len(rows)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (None, "-"),
        (38_400, "38,400"),
        (30_000_000_000, "30 billion"),
        (12_345_678, "12,345,678"),
        (30e9, "30 billion"),
        (1.5e6, "1.5 million"),
        (9e15, "9 x 10^15"),
        (1.1e-82, "below 0.0001"),
        (0.0, "0"),
        (0.78123, "0.7812"),
        (20.565204096, "20.57"),
        (9_999.6, "10,000"),
        (float("nan"), "nan"),
        ([1, 0.5], "1, 0.5"),
        ({"a": 0.25}, "a 0.25"),
        ("as it is", "as it is"),
    ],
)
def test_values_as_a_person_writes_them(value: object, text: str) -> None:
    assert for_people(value) == text


def test_a_number_and_its_unit_stay_in_a_line() -> None:
    said = pairs({"recall": "left 92.5 %, right 100.0 %, stop 87.5 %, go 75.0 %"}, width=36)
    assert said.splitlines() == [
        "recall  left 92.5 %, right 100.0 %,",
        "        stop 87.5 %, go 75.0 %",
    ]


def test_a_long_value_goes_on_below_itself() -> None:
    said = pairs({"a": "five words of one value that is long", "name": 1}, width=36)
    assert said.splitlines() == ["a     five words of one value that", "      is long", "name  1"]


def test_rows_as_csv() -> None:
    rows = [{"name": 'a "b", c', "inner": {"x": 1, "y": None}}, {"name": "d", "kernel": [3, 1]}]
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert read == [
        {"name": 'a "b", c', "inner.x": "1", "inner.y": "", "kernel": ""},
        {"name": "d", "inner.x": "", "inner.y": "", "kernel": "[3, 1]"},
    ]


@first(
    "words",
    [
        ("boards",),
        ("boards", "published/kws_m"),
        ("spaces",),
        ("profile", "published/vww_2"),
        ("profile", "published/kws_m", "--board", "all"),
    ],
    1,
)
def test_tables_fit_80_columns_and_have_all_with_wide(words: tuple[str, ...]) -> None:
    narrow, wide = (
        command(*words, *more, environment={"COLUMNS": "80"}).stdout for more in ((), ("--wide",))
    )
    tables = [line for line in narrow.splitlines() if "  " in line]
    assert max(map(len, tables)) <= 80
    assert "not shown" not in wide
    assert len(wide) >= len(narrow)


@pytest.mark.long
def test_csv_holds_what_json_holds() -> None:
    boards = command("boards", "--csv").stdout
    read = list(csv.DictReader(io.StringIO(boards)))
    described = json.loads(command("boards", "--json").stdout)
    assert [row["name"] for row in read] == [board["name"] for board in described]
    assert [int(row["sram_bytes"]) for row in read] == [each["sram_bytes"] for each in described]
    layers = list(
        csv.DictReader(io.StringIO(command("profile", "published/kws_s", "--csv").stdout))
    )
    profiled = json.loads(command("profile", "published/kws_s", "--json").stdout)["layers"]
    assert [(row["name"], int(row["macs"])) for row in layers] == [
        (layer["name"], layer["macs"]) for layer in profiled
    ]
    both = command("spaces", "--csv", "--json")
    assert both.returncode != 0
    assert "both --json and --csv" in both.stderr


def test_measures_of_any_size_have_digits() -> None:
    shown = [quantity(value, "") for value in (4.4681, 0.0, 0.052, 4.47e-7, 1234.5)]
    assert shown == ["4.468", "0.000", "0.052", "4.47e-07", "1234.500"]
    assert [quantity(value, "A") for value in (4.47e-7, 1234.5)] == ["4.47e-07 A", "1234 A"]
    assert [difference(*each) for each in ((4.47e-7, "s"), (0.123, "share"), (2e3, ""))] == [
        "4.47e-07",
        "12.3",
        "2000.000",
    ]
    assert quantity(0.875, "share") == "87.5 %"
