"""False alarms an hour of the detector and of the rule before it, on streams that chose neither.

    python -m benchmarks.listening [--corpus synthetic|recorded] [--network temporal]
        [--unknown 1] [--phrases 0.5] [--alone] [--folder FOLDER]
    python -m benchmarks.listening --table

One network of each corpus is trained, and both rules hear its outputs: TC-ResNet8 as published, or
one of `benchmarks.streaming`, in calls where it streams. Training is the default's but for epochs,
or with more other words and with phrases (`data.unknown_fraction`, `data.phrases`).
Streams are keywords by themselves between phrases of other words, of held-out voices or speakers in
two halves: each half is judged by what the other half chose, and the two are added. ``recorded`` is
the Arabic corpus of `MICRONAS_DATA`, whose validation speakers are the halves. The rule before
averaged three scores every 200 ms and asked for one margin of all labels: as validation chose it
("margin"), as the other half chose it for the wanted misses ("margin, chosen"), or as suits the
judged half itself at the detector's misses there ("margin, at best"). Lines of
results/listening.jsonl are kept.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from micronas.errors import DataError
from micronas.runs.ear import Ear
from micronas.runs.marks import assigned, read_marks
from micronas.space.space import Space
from micronas.streaming.events import Detector
from micronas.streaming.thresholds import Heard, Outcome, choose, judge
from micronas.tasks.keywords.streams import MARKS, Spoken, synthesise_streams, write_streams
from micronas.tasks.keywords.synth import synthesise
from micronas.tasks.waveform import read_samples
from micronas.text import percent, table

RESULTS = Path(__file__).with_name("results") / "listening.jsonl"
_NETWORKS = RESULTS.with_name("streaming.jsonl")
_WANTED = (0.05, 0.1, 0.15, 0.2)
_HOPS = (10, 5)
_MARGINS = range(1, 256)
_TRAINING = (
    *("board=stm32f446re", "train.epochs=20", "train.batch_size=64"),
    *("quantize.epochs=3", "quantize.learning_rate=0.0005"),
)


def margin_rule(margin: int, ignored: Detector) -> Detector:
    """Return the rule before: a mean of three scores and one margin."""
    limits = tuple(None if each is None else margin for each in ignored.thresholds)
    return Detector(limits, smoothing=3, hop=10)


def recorded(folder: Path, minutes: float) -> tuple[Path, list[Path]]:
    """Unpack the Arabic corpus; write streams of three validation speakers each."""
    corpus = folder / "speech_commands_ar"
    if not corpus.exists():
        with tarfile.open(Path(os.environ["MICRONAS_DATA"]) / "tinyml/kws_ar.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    names = (corpus / "validation_list.txt").read_text().split("\n")
    clips = [corpus / name for name in names if name]
    speakers = sorted({clip.stem.split("_")[0] for clip in clips})
    counts = {
        word: sum(c.parent.name == word for c in clips) for word in {c.parent.name for c in clips}
    }
    keywords = sorted(sorted(counts, key=lambda word: -counts[word])[:10])
    halves = []
    for number, own in enumerate((speakers[::2], speakers[1::2])):
        half = folder / f"recorded_{minutes:g}_{number}"
        if not half.exists():
            generator = np.random.default_rng(number)
            mine = [clip for clip in clips if clip.stem.split("_")[0] in own]
            write_streams(half, _said(mine, keywords, generator), minutes, generator)
        halves.append(half)
    return corpus, halves


def _said(
    clips: Sequence[Path], keywords: Sequence[str], generator: np.random.Generator
) -> Iterator[Spoken]:
    """Yield keywords by themselves and phrases of other words, as often, each of one speaker."""
    kinds = [
        [c for c in clips if (c.parent.name in keywords) == is_one] for is_one in (True, False)
    ]
    while True:
        kind = kinds[int(generator.random() < 0.5)]
        first = kind[generator.integers(len(kind))]
        own = [c for c in kind if c.stem.split("_")[0] == first.stem.split("_")[0]]
        count = 1 if kind is kinds[0] else int(generator.integers(3, 13))
        for place in range(count):
            clip = own[generator.integers(len(own))]
            yield Spoken(clip.parent.name, read_samples(clip) / 32768.0, place == count - 1)


def synthetic(folder: Path, minutes: float) -> tuple[Path, list[Path]]:
    streams = synthesise_streams(folder / f"streams_{minutes:g}", minutes=minutes)
    return synthesise(folder / "speech"), [streams / part for part in ("validation", "testing")]


def heard(run: Path, streams: Path, hop: int) -> tuple[list[Heard], Detector]:
    ear = Ear(run, hop, None)
    marks, _ = assigned(paths := sorted(streams.glob("*.wav")), read_marks(streams / MARKS))
    return [ear.hear(path, marks.get(path, ()))[0] for path in paths], ear.detector


Swept = list[tuple[Detector, Outcome]]


def fewest(swept: Swept, misses: float) -> tuple[Detector, Outcome] | None:
    """Return the margin with the fewest false alarms of those with so few misses."""
    enough = [pair for pair in swept if pair[1].missed <= misses]
    return min(enough, key=lambda pair: pair[1].false_alarms, default=None)


def compare(run: Path, halves: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each rule, of both halves together."""
    by_hop = {hop: [heard(run, half, hop) for half in halves] for hop in _HOPS}
    usual = [recordings for recordings, _ in by_hop[10]]
    rule = by_hop[10][0][1]
    (margin,) = {*json.loads((run / "metrics.json").read_text())["decision"]["thresholds"]}
    own = margin_rule(margin, rule)
    yield {"rule": "margin", **_row([judge(own, half) for half in usual])}
    rules = [margin_rule(each, rule) for each in _MARGINS]
    swept: list[Swept] = [[(each, judge(each, half)) for each in rules] for half in usual]
    for wanted in _WANTED:
        chosen = [fewest(half, wanted) for half in swept]
        if None not in chosen:
            one, other = (each[0] for each in chosen if each is not None)
            outcomes = [judge(one, usual[1]), judge(other, usual[0])]
            yield {"rule": "margin, chosen", "wanted": wanted, **_row(outcomes)}
        for name, outcomes in detected(by_hop, wanted):
            yield {"rule": name, "wanted": wanted, **_row(outcomes)}
            best = [
                fewest(half, outcome.missed)
                for half, outcome in zip(swept, outcomes[::-1], strict=True)
            ]
            if None not in best:
                row = _row([each[1] for each in best if each is not None])
                yield {"rule": "margin, at best", "wanted": wanted, "beside": name, **row}


Sides = list[tuple[list[Heard], Detector]]


def detected(by_hop: dict[int, Sides], wanted: float) -> Iterator[tuple[str, list[Outcome]]]:
    """Yield the outcome of each half by the detector that the other one chose, by hop."""
    for hop, halves in by_hop.items():
        sides = [recordings for recordings, _ in halves]
        detector = replace(halves[0][1], gate=0)
        try:
            made = [choose(half, detector, misses=wanted).detector for half in sides]
        except DataError:
            continue
        outcomes = [judge(made[0], sides[1]), judge(made[1], sides[0])]
        yield f"detector, every {20 * hop} ms", outcomes


def alone(run: Path, halves: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the outcome of the detector every 100 ms."""
    by_hop = {5: [heard(run, half, 5) for half in halves]}
    for wanted in _WANTED:
        for name, outcomes in detected(by_hop, wanted):
            yield {"rule": name, "wanted": wanted, **_row(outcomes)}


def _row(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    total = outcomes[0] + outcomes[1]
    return {
        "occurrences": total.occurrences,
        "missed": total.missed,
        "false_alarms": total.false_alarms,
        "false_alarms_per_hour": total.per_hour,
    }


def architecture(name: str, classes: int = 12) -> Space:
    """Return a network of `benchmarks.streaming`, or one that is shipped."""
    lines = map(json.loads, _NETWORKS.read_text().splitlines())
    known = {line["network"]: line["description"] for line in lines}
    if name not in known:
        return Space.load(f"textbook/{name}")
    return Space.model_validate({**known[name], "classes": classes})


def printed() -> str:
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    header = ("corpus", "wanted misses", "rule", "misses", "false alarms an hour")
    return table(
        header,
        [
            (
                row["corpus"],
                percent(row["wanted"]) if "wanted" in row else "",
                row["rule"] + (f" beside {row['beside']}" if "beside" in row else ""),
                percent(row["missed"]),
                f"{row['false_alarms_per_hour']:.0f}",
            )
            for row in rows
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", choices=("synthetic", "recorded"), default="synthetic")
    parser.add_argument("--folder", type=Path, default=Path("runs/listening"))
    parser.add_argument("--network", default="tc_resnet8")
    parser.add_argument("--unknown", type=float)
    parser.add_argument("--phrases", type=float)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--alone", action="store_true", help="the detector every 100 ms alone")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        given.folder.mkdir(parents=True, exist_ok=True)
        make = synthetic if given.corpus == "synthetic" else recorded
        corpus, halves = make(given.folder, given.minutes)
        name, settings = given.corpus, [f"data.path={corpus}"]
        network = architecture(given.network)
        if given.network != "tc_resnet8":
            name += f", {given.network}"
        if network.streaming:
            settings.append("engine=micronas")
        if given.unknown is not None:
            name += f", unknown {given.unknown:g}"
            settings.append(f"data.unknown_fraction={given.unknown:g}")
        if given.phrases is not None:
            name += f", phrases {given.phrases:g}"
            settings.append(f"data.phrases={given.phrases:g}")
        run = given.folder / f"run_{re.sub('[^a-z0-9.]+', '_', name)}"
        network.save(given.folder / "network.yaml")
        command = ["train", str(given.folder / "network.yaml"), *settings, *_TRAINING]
        command = [sys.executable, "-m", "micronas", *command, "--out", str(run), "--quiet"]
        if not (run / "metrics.json").exists():
            subprocess.run(command, check=True)
        kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        kept = [line for line in kept if json.loads(line)["corpus"] != name]
        rows = (alone if given.alone else compare)(run, halves)
        int8 = json.loads((run / "metrics.json").read_text())["int8_accuracy"]
        known = {"corpus": name, "minutes": given.minutes, "int8": int8}
        new = [json.dumps({**known, **row}) for row in rows]
        RESULTS.write_text("\n".join([*kept, *new]) + "\n")
    print(printed())


if __name__ == "__main__":
    main()
