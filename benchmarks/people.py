"""Data as people have it: found networks beside the textbook's and plain classifiers.

    pip install --no-deps seglearn aeon     # they ship recordings: nothing of them is imported
    python -m benchmarks.people RESULTS.jsonl --bearings cwru_1797.npz --objects cifar10/train \
        --persons vww_coco96/train --words CLIPS [--sets watch motions] [--seeds 0 1 2] [--augment]
    python -m benchmarks.people RESULTS.jsonl --table

RESULTS gets a line for each set and seed; what is there is not done again.

watch      six axes of a smartwatch at 50 Hz, seven shoulder exercises, ten people, of whom none is
           in two parts (D. Burns et al., arXiv 1802.01489; in seglearn, BSD licence)
motions    six axes of a smartwatch at 10 Hz, four activities of four people, in its own halves
           (BasicMotions of the UEA archive; in aeon, BSD licence)
vowels     twelve LPC cepstra of nine speakers' vowels, who is to be told, in its own parts
           (JapaneseVowels of the UEA archive; in aeon)
bearings   vibration of the Case Western Reserve University's drive end at 1,797 rpm, healthy and
           ten faults, one record each, of which the first 2.5 s are read; parts are cut along time
objects    ten classes of CIFAR-10, 120 pictures each, 32x32 in colour
persons    whether a picture shows a person: MLPerf Tiny's 820 crops of COCO, 48x48 and gray
words      ten English words, others and silence: seven tenths of the speakers of the test set of
           Speech Commands v2 (see `benchmarks.english`), by their hashes, a fifth of them to test

``found`` is what a search finds, ``textbook`` the textbook network that did best in its trials,
trained for as many epochs as trials and training took together. ``forest`` (300 trees) and
``linear`` read features in floating point, without a budget: of series statistics and band
energies, of pictures those of the plain rival, and none of words. A seed is that of draws, trials
and trainings, and of parts where these are not by names. ``--augment`` trains the textbook network
of each set of pictures anew under one augmentation after the other, for as many epochs as the found
one.
"""

import argparse
import hashlib
import importlib.util
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import series
from benchmarks.clock import cpu_seconds
from benchmarks.rows import append, read
from micronas.data import Split
from micronas.objectives.intervals import student
from micronas.runs.run import run_search, run_training
from micronas.runs.settings import load_run
from micronas.space.space import Space
from micronas.tasks.images.statistics import statistics
from micronas.tasks.keywords.folder import NOISE_FOLDER
from micronas.tasks.registry import load
from micronas.text import table


def effort(trial: int, train: int) -> tuple[str, ...]:
    """Return settings of so many epochs."""
    return (
        "search.draws=4",
        f"search.trial={{epochs: {trial}, batch_size: 32}}",
        f"train={{epochs: {train}, batch_size: 32}}",
        "quantize={epochs: 2, batch_size: 32, learning_rate: 0.0005, warmup: 0.1}",
    )


SERIES = (*series.BUDGET, *effort(6, 20))
PICTURES = (
    "board=stm32f446re",
    "budget.counts=network",
    "budget.sram=32 KB",
    "budget.flash=128 KB",
    "budget.latency=20 ms",
    *effort(8, 60),
)
WORDS = (
    "board=stm32f446re",
    "budget.counts=network",
    "budget.sram=24 KB",
    "budget.latency=60 ms",
    "search.trial={epochs: 12, batch_size: 32}",
    "train={epochs: 60, batch_size: 32}",
    "quantize={epochs: 4, batch_size: 32, learning_rate: 0.0005, warmup: 0.1}",
)
AUGMENTATIONS = (
    (),
    ("flip",),
    ("flip", "crop"),
    ("flip", "crop", "colour"),
    ("flip", "crop", "colour", "cutmix"),
)
ARMS = ("found", "textbook", "forest", "linear")
_OBJECTS = 120
"""Pictures of a class."""
_READINGS = 30_000
"""Readings of a record."""
_HELD = 3
"""Tenths of the speakers that are left out."""
_LISTS = (*["training"] * 6, *["validation"] * 2, *["testing"] * 2)

Features = npt.NDArray[np.float64]
Row = dict[str, Any]


class Kind(NamedTuple):
    """A set: its space, settings of a run, and the features of classifiers."""

    space: str
    settings: list[str]
    features: Callable[[Split], Features] | None
    """Of classifiers; None for no such rivals."""


def shipped(package: str, file: str) -> Path:
    """Return a file of a package that is installed, but need not work."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, f"pip install --no-deps {package}"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / file


def write_series(path: Path, names: list[str], values: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, values, "%.6g", ",", header=",".join(names), comments="")


def archived(name: str, part: str) -> Iterator[tuple[npt.NDArray[Any], str]]:
    """Yield values [time, axes] and labels of a set of the UEA archive, of those in aeon."""
    text = shipped("aeon", f"datasets/data/{name}/{name}{part}.ts").read_text(encoding="utf-8")
    for line in text.split("@data")[1].split():
        *axes, label = line.split(":")
        yield np.array([[float(value) for value in axis.split(",")] for axis in axes]).T, label


def watch(given: argparse.Namespace, folder: Path) -> Kind:
    return Kind("series", [*SERIES, *series.watch(folder), *series.WORN], series.features)


def motions(given: argparse.Namespace, folder: Path) -> Kind:
    names = ["ax", "ay", "az", "gx", "gy", "gz"]
    for part, place in (("TRAIN", "train"), ("TEST", "test")):
        for number, (axes, label) in enumerate(archived("BasicMotions", f"_{part}")):
            write_series(folder / place / label / f"{number:02}.csv", names, axes)
    return Kind(
        "series",
        [*SERIES, f"data.path={folder}", "data.window=64", "data.stride=12", *series.WORN],
        series.features,
    )


def vowels(given: argparse.Namespace, folder: Path) -> Kind:
    names = [f"lpc{number}" for number in range(1, 13)]
    for part, place in (("TRAIN", "train"), ("TEST", "test")):
        for number, (axes, label) in enumerate(archived("JapaneseVowels", f"_eq_{part}")):
            write_series(folder / place / f"s{label}" / f"{number:03}.csv", names, axes)
    return Kind("series", [*SERIES, f"data.path={folder}", "data.window=25"], series.features)


def bearings(given: argparse.Namespace, folder: Path) -> Kind:
    path = folder.with_suffix(".npz")
    with np.load(given.bearings) as records:
        np.savez(path, **{name: records[name][:_READINGS] for name in records})
    settings = [f"data.path={path}", "data.window=256", "data.stride=256"]
    return Kind("series", [*SERIES, *settings], series.features)


def objects(given: argparse.Namespace, folder: Path) -> Kind:
    for kind in sorted(given.objects.iterdir()):
        (folder / kind.name).mkdir(parents=True)
        for file in sorted(kind.iterdir())[:_OBJECTS]:
            (folder / kind.name / file.name).symlink_to(file.resolve())
    settings = [f"data.path={folder}", "data.size=32", "data.color=rgb"]
    return Kind("images_open", [*PICTURES, *settings, "data.test_fraction=0.3"], of_pictures)


def persons(given: argparse.Namespace, folder: Path) -> Kind:
    settings = [f"data.path={given.persons}", "data.size=48", "data.color=gray"]
    return Kind("images_open", [*PICTURES, *settings, "data.test_fraction=0.3"], of_pictures)


def words(given: argparse.Namespace, folder: Path) -> Kind:
    lists = defaultdict[str, list[str]](list)
    for file in sorted(given.words.glob("*/*.wav")):
        word, name = file.parent.name, file.name.removesuffix(".wav").removesuffix(".wav")
        if word == "_silence_":
            word = NOISE_FOLDER
        elif word == "_unknown_":
            word, _, name = name.partition("_")
        if word != NOISE_FOLDER:
            number = int(hashlib.sha256(name.partition("_")[0].encode()).hexdigest()[:8], 16)
            if number % 10 < _HELD:
                continue
            lists[_LISTS[number // 10 % 10]].append(f"{word}/{name}.wav")
        (folder / word).mkdir(parents=True, exist_ok=True)
        (folder / word / f"{name}.wav").symlink_to(file.resolve())
    for name, clips in lists.items():
        (folder / f"{name}_list.txt").write_text("\n".join(clips), encoding="utf-8")
    return Kind("kws_open", [*WORDS, f"data.path={folder}", "data.cache=off"], None)


SETS = {each.__name__: each for each in (motions, vowels, watch, bearings, persons, objects, words)}


def of_pictures(split: Split) -> Features:
    found = statistics(split.batch(torch.arange(len(split.labels)), None))
    return found.numpy().astype(np.float64)


def seeded(kind: Kind, seed: int) -> list[str]:
    """Return settings of a seed; pictures have one division into parts, by their names."""
    of_parts = [f"data.seed={seed}"] if kind.space == "series" else []
    return [f"seed={seed}", *of_parts]


def compared(name: str, kind: Kind, seed: int, folder: Path) -> Row:
    """Return one line of the table."""
    settings = load_run(kind.space, [*kind.settings, *seeded(kind, seed)])
    data, start = load(settings.data), cpu_seconds()
    result, found = run_search(settings, folder / "found", progress=quiet, data=data)
    searched = cpu_seconds() - start
    epochs = settings.train.epochs + result.epochs
    recipe = settings.train.model_copy(update={"epochs": epochs})
    alike = settings.for_training().model_copy(update={"train": recipe})
    rival = next(each for each in result.candidates if each.origin == "textbook")
    start, shape = cpu_seconds(), rival.architecture
    assert isinstance(shape, Space)
    trained = run_training(shape, alike, folder / "textbook", progress=quiet, data=data)
    row: Row = {
        "set": name,
        "seed": seed,
        "cpu_s": round(searched),
        "textbook_cpu_s": round(cpu_seconds() - start),
        "epochs": epochs,
        "winner": result.winner.origin,
        "network": str(result.winner),
        "rival": str(rival),
        "shape": shape.model_dump(mode="json"),
        "test": found.metrics["judged_examples"],
    }
    for arm, each in (("found", found), ("textbook", trained)):
        metrics = each.metrics
        row[arm] = round(100 * metrics["int8_accuracy"], 1)
        row |= {f"{arm}_{key}": metrics[key] for key in ("latency_ms", "tflm_mismatches", "fits")}
        row[f"{arm}_rounding"] = metrics["rounding"]
    told = {key: found.metrics[key] for key in ("plain", "forest") if key in found.metrics}
    plain = series.on_features(data, seed, kind.features) if kind.features else {}
    return row | {"told": told} | plain


def augmented(row: Row, kind: Kind, names: tuple[str, ...], folder: Path) -> Row:
    """Return one line of the table of augmentations."""
    boxes = [f"{section}.cutmix_from=1" for section in ("train", "quantize")]
    given = [*seeded(kind, row["seed"]), *boxes, f"data.augment={[*names]}"]
    settings = load_run(kind.space, [*kind.settings, *given]).for_training()
    shape = Space.model_validate(row["shape"])
    trained = run_training(shape, settings, folder, progress=quiet, data=load(settings.data))
    accuracy = round(100 * trained.metrics["int8_accuracy"], 1)
    return {"set": row["set"], "seed": row["seed"], "augment": [*names], "accuracy": accuracy}


def quiet(*_: object) -> None:
    """Progress that nobody watches."""


def work(given: argparse.Namespace) -> Iterator[Row]:
    """Compute what RESULTS lacks, all sets of a seed before the next."""
    done = read(given.results)
    with TemporaryDirectory() as name:
        folder = Path(name)
        kinds = {each: SETS[each](given, folder / each) for each in given.sets}
        for seed in given.seeds:
            for each, kind in kinds.items():
                place = folder / f"{each}{seed}"
                mine = [row for row in done if (row["set"], row["seed"]) == (each, seed)]
                row = next((row for row in mine if "found" in row), None)
                if row is None:
                    row = compared(each, kind, seed, place)
                    yield row
                if not given.augment or kind.features is not of_pictures:
                    continue
                for names in AUGMENTATIONS:
                    if not any(other.get("augment") == [*names] for other in mine):
                        yield augmented(row, kind, names, place / ("-".join(names) or "none"))


def tables(rows: list[Row]) -> str:
    """Return the comparison by set, and that of augmentations."""
    comparison, augmentation = [], []
    for name in SETS:
        mine = [row for row in rows if row["set"] == name and "found" in row]
        if not mine:
            continue
        arms = [arm for arm in ARMS if arm in mine[0]]
        means = {arm: fmean(row[arm] for row in mine) for arm in arms}
        best = max(arms[1:], key=lambda arm: means[arm])
        ahead = [row["found"] - row[best] for row in mine]
        half = ""
        if len(ahead) > 2:
            deviation = float(np.std(ahead, ddof=1))
            half = f" +- {student(len(ahead) - 1) * deviation / len(ahead) ** 0.5:.1f}"
        comparison.append(
            [
                f"`{name}`",
                str(len(mine)),
                f"{fmean(row['test'] for row in mine):.0f}",
                f"{fmean(row['epochs'] for row in mine):.0f}",
                *(f"{means[arm]:.1f}" if arm in means else "" for arm in ARMS),
                f"{fmean(ahead):+.1f}{half} ({best})",
                f"{fmean(row['cpu_s'] for row in mine):.0f}, "
                f"{fmean(row['textbook_cpu_s'] for row in mine):.0f}",
            ]
        )
    for name in SETS:
        mine = [row for row in rows if row["set"] == name and "augment" in row]
        if mine:
            cells = [
                [row["accuracy"] for row in mine if row["augment"] == [*names]]
                for names in AUGMENTATIONS
            ]
            shown = (f"{fmean(each):.1f} ({len(each)})" if each else "" for each in cells)
            augmentation.append([f"`{name}`", *shown])
    header = ["set", "seeds", "test", "epochs", *ARMS, "found against the best other", "CPU s"]
    parts = [table(header, comparison)]
    if augmentation:
        columns = ["none", "flip", "+ crop", "+ colour", "+ cutmix"]
        parts.append(table(["set", *columns], augmentation))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--bearings", type=Path, help="an .npz with one array per class")
    parser.add_argument("--objects", type=Path, help="a folder of pictures per class")
    parser.add_argument("--persons", type=Path, help="a folder of pictures per class")
    parser.add_argument("--words", type=Path, help="the test set of Speech Commands v2")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--augment", action="store_true")
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table:
        print(tables(read(given.results)))
        return
    for row in work(given):
        append(given.results, row)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
