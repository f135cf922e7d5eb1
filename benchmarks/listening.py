"""False alarms an hour of the detector and of the rule before it, on streams that chose neither.

    python -m benchmarks.listening [--corpus synthetic|recorded] [--network temporal] [--seed 1]
        [--trained [--same]] [--alone | --curves] [--folder FOLDER]
    python -m benchmarks.listening --corpus english|arabic|exchanged --clips CLIPS ...
    python -m benchmarks.listening --table

One network of each corpus is trained, and both rules hear its outputs: TC-ResNet8 as published, or
one of `benchmarks.streaming`, in calls where it streams.
``--trained`` trains the detector's network for listening, as docs/howto/listen.md does, and the
rule before hears the same network of the default training, as many epochs long and without other
channels, as it was; with ``--same`` it hears the detector's network ("both"). Streams are keywords
by themselves between phrases of other words, of held-out voices or speakers in two halves: each
half is judged by what the other half chose, and the two are added.

The rule before averaged three scores every 200 ms and asked for one margin of all labels: as
validation chose it ("margin"), or as suits the judged half itself at the detector's misses there
("margin, at best"; "at fewest misses" where no margin misses as little). Curves are of detectors of
each half for the other, and of margins: the fewest false alarms with at most so many misses of both
halves. Lines of results/listening.jsonl are kept; "no channels" are in the results only, from
before trainings changed channels. Corpora are those of `benchmarks.listening_corpora`.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.listening_corpora import CORPORA
from micronas.errors import DataError
from micronas.runs.ear import Ear
from micronas.runs.marks import assigned, read_marks
from micronas.space.space import Space
from micronas.streaming.events import Detector
from micronas.streaming.thresholds import SHAPES, Heard, Outcome, choose, judge, priced
from micronas.tasks.keywords.streams import MARKS
from micronas.text import percent, table

RESULTS = Path(__file__).with_name("results") / "listening.jsonl"
_NETWORKS = RESULTS.with_name("streaming.jsonl")
_WANTED = (0.03, 0.05, 0.075, 0.1, 0.15, 0.2)
_HOPS = (10, 5)
_MARGINS = range(1, 256)
_TRAINING = (
    *("board=stm32f446re", "train.batch_size=64"),
    "quantize={epochs: 3, learning_rate: 0.0005, warmup: 0.3}",
)
LISTENING = (
    *("data.unknown_fraction=1", "data.phrases=0.5"),
    *("data.time_mask=10", "data.frequency_mask=2", "data.versions=16"),
    *("train.label_smoothing=0.15", "train.weight_decay=0.03"),
)
"""Settings of training for listening, docs/howto/listen.md."""
_SPEED = 0.2
"""Of a synthetic corpus."""
_MADE_UP = 60


def margin_rule(margin: int, ignored: Detector) -> Detector:
    """Return the rule before: a mean of three scores and one margin."""
    limits = tuple(None if each is None else margin for each in ignored.thresholds)
    return Detector(limits, smoothing=3, hop=10)


def heard(run: Path, streams: Path, hop: int) -> tuple[list[Heard], Detector]:
    ear = Ear(run, hop, None)
    marks, _ = assigned(paths := sorted(streams.glob("*.wav")), read_marks(streams / MARKS))
    made = [ear.hear(path, ear.read(path), marks.get(path, ()))[0] for path in paths]
    return made, ear.detector


Swept = list[tuple[Detector, Outcome]]


def fewest(swept: Swept, misses: float) -> tuple[Detector, Outcome] | None:
    """Return the margin with the fewest false alarms of those with so few misses."""
    enough = [pair for pair in swept if pair[1].missed <= misses]
    return min(enough, key=lambda pair: pair[1].false_alarms, default=None)


def compare(
    run: Path, before: Path, halves: Sequence[Path], *, curves: bool
) -> Iterator[dict[str, Any]]:
    """Yield the outcome of each rule, of both halves together; `before` is the margin's network.

    With `curves` that is all but the outcomes of what one half chose for the other.
    """
    hops = _HOPS if before == run else _HOPS[1:]
    by_hop = {hop: [heard(run, half, hop) for half in halves] for hop in hops}
    sides = by_hop[10] if before == run else [heard(before, half, 10) for half in halves]
    usual, rule = [recordings for recordings, _ in sides], sides[0][1]
    (margin,) = {*json.loads((before / "metrics.json").read_text())["decision"]["thresholds"]}
    own = margin_rule(margin, rule)
    yield {"rule": "margin", **_row([judge(own, half) for half in usual])}
    rules = [margin_rule(each, rule) for each in _MARGINS]
    swept: list[Swept] = [[(each, judge(each, half)) for each in rules] for half in usual]
    yield from curves_of(
        {
            "detector": [_row(pair) for pair in transferred(by_hop[5])],
            "margin": [_row([one[1], other[1]]) for one, other in zip(*swept, strict=True)],
        }
    )
    for wanted in () if curves else _WANTED:
        for name, outcomes in detected(by_hop, wanted):
            yield {"rule": name, "wanted": wanted, **_row(outcomes)}
            best = [
                fewest(half, outcome.missed)
                for half, outcome in zip(swept, outcomes[::-1], strict=True)
            ]
            reached = [
                found or fewest(half, min(outcome.missed for _, outcome in half))
                for found, half in zip(best, swept, strict=True)
            ]
            row = _row([found[1] for found in reached if found is not None])
            how = "at fewest misses" if None in best else "at best"
            yield {"rule": f"margin, {how}", "wanted": wanted, "beside": name, **row}


def curves_of(rules: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield each rule's outcome of fewest misses, then its fewest false alarms by misses, among
    them the fewest misses of each other rule."""
    least = {name: min(row["missed"] for row in rows) for name, rows in rules.items()}
    for name, rows in rules.items():
        others = (each for other, each in least.items() if other != name)
        for wanted in (least[name], *_WANTED, *others):
            if enough := [row for row in rows if row["missed"] <= wanted]:
                best = min(enough, key=lambda row: float(row["false_alarms"]))
                yield {"rule": f"{name}, curve", "wanted": wanted, **best}


Sides = list[tuple[list[Heard], Detector]]


def transferred(halves: Sides) -> Iterator[list[Outcome]]:
    """Yield the outcome of each half by thresholds of the other, for each shape and price."""
    sides = [recordings for recordings, _ in halves]
    detector = halves[0][1]
    shaped = [replace(detector, smoothing=each[0], confirm=each[1], gate=0) for each in SHAPES]
    chosen = [[point.detector for each in shaped for point in priced(half, each)] for half in sides]
    for pair in dict.fromkeys(zip(*chosen[::-1], strict=True)):
        yield [judge(rule, half) for rule, half in zip(pair, sides, strict=True)]


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
    """Return both curves of each training, all seeds together, and what was chosen."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    sides: dict[str, Curves] = {}
    for row in rows:
        rule, *kind = row["rule"].split(", ")
        if kind == ["curve"]:
            points = sides.setdefault(row["corpus"], {}).setdefault(rule, {})
            points[row["wanted"] if points else None] = row  # the first has the fewest misses
    curves = []
    for corpus, by_rule in sides.items():
        for wanted in (None, *_WANTED) if "margin" in by_rule else ():
            pair = [by_rule[rule].get(wanted) for rule in ("detector", "margin")]
            alarms = [each["false_alarms_per_hour"] for each in pair if each]
            if not alarms:
                continue
            curves.append(
                (
                    corpus,
                    "fewest" if wanted is None else percent(wanted),
                    *(cell for each in pair for cell in _cells(each)),
                    _share(*alarms) if len(alarms) == 2 and wanted else "",
                )
            )
    both = ("misses", "an hour", "before: misses", "an hour", "share")
    chosen = [
        (
            row["corpus"],
            percent(row["wanted"]) if "wanted" in row else "",
            row["rule"] + (f" beside {row['beside']}" if "beside" in row else ""),
            *_cells(row),
        )
        for row in rows
        if not row["rule"].endswith("curve")
    ]
    return "\n\n".join(
        [
            table(("corpus", "misses at most", *both), curves),
            table(("all seeds", "misses at most", "an hour", "before", "share"), together(sides)),
            table(("corpus", "wanted misses", "rule", "misses", "false alarms an hour"), chosen),
        ]
    )


Curves = dict[str, dict[float | None, dict[str, Any]]]


def together(sides: dict[str, Curves]) -> list[tuple[str, ...]]:
    """Return a row of each training of several seeds, for each number of misses.

    False alarms an hour are the sums over seeds, the fewest with at most so many misses. Where a
    rule misses more at least, both count with at most as many as these.
    """
    seeds: dict[str, list[Curves]] = {}
    for corpus, by_rule in sides.items():
        if "margin" in by_rule:
            seeds.setdefault(re.sub("seed [0-9]+, ", "", corpus), []).append(by_rule)
    found = []
    for name, group in seeds.items():
        for wanted in (0.05, 0.1, 0.2) if len(group) > 1 else ():
            alarms = np.zeros(2)
            for by_rule in group:
                pair = by_rule["detector"], by_rule["margin"]
                most = max(wanted, *(rows[None]["missed"] for rows in pair))
                alarms += [
                    min(r["false_alarms_per_hour"] for r in rows.values() if r["missed"] <= most)
                    for rows in pair
                ]
            figures = (*(f"{each:.0f}" for each in alarms), _share(*alarms))
            found.append((name, percent(wanted), *figures))
    return found


def _share(alarms: float, before: float) -> str:
    return f"{alarms / before:.2f}" if before else ""


def _cells(row: dict[str, Any] | None) -> tuple[str, str]:
    return (percent(row["missed"]), f"{row['false_alarms_per_hour']:.0f}") if row else ("", "")


def trained(
    network: Space, corpus: Path, run: Path, settings: Sequence[str], seed: int
) -> dict[str, Any]:
    """Train a network where it is not there; return its metrics."""
    if not (run / "metrics.json").exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        network.save(saved := run.parent / f"{run.name}.yaml")
        command = ["train", str(saved), f"data.path={corpus}", *_TRAINING, *settings]
        command += ["engine=micronas"] if network.streaming else []
        command += [f"seed={seed}", "--out", str(run), "--quiet"]
        subprocess.run([sys.executable, "-m", "micronas", *command], check=True)
    return json.loads((run / "metrics.json").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", choices=CORPORA, default="synthetic")
    parser.add_argument("--clips", type=Path, help="of arabic, exchanged and english")
    parser.add_argument("--folder", type=Path, default=Path("runs/listening"))
    parser.add_argument("--network", default="tc_resnet8")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--trained", action="store_true", help="trained for listening")
    parser.add_argument("--same", action="store_true", help="both rules hear that training")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--alone", action="store_true", help="the detector's curve alone")
    parser.add_argument("--curves", action="store_true", help="both curves alone")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        make, keywords = CORPORA[given.corpus]
        given.folder.mkdir(parents=True, exist_ok=True)
        network = architecture(given.network)
        name = f"{given.corpus}, {given.network}, seed {given.seed}"
        runs, epochs = [], f"train.epochs={given.epochs}"
        both = given.trained and not (given.alone or given.same)
        for is_new in (True, False) if both else (given.trained,):
            made_up, settings, kind = 0, [epochs], ""
            if keywords:
                settings.append(f"data.keywords=[{', '.join(keywords)}]")
            if is_new:
                made_up, kind = _MADE_UP, ", for listening"
                speed = _SPEED if given.corpus == "synthetic" else 0.0
                settings += [*LISTENING, f"data.speed={speed}"]
            else:
                settings.append("data.channel=0")
            corpus, halves = make(given, made_up)
            told = f"{name}, {given.epochs} epochs{kind}"
            run = given.folder / re.sub("[^a-z0-9.]+", "_", told)
            metrics = trained(network, corpus, run, settings, given.seed)
            runs.append((run, told, metrics["int8_accuracy"]))
        (run, told, int8), (before, *_) = runs[0], runs[-1]
        told += ", both" if given.same else ""
        kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        kept = [line for line in kept if json.loads(line)["corpus"] != told]
        if given.alone:
            pairs = transferred([heard(run, half, 5) for half in halves])
            rows = curves_of({"detector": [_row(pair) for pair in pairs]})
        else:
            rows = compare(run, before, halves, curves=given.curves)
        known = {"corpus": told, "minutes": given.minutes, "int8": int8}
        new = [json.dumps({**known, **row}) for row in rows]
        RESULTS.write_text("\n".join([*kept, *new]) + "\n")
    print(printed())


if __name__ == "__main__":
    main()
