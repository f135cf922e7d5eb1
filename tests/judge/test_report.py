"""The report: its numbers by hand, its escapes by two parsers, the page itself in a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from micronas.errors import DataError
from micronas.judge import report as judge_report
from micronas.judge.leaderboard import Statistics
from micronas.judge.report import write_report
from micronas.judge.rows import Answer, Order, StoredPrompt, VerdictRow
from micronas.judge.store import writing
from micronas.page import page_of
from tests.browser import Page, chromium
from tests.pages import data_of

NASTY = (
    '</script><script>globalThis.hacked = 1</script><img src="https://example.org/x" '
    'onerror="globalThis.hacked = 2"><!--<script> @DATA@ \' " & \u2028 \u202e \x00 {{7*7}}'
)
PARTS = Path(judge_report.__file__).parent / "page"
FEW = Statistics(rounds=200)
ORDERS: tuple[Order, Order] = ("first", "second")


def outcome(model: str, index: int, order: Order) -> float | None:
    """`alpha` beats `base` on the first 16 prompts of 24; `beta` is of every kind."""
    if model == "alpha":
        return float(index < 16)
    if index == 6:
        return float(order == "first")
    if index == 23 and order == "second":
        return None
    return 1.0 if index < 6 else 0.5 if index < 11 else 0.0


def verdict(prompt: str, model: str, baseline: str, order: Order, won: float | None) -> VerdictRow:
    label = {None: None, 0.5: "tie", 1.0: "A", 0.0: "B"}[won]
    return VerdictRow(prompt, model, baseline, order, "judge <b>", label, won, raw=f"so: {NASTY}")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    ids = [f"p{index:02d}" for index in range(24)]
    with writing(folder / "run.sqlite") as store:
        store.put_prompts(
            StoredPrompt(key, f"Question {key} {NASTY}", "math" if key < "p12" else "co<de>")
            for key in ids
        )
        store.put_answers(
            Answer(key, model, f"{model} says {key} {NASTY}", length)
            for key in ids
            for model, length in (("base", 100), ("alpha", 50), ("beta", 200))
        )
        store.put_verdicts(
            verdict(key, model, "base", order, outcome(model, index, order))
            for index, key in enumerate(ids)
            for model in ("alpha", "beta")
            for order in ORDERS
        )
    write_report(folder / "run.sqlite", folder / "report.html", title=f"T {NASTY}", statistics=FEW)
    return folder / "report.html"


def shown(store: Path, statistics: Statistics = FEW, **more: Any) -> dict[str, Any]:
    """What the report of a run shows."""
    page = store.with_name("another.html")
    write_report(store, page, statistics=statistics, **more)
    return data_of(page.read_bytes())


def test_the_numbers_are_those_counted_by_hand(report: Path) -> None:
    data = data_of(report.read_bytes())
    board = {row["model"]: row for row in data["board"]}
    assert list(board) == ["alpha", "base", "beta"]
    # a star design has a closed form: points over verdicts
    assert board["alpha"]["rate"] == pytest.approx(16 / 24, abs=1e-9)
    assert board["beta"]["rate"] == pytest.approx((12 + 1 + 4) / 47, abs=1e-9)
    assert board["base"]["rate"] == 0.5
    assert board["beta"]["low"] < board["beta"]["rate"] < board["beta"]["high"]
    assert data["invalid"]["count"] == 1
    assert data["invalid"]["games"] == 96
    assert data["invalid"]["rows"][0]["prompt"] == "p23"
    beta = next(row for row in data["position"] if row["model"] == "beta")
    # shown first, beta wins 7 times; shown second, it loses 13 times to the answer shown first
    assert beta["games"] == 47
    assert beta["first"] == pytest.approx((7 + 13) / 47)
    assert beta["tie"] == pytest.approx(8 / 47)
    assert beta["agree"] == pytest.approx(22 / 23)
    lengths = {row["model"]: row for row in data["lengths"]}
    assert lengths["alpha"]["tokens"] == 50
    # alpha is the shorter one: the longer answer wins where alpha loses
    assert lengths["alpha"]["longer"] == pytest.approx(8 / 24)
    assert lengths["beta"]["longer"] == pytest.approx(13 / 39)
    separability = data["separability"]
    assert separability["pairs"] == 3
    marked = [
        cell["separated"]
        for place, row in enumerate(separability["cells"])
        for cell in row[place + 1 :]
    ]
    assert separability["separated"] == sum(marked)
    assert [row["name"] for row in data["categories"]] == ["co<de>", "math"]


def test_a_question_that_models_share_is_paid_for_once(tmp_path: Path) -> None:
    rows = [
        VerdictRow(
            *("p", model, "base", order, "j", "tie", 0.5),
            prompt_hash=asked and order,
            prompt_tokens=100,
            completion_tokens=10,
            usd=1.0,
        )
        for model, asked in (("a", "x"), ("b", "x"), ("null:order", "x"), ("imported", ""))
        for order in ORDERS
    ]
    with writing(tmp_path / "run.sqlite") as store:
        store.put_verdicts(rows)
    data = shown(tmp_path / "run.sqlite")
    assert data["summary"] == "4 models, 1 prompts, 6 verdicts for 4.00 US dollars"
    assert ["Tokens in and out", "400, 40"] in data["provenance"]


def test_every_text_arrives_unchanged(report: Path) -> None:
    data = data_of(report.read_bytes())
    first = data["prompts"][0]
    assert first["text"] == f"Question p00 {NASTY}"
    assert first["answers"]["beta"] == f"beta says p00 {NASTY}"
    assert first["games"][0]["raw"] == f"so: {NASTY}"


PIECES = ("</script>", "<script>", "<!--", "-->", "</SCRIPT ", "<img src=x>", "</title>", "&lt;")
HOSTILE = st.lists(st.sampled_from((*PIECES, "@DATA@", "@TITLE@", "\\")) | st.text()).map("".join)


@settings(max_examples=50)
@given(HOSTILE, HOSTILE)
def test_any_text_stays_inside_its_element(text: str, title: str) -> None:
    assert data_of(page_of(title, {"text": text}, parts=PARTS)) == {"text": text}


def test_texts_can_be_left_out(report: Path) -> None:
    data = shown(report.with_name("run.sqlite"), texts=1)
    assert [row["text"] is None for row in data["prompts"]] == [False] + 23 * [True]
    assert data["prompts"][1]["answers"] == {}
    assert "1 prompts of 24" in data["texts_note"]


def test_a_model_that_wins_everything_needs_a_prior(tmp_path: Path) -> None:
    with writing(tmp_path / "s") as store:
        store.put_verdicts(verdict(f"p{n}", "best", "base", "first", 1.0) for n in range(9))
    with pytest.raises(DataError, match="prior"):
        shown(tmp_path / "s")
    with pytest.raises(DataError, match="must not replace its run"):
        write_report(tmp_path / "s", tmp_path / "x" / ".." / "s", statistics=Statistics(prior=1))
    assert 0.9 < shown(tmp_path / "s", Statistics(rounds=50, prior=1))["board"][0]["rate"] < 1


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.mark.browser
def test_the_browser_notices_what_a_report_must_not_do(browser: Page, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error(1); fetch('http://127.0.0.1:1/x')</script>")
    browser.open(bad)
    assert browser.settled().complaints
    assert "http://127.0.0.1:1/x" in browser.requests


def found(page: Page, **filters: str) -> list[str]:
    """Set filters as a person would, and return the prompts that are listed."""
    everything = {"left": "alpha", "right": "base", "category": "", "outcome": "", "text": ""}
    for name, value in (everything | filters).items():
        page.value(
            f"(() => {{ const field = document.getElementById('filters').elements.{name};"
            f"field.value = {json.dumps(value)};"
            "field.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
    return page.value(
        "[...document.querySelectorAll('#battles-list details')].map((node) => node.dataset.prompt)"
    )


def keys(*places: range) -> list[str]:
    return [f"p{index:02d}" for each in places for index in each]


@pytest.mark.browser
def test_it_opens_without_a_complaint_or_a_request(browser: Page, report: Path) -> None:
    browser.open(report)
    browser.value("document.querySelectorAll('details').forEach((node) => { node.open = true; })")
    assert browser.settled().complaints == []
    assert browser.requests == [report.as_uri()]
    assert browser.value("globalThis.hacked") is None
    assert browser.value("document.images.length") == 0
    assert browser.value("document.title").startswith("T </script>")
    shown = browser.value("document.querySelector('.sides pre').textContent")
    assert shown.replace("\ufffd", "\x00") == f"alpha says p00 {NASTY}"


@pytest.mark.browser
def test_filters_list_the_battles_they_name(browser: Page, report: Path) -> None:
    browser.open(report)
    assert found(browser) == keys(range(20))
    browser.value("document.getElementById('more').click()")
    assert browser.value("document.querySelectorAll('#battles-list details').length") == 24
    assert browser.value("document.getElementById('more').hidden") is True
    assert found(browser, outcome="right") == keys(range(16, 24))
    assert found(browser, category="math", left="beta") == keys(range(12))
    assert found(browser, left="beta", outcome="tie") == keys(range(6, 11))
    assert found(browser, left="beta", outcome="split") == ["p06"]
    assert found(browser, left="beta", outcome="invalid") == ["p23"]
    assert found(browser, left="beta", outcome="left", category="co<de>") == []
    # both against the baseline: alpha is ahead where beta did not win, up to the sixteenth
    assert found(browser, right="beta", outcome="left") == keys(range(6, 16))
    assert found(browser, left="base", right="beta", outcome="right") == keys(range(6))
    assert found(browser, text="QUESTION P07") == ["p07"]
    assert browser.value("document.getElementById('battles-note').textContent").startswith(
        "1 prompt: alpha wins 1, base wins 0, 0 ties."
    )
    assert browser.settled().complaints == []


@pytest.mark.browser
def test_tables_sort_and_cells_lead_to_their_battles(browser: Page, report: Path) -> None:
    browser.open(report)
    table = "#leaderboard table"
    column = f"[...document.querySelectorAll('{table} tbody tr')].map((r) => r.cells[1].innerText)"
    button = f"document.querySelectorAll('{table} th button')"
    browser.value(f"{button}[2].click()")
    assert browser.value(column) == ["alpha", "base", "beta"]
    browser.value(f"{button}[2].click()")
    assert browser.value(column) == ["beta", "base", "alpha"]
    browser.value(f"{button}[1].click()")
    assert browser.value(column) == ["alpha", "base", "beta"]
    browser.value("document.querySelectorAll('#categories tbody tr')[1].cells[4].click()")
    filters = "(({left, right, category}) => [left.value, right.value, category.value])"
    chosen = browser.value(f"{filters}(document.getElementById('filters').elements)")
    assert chosen == ["beta", "base", "math"]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.browser
def test_it_fits_a_phone_in_light_and_dark(browser: Page, report: Path, dark: bool) -> None:
    browser.open(report, width=360, dark=dark)
    browser.value("document.querySelector('details').open = true")
    browser.settled()
    assert browser.value("document.documentElement.scrollWidth") <= 360
    assert browser.value(
        "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)"
        "(document.querySelector('#provenance .wide'))"
    ) == pytest.approx(0, abs=1)
    # a rate and its interval stand beside the model, however long its name
    cells = "document.querySelector('#leaderboard tbody tr').cells"
    browser.value(f"{cells}[1].append('-70b'.repeat(20))")
    assert re.fullmatch(r"[\d.]+ to [\d.]+", browser.value(f"{cells}[3].innerText"))
    assert browser.value(f"{cells}[3].getBoundingClientRect().right") <= browser.value(
        "document.querySelector('#leaderboard .wide').getBoundingClientRect().right"
    )
    colours = browser.value(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    ink, ground = (sum(map(int, re.findall(r"\d+", colour))) for colour in colours)
    assert (ink > ground) == dark
    assert abs(ink - ground) > 3 * 125


@pytest.mark.browser
def test_a_tournament_has_no_baseline(browser: Page, tmp_path: Path) -> None:
    wins = {("a", "b"): 7, ("b", "c"): 7, ("a", "c"): 8}
    with writing(tmp_path / "s") as store:
        store.put_verdicts(
            verdict(f"p{n}", left, right, "first", float(n < count))
            for (left, right), count in wins.items()
            for n in range(10)
        )
    path = tmp_path / "r.html"
    write_report(tmp_path / "s", path, statistics=Statistics(rounds=50, prior=1))
    assert data_of(path.read_bytes())["baseline"] is None
    browser.open(path)
    assert browser.value("document.getElementById('battles-note').textContent").startswith("10 ")
    assert len(found(browser, left="a", right="b", outcome="left")) == 7
    assert len(found(browser, left="b", right="a", outcome="right")) == 7
    assert len(found(browser, left="c", right="a", outcome="left")) == 2
    assert browser.settled().complaints == []
