"""How a corpus that does not fit into memory is read and trained on, as it grows.

    python -m benchmarks.scale FOLDER [--kind kws] [--counts 10000 40000 85000] [--small 5000]

FOLDER gets a made corpus of each size: noises of 30 kinds as one-second clips (kws), or noises of
two kinds as JPEG pictures of 96x96 (vww); what is there already is kept. For each size, in a
process of its own: seconds of the first start, which decodes and caches, and of the second; the
largest anonymous memory over that of the imports (what is mapped from a file the system may drop),
and with the mapped pages; training steps a second against the small corpus, in alternation; and
seconds of a search with strategy auto: `STEPS` supernet steps or two draws, trials of about `TRIAL`
steps or one epoch.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from micronas.tasks.registry import find, load
from micronas.text import table

KINDS = {"kws": 30, "vww": 2}
SPACES = {"kws": "kws_small", "vww": "vww_small"}
BATCH, BLOCK, BLOCKS = 64, 40, 7
STEPS, TRIAL, FINALISTS = 40, 100, 2
RATE, SIDE = 16_000, 96


def make(kind: str, folder: Path, count: int) -> None:
    """Write `count` examples in folders by class; a loud band of noise tells classes apart."""
    done = folder / "done"
    if done.is_file():
        return
    source = np.random.default_rng(0)
    for number in range(count):
        label, speaker = number % KINDS[kind], number // KINDS[kind]
        name = f"{'non_person' if label else 'person'}" if kind == "vww" else f"word{label:02}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        if kind == "kws":
            _clip(folder / name / f"{speaker:08x}_nohash_0.wav", label, source)
        else:
            _picture(folder / name / f"{speaker:06}.jpg", label, source)
    done.touch()


def _clip(path: Path, label: int, source: np.random.Generator) -> None:
    import soundfile

    times = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * (200 + 100 * label) * times + source.uniform(0, 6))
    noise = source.standard_normal(RATE, dtype=np.float32)
    samples = np.clip(2000 * (tone + noise), -32768, 32767).astype(np.int16)
    soundfile.write(path, samples, RATE, subtype="PCM_16")


def _picture(path: Path, label: int, source: np.random.Generator) -> None:
    from PIL import Image

    coarse = source.integers(0, 256, (6 + 18 * label,) * 2, dtype=np.uint8)
    Image.fromarray(coarse).resize((SIDE, SIDE)).save(path, quality=80)


def measure(kind: str, folder: Path, small: Path) -> dict[str, float]:
    """Measure one corpus in this process, whose second start is measured in another."""
    import torch

    from micronas.data import Subset
    from micronas.hardware.board import Board
    from micronas.hardware.costs import Budget
    from micronas.nas.search import search
    from micronas.nas.settings import DnasSettings
    from micronas.space.space import Space
    from micronas.train.loop import fit, generator_for
    from micronas.train.recipe import Recipe

    torch.set_num_threads(1)
    before = _memory("RssAnon")
    with _largest() as peaks:
        start = time.perf_counter()
        data = load(_settings(kind, folder))
        started = time.perf_counter() - start
        space = Space.load(SPACES[kind])
        space = space.model_copy(update={"classes": len(data.classes), "input": data.input})
        others = load(_settings(kind, small)).train, data.train
        network = space.architecture(space.uniform(0.5)).build(generator_for(0, "scale"))
        seconds: list[list[float]] = [[], []]
        for block in range(BLOCKS):
            for place, split in enumerate(others):
                index = torch.randperm(len(split.labels), generator=generator_for(block, place))
                some = Subset(split, index[: BLOCK * BATCH])
                start = time.perf_counter()
                fit(network, some, Recipe(epochs=1, batch_size=BATCH), seed=block)
                seconds[place].append(time.perf_counter() - start)
        epochs = max(1, round(TRIAL * BATCH / len(data.train.labels)))
        start = time.perf_counter()
        search(
            space,
            data,
            board=Board.load("stm32f746zg"),
            budget=Budget(macs="3 MMACs"),
            settings=DnasSettings(
                steps=STEPS,
                warmup=STEPS,
                candidates=4,
                finalists=FINALISTS,
                trial=Recipe(epochs=epochs, batch_size=BATCH),
            ),
        )
        searched = time.perf_counter() - start
    return {
        "start": started,
        "anonymous": peaks["RssAnon"] - before,
        "resident": peaks["VmRSS"] - before,
        "ratio": median(a / b for a, b in zip(*seconds, strict=True)),
        "search": searched,
    }


def _settings(kind: str, folder: Path) -> Any:
    given: dict[str, Any] = {"path": folder, "cache": folder / ".micronas"}
    if kind == "kws":
        given["keywords"] = tuple(f"word{number:02}" for number in range(20))
    return find(kind).settings.model_validate(given)


@contextmanager
def _largest() -> Iterator[dict[str, float]]:
    """Sample this process's memory, in MB, until the end."""
    peaks, done = {"RssAnon": 0.0, "VmRSS": 0.0}, threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            for name in peaks:
                peaks[name] = max(peaks[name], _memory(name))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    yield peaks
    done.set()
    watcher.join()


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=KINDS, default="kws")
    parser.add_argument("--counts", nargs="+", type=int, default=[10_000, 40_000, 85_000])
    parser.add_argument("--small", type=int, default=5_000)
    parser.add_argument("--one", type=Path, help="measure this corpus alone, as JSON")
    arguments = parser.parse_args()
    kind, small = arguments.kind, arguments.folder / f"{arguments.kind}-{arguments.small}"
    if arguments.one:
        print(json.dumps(measure(kind, arguments.one, small)))
        return
    make(kind, small, arguments.small)
    rows = []
    for count in arguments.counts:
        corpus = arguments.folder / f"{kind}-{count}"
        make(kind, corpus, count)
        command = [sys.executable, "-m", "benchmarks.scale", arguments.folder, "--kind", kind]
        command += ["--small", arguments.small, "--one", corpus]
        first, second = (
            json.loads(subprocess.run(list(map(str, command)), check=True, stdout=-1).stdout)
            for _ in range(2)
        )
        rows.append(
            [
                f"{count:,}",
                f"{first['start']:.1f}",
                f"{second['start']:.1f}",
                f"{max(first['anonymous'], second['anonymous']):.0f}",
                f"{max(first['resident'], second['resident']):.0f}",
                f"{second['ratio']:.2f}",
                f"{second['search']:.0f}",
            ]
        )
    header = ["examples", "first start, s", "second, s", "anonymous, MB", "with mapped, MB"]
    print(table([*header, "steps a second, ratio to small", "search, s"], rows))


if __name__ == "__main__":
    main()
