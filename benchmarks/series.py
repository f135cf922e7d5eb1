"""Sensor series: found networks beside a textbook 1-D CNN and a random forest, on real recordings.

    pip install --no-deps seglearn          # ships the wrist data: nothing of it is imported
    python benchmarks/series.py --bearings cwru_1797.npz --seeds 0 1 2

``watch``: six axes of a smartwatch at 50 Hz, seven shoulder exercises, ten people, of whom none is
in two parts (D. Burns et al., arXiv 1802.01489; in seglearn, BSD licence). ``bearings``: vibration
of the Case Western Reserve University's drive end at 1,797 rpm, healthy and ten faults, one record
each, so that parts are cut along time. A seed is that of people, draws, trials and trainings.

``found`` and ``textbook`` (`search_spaces/textbook/cnn_1d.yaml`) train on the same augmented
windows, ``plain`` is that textbook network without rotation and time warp. ``forest`` and
``linear`` read statistics and band energies of each channel in floating point, without a budget.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.clock import cpu_seconds
from micronas.data import DataSet, Split
from micronas.runs.run import run_search, run_training
from micronas.runs.settings import TrainSettings, load_run
from micronas.runs.training import Trained
from micronas.space.space import Space
from micronas.tasks.registry import load

BUDGET = (
    "board=stm32f446re",
    "budget.counts=network",
    "budget.sram=16 KB",
    "budget.flash=48 KB",
    "budget.latency=20 ms",
)
RECIPES = (
    "search.draws=6",
    "search.trial={epochs: 8, batch_size: 32}",
    "train={epochs: 30, batch_size: 32}",
    "quantize={epochs: 4, batch_size: 32, learning_rate: 0.0005, warmup: 0.1}",
)
WORN = ("data.rotation_degrees=20", "data.time_warp=0.2", "data.scaling=0.3")
"""Augmentation for what people wear."""
BANDS = 16


def watch(folder: Path) -> list[str]:
    """Write the recordings of seglearn's data file as CSV, a folder per exercise."""
    spec = importlib.util.find_spec("seglearn")
    assert spec is not None, "pip install --no-deps seglearn"
    assert spec.submodule_search_locations
    place = Path(spec.submodule_search_locations[0]) / "data/watch_dataset.npy"
    stored = np.load(place, allow_pickle=True).item()
    for number, values in enumerate(stored["X"]):
        label = stored["y_labels"][int(stored["y"][number])]
        path = folder / label / f"s{int(stored['subject'][number]):02}_{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        header = ",".join(stored["X_labels"])
        np.savetxt(path, values, "%.6g", ",", header=header, comments="")
    return [f"data.path={folder}", "data.group=prefix", "data.window=128"]


def textbook(data: DataSet) -> Space:
    """Return three convolutions over time, each halving it, and a global average."""
    update = {"input": data.input, "classes": len(data.classes)}
    return Space.load("textbook/cnn_1d").model_copy(update=update)


def features(split: Split) -> np.ndarray:
    """Return statistics and band energies of each channel [n, features]."""
    x = split.batch(torch.arange(len(split.labels)), None)[..., 0].numpy().astype(np.float64)
    centred = x - x.mean(2, keepdims=True)
    deviation = centred.std(2) + 1e-9
    power = np.abs(np.fft.rfft(centred, axis=2)) ** 2
    bands = [band.sum(2) for band in np.array_split(power[:, :, 1:], BANDS, axis=2)]
    moments = [(centred**k).mean(2) / deviation**k for k in (3, 4)]
    crossings = (np.diff(np.sign(centred), axis=2) != 0).mean(2)
    edges = [x.min(2), x.max(2), np.percentile(x, 25, axis=2), np.percentile(x, 75, axis=2)]
    kinds = [x.mean(2), deviation, *moments, crossings, *edges, *np.log(np.array(bands) + 1e-9)]
    return np.concatenate(kinds, axis=1)


def on_features(
    data: DataSet, seed: int, read: Callable[[Split], np.ndarray] = features
) -> dict[str, float]:
    """Return the test accuracy, in percent, of 300 trees and of a linear classifier."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    assert data.test is not None
    x, y = read(data.train), data.train.labels.numpy()
    models = {
        "forest": RandomForestClassifier(300, random_state=seed, n_jobs=1),
        "linear": make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=300)),
    }
    test = read(data.test), data.test.labels.numpy()
    return {
        name: round(100 * float(model.fit(x, y).score(*test)), 1) for name, model in models.items()
    }


def measure(
    name: str, given: list[str], worn: Sequence[str], seed: int, folder: Path
) -> dict[str, object]:
    """Return one line of the table."""
    start = cpu_seconds()
    common = [*BUDGET, *RECIPES, *given, f"seed={seed}", f"data.seed={seed}"]
    settings = load_run("series", [*common, *worn])
    data = load(settings.data)
    result, found = run_search(settings, folder / "found", progress=lambda *_: None, data=data)
    searched = cpu_seconds() - start

    def trained(kind: str, settings: TrainSettings) -> Trained:
        data = load(settings.data)
        place = folder / kind
        return run_training(textbook(data), settings, place, progress=lambda *_: None, data=data)

    row: dict[str, object] = {"set": name, "seed": seed, "cpu_s": round(searched)}
    networks = {"found": found, "textbook": trained("textbook", settings.for_training())}
    if worn:
        networks["plain"] = trained("plain", load_run("series", common).for_training())
    for kind, each in networks.items():
        metrics = each.metrics
        row[kind] = round(100 * metrics["int8_accuracy"], 1)
        row[f"{kind}_ms"] = round(metrics["latency_ms"], 1)
        row[f"{kind}_arena"] = metrics["arena_bytes"]
        row[f"{kind}_flash"] = metrics["flash_bytes"]
        row[f"{kind}_mismatches"] = metrics["tflm_mismatches"]
    row["network"] = str(result.winner)
    row["trial"] = [
        (str(each), each.trial_epochs, round(100 * (each.trial_score or 0), 1))
        for each in result.candidates[:5]
    ]
    row["windows"] = found.metrics["judged_examples"]
    return row | on_features(data, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bearings", type=Path, help="an .npz with one array per class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=["watch", "bearings"])
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        sets: dict[str, tuple[list[str], tuple[str, ...]]] = {}
        if "watch" in given.sets:
            sets["watch"] = watch(folder / "watch"), WORN
        if "bearings" in given.sets and given.bearings:
            place = f"data.path={given.bearings}"
            sets["bearings"] = [place, "data.window=256", "data.stride=256"], ()
        for seed in given.seeds:
            for kind, (settings, worn) in sets.items():
                row = measure(kind, settings, worn, seed, folder / f"{kind}{seed}")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
