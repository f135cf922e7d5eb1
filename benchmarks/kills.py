"""Kill commands at random moments, cut their newest files short, and see what the next try makes.

``python -m benchmarks.kills [KILLS] [TRUNCATIONS] [SEED] [WORD ...]`` takes an hour; words choose
among the commands, which share kills and truncations. Each row of the table is a command: it ends
either in the bytes of a run that nothing disturbed, or in one line that says what to do, with
everything still there.
"""

import hashlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch

import micronas.export.formats
import micronas.report.write
import micronas.runs.run
import micronas.tasks.keywords.load  # noqa: F401, commands find all of these imported
from micronas import cli
from micronas.files import text_hash
from micronas.judge.manifest import Prompt
from micronas.language.rows import json_lines
from micronas.tasks.keywords.synth import synthesise
from micronas.tflite.writer import to_flatbuffer
from testing.graphs import random_int8_graph

_SEARCH = (
    *("board=stm32f446re", "budget.sram=16 KB", "budget.flash=20 KB", "budget.latency=40 ms"),
    "budget.counts=network",
    *("data.keywords=[yes, no, stop]", "data.silence_fraction=0.3", "data.unknown_fraction=0.3"),
    "search.trial={epochs: 1, batch_size: 16}",
    *("train={epochs: 2, batch_size: 16}", "quantize={epochs: 1, batch_size: 16}"),
)
_DRAWS = ("search.draws=4",)
_STRATEGIES = {
    "halving": _DRAWS,
    "evolution": (*_DRAWS, "search.generations=2"),
    "single_stage": _DRAWS,
    "dnas": (
        *("search.steps=20", "search.warmup=20", "search.batch_size=16"),
        *("search.candidates=4", "search.finalists=1"),
    ),
}
_RUN = ("config.yaml", "architecture.yaml", "model.tflite", "metrics.json")


@dataclass(frozen=True)
class Subject:
    """A command that can be killed, with `{out}` for the folder that it writes."""

    name: str
    command: str
    share: float
    """Of all kills and truncations, where every command is chosen."""
    result: Callable[[Path], str]
    """A digest of what it made in a folder."""
    prepare: Callable[[Path], None] = lambda _: None

    def start(self, out: Path) -> "Running":
        return Running([word.replace("{out}", str(out)) for word in self.command.split("|")])

    def finish(self, out: Path) -> tuple[int, str]:
        process = self.start(out)
        code = process.wait()
        assert code is not None
        return code, process.said()


class Running:
    """A command in a session of its own: a fork, which has what takes seconds to import."""

    def __init__(self, words: list[str]) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.pid = os.fork()
        if not self.pid:
            self._become(words)

    def _become(self, words: list[str]) -> None:
        code = 1
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(self._said.fileno(), 2)
            sys.argv = ["micronas", *words]
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def wait(self, seconds: float = math.inf) -> int | None:
        """Return how it ended; None if it goes on after so long."""
        end = time.monotonic() + seconds
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                return None
            time.sleep(0.005)

    def kill(self) -> None:
        """End it, with all that it started."""
        os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def said(self) -> str:
        self._said.seek(0)
        return self._said.read()


def files(*patterns: str) -> Callable[[Path], str]:
    """Digest of the files of these patterns, names and bytes."""

    def digest(out: Path) -> str:
        found = sorted(path for each in patterns for path in out.glob(each) if path.is_file())
        parts = [f"{path.relative_to(out)} {path.read_bytes().hex()}" for path in found]
        return hashlib.sha256("\n".join([str(len(found)), *parts]).encode()).hexdigest()

    return digest


def verdicts(out: Path) -> str:
    rated = subprocess.run(
        [sys.executable, "-m", "micronas", "judge", "rate", str(out / "run.sqlite"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    return rated.stdout


@contextmanager
def judge() -> Iterator[str]:
    """A judge that answers slowly, and by the two answers alone."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = json.loads(body)["messages"][1]["content"]
            tag = re.search(r"<<([0-9a-f]{16}) PROMPT>>", asked)
            assert tag is not None
            kept = asked.replace(tag[1], "")
            label = ("A>B", "B>A", "A=B")[int(text_hash(kept)[:8], 16) % 3]
            time.sleep(0.05)
            said = {"role": "assistant", "content": f"Verdict {tag[1]}: [[{label}]]"}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            choices = [{"index": 0, "message": said, "finish_reason": "stop"}]
            answer = json.dumps({"choices": choices, "usage": usage}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with suppress(ConnectionError):  # of a process that was killed
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def written(folder: Path, url: str) -> None:
    """Write what the subjects read."""
    words = ("yes", "no", "stop", "tree", "wow")
    synthesise(folder / "speech", words=words, voices=(6, 2, 2), clips_per_voice=1)
    (folder / "net.tflite").write_bytes(to_flatbuffer(random_int8_graph(3, family="ds_cnn")))
    texts = [f"question {number}" for number in range(40)]
    prompts = [
        Prompt(f"p{n}", text, "x", "en", "made", "CC0-1.0", text_hash(text))
        for n, text in enumerate(texts)
    ]
    (folder / "prompts.jsonl").write_bytes(json_lines(vars(each) for each in prompts))
    answers = [
        {"prompt_id": f"p{n}", "model": model, "text": f"answer {n} of {model}"}
        for n in range(len(texts))
        for model in ("base", "good", "bad")
    ]
    (folder / "answers.jsonl").write_bytes(json_lines(answers))
    (folder / "judge.yaml").write_text(
        f"baseline: base\njudge: {{model: j, base_url: {url}, concurrency: 2}}\n"
    )


def subjects(folder: Path) -> list[Subject]:
    speech = f"data.path={folder / 'speech'}"
    search = "|".join(["search", "kws_small", *_SEARCH, speech, "--out", "{out}", "--quiet"])
    strategies = {
        name: "|".join([f"search.strategy={name}", *settings])
        for name, settings in _STRATEGIES.items()
    }
    judged = f"judge|run|{folder}/judge.yaml|--set|{folder}/prompts.jsonl|--answers"
    return [
        *(
            Subject(f"search {name}", f"{search}|{settings}", 0.12, files(*_RUN))
            for name, settings in strategies.items()
        ),
        Subject(
            "sweep",
            search.replace("search|", "sweep|", 1)
            + f"|{strategies['dnas']}|--over|seed=0,1|--workers|2",
            0.12,
            files(*(f"points/*/{name}" for name in _RUN[1:])),
        ),
        Subject(
            "judge",
            f"{judged}|{folder}/answers.jsonl|--out|{{out}}/run.sqlite|--quiet",
            0.11,
            verdicts,
            lambda out: out.mkdir(parents=True, exist_ok=True),
        ),
        Subject(
            "calibrate",
            "calibrate|{out}|--plan|8|--spaces|kws|--sram|256KB|--flash|1MB",
            0.11,
            files("**/*"),
        ),
        *(
            Subject(
                f"export {name}",
                f"export|{folder}/net.tflite|--format|{options}|--out|{{out}}",
                0.06,
                files("**/*"),
            )
            for name, options in (
                ("project", "project"),
                ("engine", "engine"),
                ("engine's project", "project|--engine|micronas"),
            )
        ),
    ]


def killed(subject: Subject, out: Path, moment: float) -> bool:
    """Start the command and kill it, with all that it started; False if it was done before."""
    process = subject.start(out)
    goes_on = process.wait(moment) is None
    if goes_on:
        process.kill()
    return goes_on


def newest(out: Path) -> Path | None:
    found = [path for path in out.rglob("*") if path.is_file() and path.stat().st_size]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)


def judged(subject: Subject, out: Path, expected: str, was: set[str]) -> str:
    """Run the command to its end and say how it ended."""
    code, said = subject.finish(out)
    if code == 0:
        return "same bytes" if subject.result(out) == expected else "OTHER BYTES"
    lines = said.splitlines()
    is_line = code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
    lost = was - {str(path.relative_to(out)) for path in out.rglob("*")}
    print(f"  {subject.name}: {said.strip()[:400]}", flush=True)
    return "one line" if is_line and not lost else "TRACEBACK OR LOSS"


def main() -> None:
    kills, cuts, seed = (
        int(each) for each in (*sys.argv[1:4], *("100", "30", "0")[len(sys.argv) - 1 :])
    )
    torch.set_num_threads(1)
    source = random.Random(seed)
    print(f"{'command':18}{'seconds':>8}{'kills':>7}{'cuts':>6}  ends", flush=True)
    with tempfile.TemporaryDirectory() as name, judge() as url:
        folder = Path(name)
        written(folder, url)
        words = sys.argv[4:] or [""]
        chosen = [s for s in subjects(folder) if any(word in s.name for word in words)]
        whole = sum(each.share for each in chosen)
        for subject in chosen:
            calm, out = folder / "calm" / "made", folder / "disturbed" / "made"
            calm.parent.mkdir(exist_ok=True)
            subject.prepare(calm)
            start = time.monotonic()
            code, said = subject.finish(calm)
            assert code == 0, (subject.name, said)
            seconds, expected = time.monotonic() - start, subject.result(calm)
            ends: Counter[str] = Counter()
            done = {"kill": 0, "cut": 0}
            share = subject.share / whole
            wanted = {"kill": round(kills * share), "cut": round(cuts * share)}
            while done != wanted:
                shutil.rmtree(out, ignore_errors=True)
                subject.prepare(out)
                for _ in range(3):
                    moment = source.uniform(0.1, 0.9) * seconds
                    if done["kill"] < wanted["kill"] or done["cut"] < wanted["cut"]:
                        if not killed(subject, out, moment):
                            break
                        done["kill"] = min(done["kill"] + 1, wanted["kill"])
                        if done["cut"] < wanted["cut"] and (file := newest(out)):
                            os.truncate(file, int(source.random() * file.stat().st_size))
                            done["cut"] += 1
                            break
                was = {str(path.relative_to(out)) for path in out.rglob("*")}
                ends[end := judged(subject, out, expected, was)] += 1
                print(f"  {done['kill']} kills, {done['cut']} cuts: {end}", flush=True)
            told = ", ".join(f"{end} {count}" for end, count in sorted(ends.items()))
            counts = f"{done['kill']:7}{done['cut']:6}"
            print(f"{subject.name:18}{seconds:8.1f}{counts}  {told}", flush=True)
            shutil.rmtree(calm)


if __name__ == "__main__":
    main()
