"""The code blocks of the tutorial and the how-tos run, in order, as a reader would run them.

Files that a page shows with a title are written first. What a page takes for granted (recordings,
questions, a judge) is put there. Searches are cut short and the tutorial's corpus is small; marked
``slow`` the tutorial runs as it is printed, and the how-tos on networks run. The pages on modules
and loops of one's own run in `tests/nas/test_custom_loop.py`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import micronas.judge.jobs
import micronas.router.jobs  # noqa: F401, commands find both imported
from micronas.space.open_space import load_space
from micronas.space.space import Space
from micronas.tasks.keywords.folder import STANDARD_KEYWORDS
from micronas.tasks.keywords.synth import synthesise
from tests.command import command
from tests.docs.markdown import ROOT, blocks

_ONCE = [
    "data.keywords=[yes, no]",
    *(f"{name}={{epochs: 1, batch_size: 128}}" for name in ("search.trial", "train", "quantize")),
]
SHORT = [
    "search.strategy=dnas",
    "search.steps=2",
    "search.warmup=2",
    "search.candidates=2",
    "search.finalists=1",
    *_ONCE,
]
OPEN = ["search.draws=2", *_ONCE]
"""Of a space of several families, which has no gates."""
_UNTIMED = ["--quiet"]
"""Searches which do not say how long they will take, as that of one's own strategy does."""
_COMMAND = re.compile(r"(?:PYTHONPATH=(?P<path>\S+) )?micronas ")


class Reader:
    """Runs the blocks of one page in a folder.

    Commands that begin with one of `added` have these settings added, or are left out where there
    are none.
    """

    def __init__(self, folder: Path, environment: dict[str, str], *, added: dict[str, list[str]]):
        self.folder = folder
        self.environment = environment
        self.added = added
        self._names: dict[str, Any] = {"__name__": "page"}

    def read(self, page: Path) -> dict[str, str]:
        """Run a page and return what its commands printed, by block."""
        printed = {}
        for block in blocks(page):
            if block.title:
                (self.folder / block.title).write_text(block.text)
            if block.reason:
                continue
            if block.language == "bash":
                printed[block.text] = self.run(block.text)
            elif block.language == "python":
                exec(compile(block.text, page.name, "exec"), self._names)
        return printed

    def run(self, text: str) -> str:
        """Run a block, micronas in forks and the other lines in bash; return what it printed."""
        said = ""
        for line in text.replace("\\\n", " ").splitlines():
            ours = _COMMAND.match(line)
            done = self._micronas(line[ours.end() :], ours["path"]) if ours else self._bash(line)
            said += done.stdout + done.stderr
            assert done.returncode == 0, f"{line}\n{said}"
        return said

    def _micronas(self, line: str, path: str | None) -> subprocess.CompletedProcess[str]:
        words = shlex.split(line, comments=True)
        begins = [each for each in self.added if f"{' '.join(words)} ".startswith(each)]
        if begins and not self.added[begins[0]]:
            return subprocess.CompletedProcess(words, 0, "", "")
        return command(
            *words,
            *(self.added[begins[0]] if begins else ()),
            cwd=self.folder,
            environment=self.environment,
            before=partial(sys.path.insert, 0, path) if path else None,
        )

    def _bash(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `micronas data synth kws` writes, which leaves it as it is where it is there."""
    return synthesise(tmp_path_factory.mktemp("corpus") / "speech")


@pytest.fixture(scope="module")
def few_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of the same layout, a fortieth as large."""
    folder = tmp_path_factory.mktemp("corpus") / "speech"
    return synthesise(folder, words=("yes", "no", "tree"), voices=(10, 4, 4), clips_per_voice=2)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reader]:
    monkeypatch.chdir(tmp_path)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "JUDGE_KEY": "of the world's judge",
        "COLUMNS": "100",
    }

    def make(*, short: bool = True, **added: list[str]) -> Reader:
        corpus = {"data check kws": ["data.keywords=[yes, no]"]}
        trained = (
            {
                "search kws_open ": [*OPEN, *_UNTIMED],
                "search images_open ": _UNTIMED,  # short on its page
                "search ": [*SHORT, *_UNTIMED],
                "sweep words.yaml --over": SHORT,
                **corpus,
            }
            if short
            else {}
        )
        return Reader(tmp_path, environment, added={**trained, **added})

    return make


def documented(page: str) -> set[str]:
    """First cells of the tables of a page, where they are code."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def check_run(folder: Path) -> None:
    """A run folder holds what the pages say it does, and no key is untold."""
    metrics = json.loads((folder / "metrics.json").read_text())
    told = documented("reference/metrics.md")
    assert {f"search.{key}" for key in metrics["search"]} <= told
    assert metrics.keys() <= {name.partition(".")[0] for name in told}
    files = {path.name for path in folder.iterdir()}
    listed = {name.rstrip("/") for name in documented("tutorial.md") if "(" not in name}
    assert files <= listed
    # a run from Python has no log, and a sweep's points have no report of their own
    assert listed - files <= {"log", "report.html"}
    assert metrics["tflm_mismatches"] == 0


@pytest.mark.long
def test_a_strategy_of_ones_own(
    few_words: Path, tmp_path: Path, reader: Callable[..., Reader]
) -> None:
    (tmp_path / "speech").symlink_to(few_words)
    brief = [each for each in SHORT if not each.startswith("search.")]
    brief += ["search.trial={epochs: 1, batch_size: 128}", "search.epochs=3", "search.first=2"]
    page = reader(short=False, **{"search ": brief})
    page.read(ROOT / "docs" / "howto" / "my-strategy.md")
    metrics = json.loads((tmp_path / "runs" / "kws_open" / "metrics.json").read_text())
    assert metrics["search"]["strategy"] == "mine:Tpe"
    assert len(metrics["search"]["candidates"]) == 3
    assert metrics["tflm_mismatches"] == 0


@pytest.mark.long
def test_the_tutorial(few_words: Path, tmp_path: Path, reader: Callable[..., Reader]) -> None:
    """On a small corpus, in place of the one it makes."""
    (tmp_path / "speech").symlink_to(few_words)
    printed = reader(**{"data synth ": []}).read(ROOT / "docs" / "tutorial.md")
    check_run(tmp_path / "runs" / "words")
    said = "".join(printed.values())
    assert "nothing found" in said
    assert "run folder: runs/words" in said
    assert "report: runs/words/report.html" in said
    listed = next(text for block, text in printed.items() if "ls words-project" in block)
    shown = (ROOT / "docs" / "tutorial.md").read_text()
    assert "  ".join(listed.split()[-6:]) in shown


@pytest.mark.tflm
def test_the_tutorials_firmware(
    few_words: Path, tmp_path: Path, reader: Callable[..., Reader]
) -> None:
    """On the build that TFLM_SOURCE and TFLM_LIBRARY name, in place of the one it makes."""
    (tmp_path / "tflite-micro").symlink_to(os.environ["TFLM_SOURCE"])
    (tmp_path / "speech").symlink_to(few_words)
    page = ROOT / "docs" / "tutorial.md"
    made = reader(**{name: [] for name in ("data synth ", "verify ", "report ", "boards ")})
    made.read(page)
    said = "".join(made.run(each.text) for each in blocks(page) if "make tflm" in each.reason)
    assert "PASS: 4 output bytes as expected" in said
    event, none = r"(?:yes|no) at 1000 ms", r"no event; (?:yes|no|silence|unknown)\??"
    heard = re.findall(rf"^(\S+): (?:{event}|{none}) \(ahead", said, re.MULTILINE)
    assert heard == [str(tmp_path / clip) for clip in sorted(tmp_path.glob("speech/yes/*.wav"))]


@pytest.mark.long
def test_networks_that_stream(
    few_words: Path, tmp_path: Path, reader: Callable[..., Reader]
) -> None:
    (tmp_path / "speech").symlink_to(few_words)
    made = reader(**{"search ": [*OPEN, *_UNTIMED]})
    printed = made.read(ROOT / "docs" / "howto" / "streaming.md")
    metrics = json.loads((tmp_path / "runs" / "ears" / "metrics.json").read_text())
    heard = metrics["listening"]
    assert metrics["used"]["load"] <= 1
    assert metrics["arena_bytes"] == heard["arena_bytes"]
    assert metrics["tflm_mismatches"] == 0
    told = documented("reference/metrics.md")
    assert metrics.keys() | heard.keys() <= told
    report = (tmp_path / "runs" / "ears" / "report.html").read_text()
    assert all(f'"{tile}"' in report for tile in ("Load", "Call", "Energy an hour"))
    said = "".join(printed.values())
    assert f"{heard['arena_bytes']} bytes of arena" in said
    assert "4 frames a call computes new rows" in said
    header = (tmp_path / "ears" / "ears.h").read_text()
    assert f"#define EARS_ARENA_BYTES {heard['arena_bytes']}\n" in header
    assert f"#define EARS_STRIDE_FRAMES {heard['stride_frames']}\n" in header


@pytest.mark.slow
def test_the_tutorial_as_it_is_printed(tmp_path: Path, reader: Callable[..., Reader]) -> None:
    reader(short=False).read(ROOT / "docs" / "tutorial.md")
    check_run(tmp_path / "runs" / "words")
    metrics = json.loads((tmp_path / "runs" / "words" / "metrics.json").read_text())
    assert metrics["fits"]
    assert metrics["int8_accuracy"] > 0.85


@pytest.mark.long
def test_long_recordings(tmp_path: Path, reader: Callable[..., Reader]) -> None:
    """From words to firmware, on few words and a network that has learnt little."""
    synthesise(
        tmp_path / "speech",
        words=(*STANDARD_KEYWORDS, "tree", "bird"),
        voices=(4, 2, 2),
        clips_per_voice=1,
    )
    made = reader(
        **{
            "data synth kws speech": [],
            "data synth kws streams": ["--minutes", "1"],
            "train ": ["train.epochs=1", "quantize.epochs=1"],
            "listen runs/words streams/validation": ["--misses", "100"],
        }
    )
    said = "".join(made.read(ROOT / "docs" / "howto" / "listen.md").values())
    assert "written: runs/words/detector.json" in said
    assert "kConfirm" in (tmp_path / "words" / "decision.h").read_text()


@pytest.mark.firmware
def test_long_recordings_as_printed(tmp_path: Path, reader: Callable[..., Reader]) -> None:
    """The emulated core tells the events of five minutes that Python tells."""
    page = ROOT / "docs" / "howto" / "listen.md"
    made = reader(short=False)
    made.read(page)
    (block,) = [each for each in blocks(page) if "make firmware" in each.reason]
    lines = re.findall(r"/(000\.wav: \w+ at \d+ ms) \(ahead by (-?\d+)\)", made.run(block.text))
    heard = made.run("micronas listen runs/words streams/testing/000.wav")
    assert lines == re.findall(r"/(000\.wav: \w+ at \d+ ms) \((-?\d+)\)", heard)
    assert len(lines) > 10


def test_a_block_that_fails_is_found(tmp_path: Path, reader: Callable[..., Reader]) -> None:
    page = tmp_path / "page.md"
    for block in ("bash\nmicronas search none.yaml\n", "python\nassert 1 == 2\n"):
        page.write_text(f"```{block}```\n")
        with pytest.raises(AssertionError):
            reader().read(page)
        page.write_text(f"<!-- not run: it fails -->\n```{block}```\n")
        assert reader().read(page) == {}


@pytest.mark.long
def test_any_network(tmp_path: Path, reader: Callable[..., Reader]) -> None:
    printed = "".join(reader().read(ROOT / "docs" / "howto" / "export.md").values())
    assert "CONV_2D" in printed
    printed = "".join(reader().read(ROOT / "docs" / "howto" / "engine.md").values())
    assert "bytes of arena" in printed


@pytest.mark.slow
def test_gates_beside_draws(few_words: Path, tmp_path: Path, reader: Callable[..., Reader]) -> None:
    (tmp_path / "speech").symlink_to(few_words)
    draws = {"search kws_small search.strategy=random": ["search.draws=2", *_ONCE]}
    page = reader(short=False, **draws, **{"search ": [*SHORT, *_UNTIMED]})
    page.read(ROOT / "docs" / "howto" / "dnas.md")
    for name, strategy in {"dnas": "dnas", "draws": "random"}.items():
        check_run(tmp_path / "runs" / name)
        metrics = json.loads((tmp_path / "runs" / name / "metrics.json").read_text())
        assert metrics["search"]["strategy"] == strategy
    assert (tmp_path / "dnas.html").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("page", ["int4", "my-data", "my-board", "sweeps"])
def test_how_tos_on_networks(
    page: str, corpus: Path, tmp_path: Path, reader: Callable[..., Reader]
) -> None:
    (tmp_path / "my_words").symlink_to(corpus)
    printed = reader().read(ROOT / "docs" / "howto" / f"{page}.md")
    assert printed
    for run in tmp_path.glob("runs/**/metrics.json"):
        check_run(run.parent)


def test_spaces_as_they_are_written_down(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "howto" / "my-space.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.S)
    whole = [block for block in blocks if block.startswith("name:")]
    for number, block in enumerate(whole):
        file = tmp_path / f"{number}.yaml"
        file.write_text(block)
        space = load_space(file)
        members = [space] if isinstance(space, Space) else list(space.members())
        assert all(member.decisions for member in members)
    assert len(whole) == 2


@pytest.mark.slow
def test_sensors_over_time(tmp_path: Path, reader: Callable[..., Reader]) -> None:
    recipes = [f"{name}={{epochs: 1, batch_size: 32}}" for name in ("train", "quantize")]
    short = ["search.draws=2", "search.trial={epochs: 1, batch_size: 32}", *recipes]
    page = ROOT / "docs" / "howto" / "series.md"
    printed = "".join(reader(short=False, **{"search ": short}).read(page).values())
    assert "tflm_mismatches 0" in printed
    for run in tmp_path.glob("runs/*/metrics.json"):
        metrics = json.loads(run.read_text())
        assert metrics["tflm_mismatches"] == 0
        assert ("auc" in metrics) == (run.parent.name == "odd")
        told = {name.partition(".")[0] for name in documented("reference/metrics.md")}
        assert {key for key in metrics if not key.endswith("_interval")} <= told


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small world of the examples: questions, models that answer, a judge."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import judge_world

    return judge_world


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.long
def test_the_router(tmp_path: Path, world: Any, reader: Callable[..., Reader]) -> None:
    import router_world

    def scores(question: str) -> dict[str, float]:
        right, asked = world.solve(question), [{"role": "user", "content": question}]
        return {name: float(say(asked) == right) for name, say in router_world.EXPERTS.items()}

    lines(
        tmp_path / "scores.jsonl",
        [
            {"prompt": row["text"], "category": row["category"], "scores": scores(row["text"])}
            for row in world.questions(600, seed=0)
        ],
    )
    page = ROOT / "docs" / "howto" / "router.md"
    printed = "".join(reader().read(page).values())
    table = next(each.text for each in blocks(page) if each.text.startswith("category "))
    assert table in printed
    assert json.loads((tmp_path / "rows.json").read_text())


@pytest.mark.long
def test_the_judge(tmp_path: Path, world: Any, reader: Callable[..., Reader]) -> None:
    questions = world.questions(400, seed=0)
    lines(tmp_path / "questions.jsonl", questions)
    # any of them may be drawn; answers to the others are left over
    answers = [
        {"prompt_id": f"questions-{line}", "model": model, "text": world.answer(model, row["text"])}
        for line, row in enumerate(questions, 1)
        for model in world.MODELS
    ]
    lines(tmp_path / "answers.jsonl", answers)
    with world.judge() as address:
        made = reader(**{"judge run ": [f"judge.base_url={address}"]})
        printed = "".join(made.read(ROOT / "docs" / "howto" / "judge.md").values())
    assert len((tmp_path / "set" / "prompts.jsonl").read_text().splitlines()) == 80
    assert "careful" in printed
    assert (tmp_path / "report.html").stat().st_size > 10_000
