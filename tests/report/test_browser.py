"""Report pages in a real browser without a network: nothing complains, everything is drawn."""

import base64
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from micronas.report.write import write_report
from tests import toy
from tests.browser import Page, chromium
from tests.report.runs import NASTY, by_hand, listening, searched

pytestmark = pytest.mark.browser
NAMES = (NASTY, "rows", "columns", "checks")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search, a given network judged by AUC, and two that hold metrics alone."""
    folder = tmp_path_factory.mktemp("runs")
    searched(folder / "found", NAMES)
    listening(folder / "heard")
    by_hand(folder / "old")
    by_hand(folder / "over", int8=0.9, fits=False)
    return folder


def opened(browser: Page, *paths: Path, width: int = 1200, dark: bool = False) -> Page:
    page, _ = write_report(list(paths), paths[0].parent / "page.html")
    browser.open(page, width=width, dark=dark)
    return browser.settled()


def drawn(browser: Page) -> dict[str, float]:
    """Share of each chart's pixels that are not its commonest colour, by its label."""
    labels = browser.value(
        "[...document.querySelectorAll('.chart, canvas')].map((chart, place) => {"
        "chart.id = `chart${place}`; const labelled = chart.querySelector('svg') ?? chart;"
        "return `${place} ${labelled.getAttribute('aria-label')}`; })"
    )
    shares = {}
    for place, label in enumerate(labels):
        picture = Image.open(io.BytesIO(browser.picture(f"#chart{place}"))).convert("RGB")
        pixels = np.asarray(picture).reshape(-1, 3)
        _, counts = np.unique(pixels, axis=0, return_counts=True)
        shares[label] = 1 - counts.max() / counts.sum()
    return shares


def texts(browser: Page, selector: str) -> list[str]:
    return browser.value(
        f"[...document.querySelectorAll({json.dumps(selector)})].map((node) => node.innerText)"
    )


def centre(browser: Page, node: str) -> tuple[float, float]:
    """Where the middle of a node is once it has been scrolled to."""
    browser.value(f"{node}.scrollIntoView({{block: 'center'}})")
    x, y = browser.settled().value(
        "(({x, y, width, height}) => [x + width / 2, y + height / 2])"
        f"({node}.getBoundingClientRect())"
    )
    return x, y


def test_an_empty_chart_is_noticed(browser: Page, tmp_path: Path) -> None:
    page = tmp_path / "empty.html"
    page.write_text("<div class=chart><svg width=300 height=200></svg></div>")
    browser.open(page)
    assert list(drawn(browser).values()) == [0.0]


@pytest.mark.parametrize("dark", [False, True])
def test_a_searched_run_shows_every_section(browser: Page, runs: Path, dark: bool) -> None:
    opened(browser, runs / "found", dark=dark)
    assert texts(browser, "h2") == [
        *("Budget", "Network", "Arena over time", "Layers", "Confusion matrix", "Long recordings"),
        *("Training", "Search", "Candidates tried", "Float against int8", "Make it again"),
    ]
    charts = drawn(browser)
    assert min(charts.values()) > 0.002, charts
    varied = sum(len(decision.options) > 1 for decision in toy.SMALL.decisions)
    ahead = json.loads((runs / "found" / "metrics.json").read_text())["search"]
    lead, chance = (ahead[key] for key in ("ahead_of_best_other_origin", "ahead_half_width"))
    (said,) = (each for each in texts(browser, "#candidates p") if "the best of other" in each)
    where = "behind" if lead < 0 else "ahead of"
    assert f"{100 * abs(lead):.1f} ± {100 * chance:.1f} points of accuracy {where} the best" in said
    wrong = json.loads((runs / "found" / "history.json").read_text())["outcome"]["mistakes"]
    # gauges, network, arena, latency and MACs, training, search, candidates (over latency, and as
    # bars), layers; gates; errors
    assert len(charts) == 3 + 1 + 1 + 2 + 2 + 3 + 2 + 1 + varied + len(wrong)
    assert browser.complaints == []
    assert browser.requests == [(runs / "page.html").as_uri()]


@pytest.mark.parametrize("strategy", ["halving", "evolution"])
def test_a_search_without_gates_is_shown(browser: Page, tmp_path: Path, strategy: str) -> None:
    opened(browser, searched(tmp_path / "run", strategy=strategy))
    assert any("Not shown" in note for note in texts(browser, ".note"))
    assert min(drawn(browser).values()) > 0.002
    assert browser.complaints == []


def test_foreign_text_stays_text(browser: Page, runs: Path) -> None:
    opened(browser, runs / "found")
    assert browser.value("globalThis.hacked") is None
    assert browser.value("document.images.length") == 0
    assert browser.value("document.querySelector('table.matrix tbody th').textContent") == NASTY


def test_machines_and_runs_with_nothing_but_metrics(browser: Page, runs: Path) -> None:
    opened(browser, runs / "heard")
    assert any("4 classes" in note for note in texts(browser, "#network .note"))
    charts = [label.partition(" ")[2].partition(".")[0] for label in drawn(browser)]
    for name in toy.CLASSES:
        assert {f"ROC of {name}", f"Scores of {name}"} <= set(charts)
    assert "Not shown: the network was given, not searched for." in texts(browser, ".absent .note")
    assert browser.complaints == []
    opened(browser, runs / "old")
    assert len(texts(browser, ".absent")) == 9
    assert browser.complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_labels_are_whole_and_columns_in_sight(
    browser: Page, runs: Path, tmp_path: Path, width: int
) -> None:
    """With a network whose name is as long as those of deep spaces."""
    shutil.copytree(runs / "found", tmp_path / "deep")
    path = tmp_path / "deep" / "metrics.json"
    metrics = json.loads(path.read_text())
    name = "32; c40k3x1@2 40k3x1 40k3x1 c64k3x1@2 64k3x1 64k3x1"
    metrics["search"]["candidates"][0]["network"] = name
    path.write_text(json.dumps(metrics))
    opened(browser, tmp_path / "deep", width=width)
    labels = browser.value(
        "[...document.querySelectorAll('#candidates svg text')].map((node) => node.textContent)"
    )
    assert name in labels
    cut = browser.value(
        "[...document.querySelectorAll('#candidates svg text')].filter((node) => {"
        "const text = node.getBoundingClientRect();"
        "const chart = node.closest('svg').getBoundingClientRect();"
        "return text.left < chart.left - 1 || text.right > chart.right + 1;"
        "}).map((node) => node.textContent)"
    )
    assert cut == []
    assert browser.value("document.documentElement.scrollWidth") <= width
    # words of what is made again are whole, and a name that is out of sight makes no tall rows
    narrowest = browser.value(
        "Math.min(...[...document.querySelectorAll('.facts td:first-child')].map((node) =>"
        "node.clientWidth))"
    )
    assert narrowest > 90
    tallest = browser.value(
        "Math.max(...[...document.querySelectorAll('#candidates tbody tr')].map((node) =>"
        "node.clientHeight))"
    )
    assert tallest < 60
    for ticks in browser.value(
        "[...document.querySelectorAll('#training svg')].map((chart) =>"
        "[...chart.querySelectorAll('text[text-anchor=end]')].map((node) => node.textContent))"
    ):
        assert len({*ticks}) == len(ticks)
    outside = browser.value(
        "[...document.querySelectorAll('#arena svg rect')].filter((node) =>"
        "node.getBoundingClientRect().right > node.closest('svg').getBoundingClientRect().right)"
        ".length"
    )
    assert outside == 0
    if width == 1280:
        hidden = browser.value(
            "[...document.querySelectorAll('main table')].filter((node) =>"
            "node.scrollWidth > node.parentElement.clientWidth).length"
        )
        assert hidden == 0


def test_errors_are_seen_and_heard_and_a_threshold_is_chosen(
    browser: Page, runs: Path, tmp_path: Path
) -> None:
    """On a finished run, whose history is given errors of every kind."""
    shutil.copytree(runs / "found", tmp_path / "heard")
    path = tmp_path / "heard" / "history.json"
    history = json.loads(path.read_text())
    wave = [[0.0, 1.0, -1.0, 0.5], [1.0, 1.0, 0.0, 0.0]]
    colours = [[[10 * x + y for x in range(8)] for y in range(8)] for _ in range(3)]
    sound = base64.b64encode(bytes(range(256))).decode()
    history["outcome"]["mistakes"] = [
        {"label": 1, "answer": 2, "certainty": 0.9, "kind": "series", "values": wave},
        {"label": 2, "answer": 1, "certainty": 0.8, "kind": "picture", "rows": colours},
        {"label": 0, "answer": 3, "certainty": 0.7, "kind": "picture", "rows": colours[:1]}
        | {"sound": sound},
    ]
    history["outcome"]["thresholds"] = {
        "ignored": ["silence", "unknown"],
        "seconds": 1.0,
        "points": [
            {"threshold": 0.1, "misses": 0.02, "false_accepts": 0.9},
            {"threshold": 0.5, "misses": 0.02, "false_accepts": 0.1},
            {"threshold": 0.9, "misses": 0.2, "false_accepts": 0.01},
        ],
    }
    path.write_text(json.dumps(history))
    opened(browser, tmp_path / "heard")
    captions = texts(browser, ".mistake figcaption")
    assert captions[:2] == [
        "rows taken for columns, 90.0 % certain",
        "columns taken for rows, 80.0 % certain",
    ]
    assert captions[2].startswith(NASTY)
    assert browser.value("document.querySelectorAll('.mistake polyline').length") == 2
    assert browser.value("document.querySelectorAll('canvas.picture').length") == 2
    browser.click(*centre(browser, "document.querySelector('button.play')"))
    assert browser.value("document.querySelector('button.play').dataset.played") == "256"
    hits = "document.querySelectorAll('#outcome circle.hit')"
    browser.move(*centre(browser, f"[...{hits}].at(-1)"))
    # the lowest misses as many as the second, and accepts more
    assert browser.value(f"{hits}.length") == 2
    said = browser.value("document.getElementById('tip').innerText")
    assert said.splitlines() == ["threshold 0.90", "20.0 % missed", "36 an hour falsely accepted"]
    assert browser.value("document.documentElement.scrollWidth") <= 1200
    assert browser.complaints == []
    assert browser.requests == [(tmp_path / "page.html").as_uri()]


def test_long_recordings_are_seen_and_heard(browser: Page, tmp_path: Path) -> None:
    run = by_hand(tmp_path / "run")
    point = {"missed": 0.25, "false_alarms_per_hour": 4.0}
    times = [round(1 + 0.1 * hop, 1) for hop in range(20)]
    series = [
        {"label": NASTY, "threshold": 30, "scores": [0] * 8 + [60] * 5 + [0] * 7},
        {"label": "no", "threshold": None, "scores": [-200] * 15 + [20] * 5},
    ]
    shown = {
        "recording": "long.wav",
        "unit": "s",
        "begin": 0.0,
        "times": times,
        "series": series,
        "events": [{"label": NASTY, "at": 1.8}],
        "marks": [{"label": NASTY, "start": 1.4, "end": 2.0}],
        "sound": base64.b64encode(bytes(400)).decode(),
    }
    told = {"recordings": 2, "hours": 0.5, "occurrences": 8, **point, "held_out": point}
    curve = [{"missed": 0.5, "false_alarms_per_hour": 0.0}, point]
    content = {**told, "curve": curve, "shown": shown}
    (run / "detector.json").write_text(json.dumps(content))
    opened(browser, run)
    (said,) = (each for each in texts(browser, "#listening p") if "chose thresholds" in each)
    assert "of 8 words 25.0 % are missed, with 4 false alarms an hour" in said
    assert min(drawn(browser).values()) > 0.002
    assert browser.value("document.querySelectorAll('#listening .line').length") == 4
    browser.click(*centre(browser, "document.querySelector('#listening button.play')"))
    assert browser.value("document.querySelector('#listening .play').dataset.played") == "400"
    assert browser.value("globalThis.hacked") is None
    assert browser.complaints == []
    # one point without a false alarm is seen, on an axis with numbers
    (run / "detector.json").write_text(json.dumps({**told, "recordings": 1, "curve": curve[:1]}))
    opened(browser, run)
    assert "1 recording, 0.5 hours in all" in "".join(texts(browser, "#listening p"))
    assert browser.value("document.querySelectorAll('#listening circle.area').length") == 1
    ticks = browser.value(
        "[...document.querySelectorAll('#listening svg text')].map((node) => node.textContent)"
    )
    assert not any("e-" in each for each in ticks)
    (run / "detector.json").write_text(json.dumps({**told, "curve": "none"}))
    opened(browser, run)
    (why,) = (each for each in texts(browser, ".absent .note") if "detector.json" in each)
    assert "'curve'" in why
    assert browser.complaints == []


def test_tables_sort_by_what_numbers_are_worth(browser: Page, runs: Path) -> None:
    opened(browser, runs / "found")
    macs = [int(each.split()[0]) for each in texts(browser, "#layers td:nth-child(1)")]
    assert macs == sorted(macs)
    heads = "document.querySelectorAll('#layers th button')"
    names = texts(browser, "#layers th")
    place = names.index("Latency")
    browser.value(f"{heads}[{place}].click()")
    falling = texts(browser, f"#layers td:nth-child({place + 1})")
    latencies = [float(each.split()[0]) for each in falling]
    assert latencies == sorted(latencies, reverse=True)
    assert browser.value("document.querySelector('#layers th[aria-sort]').ariaSort") == "descending"
    browser.value(f"{heads}[{place}].click()")
    assert texts(browser, f"#layers td:nth-child({place + 1})")[0] == falling[-1]


def test_pointing_and_arrow_keys_read_values(browser: Page, runs: Path) -> None:
    opened(browser, runs / "found")
    assert browser.value("document.getElementById('tip').hidden") is True
    browser.move(*centre(browser, "document.querySelectorAll('#arena .mark')[2]"))
    said = browser.value("document.getElementById('tip').innerText")
    assert "activation" in said
    assert " B\n" in said or "KB" in said
    browser.move(2, 2)
    assert browser.value("document.getElementById('tip').hidden") is True
    browser.value("document.querySelector('#network svg').focus()")
    for expected in ("stem", "block1", "block2"):
        browser.press("ArrowDown")
        assert browser.value("document.getElementById('tip').innerText").startswith(expected)
    assert browser.value("document.getElementById('said').textContent").startswith("block2")
    browser.press("Escape")
    assert browser.value("document.getElementById('tip').hidden") is True
    browser.value("document.querySelector('#search canvas').focus()")
    browser.press("ArrowLeft")
    assert "round" in browser.value("document.getElementById('said').textContent")


def test_the_arena_of_board_and_host(browser: Page, runs: Path) -> None:
    opened(browser, runs / "found")
    board = texts(browser, "#arena .note")[1]
    browser.value(
        "(() => { const where = document.querySelector('#arena select'); where.value = 'host';"
        "where.dispatchEvent(new Event('change')); })()"
    )
    assert texts(browser, "#arena .note")[1] != board
    assert browser.complaints == []


def test_several_runs_have_fronts(browser: Page, runs: Path) -> None:
    opened(browser, runs)
    assert texts(browser, "h2") == [
        "Fronts: kws, accuracy",
        "Fronts: ad, AUC",
        "Fronts: accuracy",
        "Runs",
        "Networks side by side",
    ]
    assert min(drawn(browser).values()) > 0.002
    assert browser.value("[0, 0.05, 0.1].map((more) => short(96.6 + more, 0.05))") == [
        "96.6",
        "96.65",
        "96.7",
    ]
    assert browser.value(
        "[measured(0.132, 'count'), measured(5.2e-5, 'ms'), measured(1234.5, 'bytes'),"
        " measured(4e-7, ''), measured(0.5, 'share'), cost(20000, 'bytes'), cost(7.5, 'J/h')]"
    ) == ["0.132 count", "0.000052 ms", "1235 bytes", "4e-7", "50.0 %", "20.0 KB", "7.5 J/h"]
    # perfect scores alone on their axes
    browser.value(
        "byId('main').append(scatter('', { points: [{ x: 1, y: 1, said: [] }], x: {}, "
        "y: scale('share') }), lines('', { x: { values: [1, 2] }, y: { show: inPercent, most: 1 }, "
        "series: [{ kind: 's0', values: [1, 1] }] }))"
    )
    ends = "[...document.querySelectorAll('#main > .chart')].map((one) => one.textContent)"
    plotted = browser.settled().value(ends)
    assert all("100" in each and "110" not in each for each in plotted)
    assert len(plotted) == 2
    assert browser.value("document.querySelectorAll('circle.hollow').length") == 3
    browser.move(*centre(browser, "document.querySelector('circle.hollow')"))
    said = browser.value("document.getElementById('tip').innerText")
    assert said.startswith("over")
    assert "does not fit its budget" in said
    assert browser.complaints == []
    assert browser.requests == [(runs.parent / "page.html").as_uri()]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("names", [["found"], ["heard"], ["found", "heard", "old"]])
def test_it_fits_a_phone(browser: Page, runs: Path, names: list[str], dark: bool) -> None:
    opened(browser, *(runs / name for name in names), width=360, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") <= 360
    ink, ground = browser.value(
        "(({color, backgroundColor}) => [color, backgroundColor].map((rgb) =>"
        "rgb.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)))"
        "(getComputedStyle(document.body))"
    )
    assert (ink > ground) == dark
    assert abs(ink - ground) > 3 * 125
    assert min(drawn(browser).values()) > 0.002
