"""AUC of fault detection in vibration records or features of machine sounds, three seeds.

python -m benchmarks.machines FILE.npz

Two kinds of file are known by what they hold. Vibration: one record for each condition, `Normal`
among them (CWRU's bearings). A small network learns from spectrograms of the first 60 % of every
record whether it is normal, and is tested on the rest; faults are known here, so this is a check
that spectrograms of vibration work, not anomaly detection. (Bands are those of 16 kHz sound; at
another rate they lie elsewhere, which no network minds.) Features of sounds: `pump_x`,
`pump_normal`, `pump_id`, `pump_snr` and so on (MIMII): the distance from the normal clips of a
machine, and a small dense network that tells machines apart, for each type and SNR.
"""

from collections.abc import Callable
from statistics import fmean, pstdev

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from micronas.data import Detection, TensorSplit
from micronas.objectives.clips import evaluate
from micronas.space.space import Space
from micronas.tasks.machines.front_end import images, log_mel
from micronas.text import table
from micronas.train.loop import fit, generator_for, predict
from micronas.train.network import Network
from micronas.train.recipe import Recipe
from testing.usage import given

Array = npt.NDArray[np.float64]
SEEDS = range(3)
TRAINED = 0.6


def vibration(records: dict[str, Array]) -> None:
    """Classify spectrogram windows as normal or fault."""
    peak = max(float(np.abs(record).max()) for record in records.values())
    parts: dict[bool, list[tuple[torch.Tensor, int]]] = {True: [], False: []}
    for name, record in records.items():
        cut = int(TRAINED * len(record))
        for training, piece in ((True, record[:cut]), (False, record[cut:])):
            sound = torch.from_numpy(piece / peak).float()
            windows = images(log_mel(sound.unsqueeze(0))[0])
            parts[training].append((windows, int(name != "Normal")))
    train, test = (
        (
            torch.cat([windows for windows, _ in parts[training]]),
            torch.cat([torch.full((len(windows),), label) for windows, label in parts[training]]),
        )
        for training in (True, False)
    )
    mean, deviation = train[0].mean(), train[0].std()
    splits = [
        TensorSplit(((x - mean) / deviation).clamp(-4, 4).unsqueeze(1), y) for x, y in (train, test)
    ]
    print(f"{len(records)} records, {len(train[1])} windows to train, {len(test[1])} to test")
    space = Space.load("ad_small").model_copy(update={"classes": 2})
    architecture = space.architecture(space.uniform(0.2))
    # One machine; its own class is "normal", so that the score is minus that probability.
    judged = Detection(
        TensorSplit(splits[1].inputs, torch.zeros(len(test[1])).long()),
        torch.arange(len(test[1])),
        torch.zeros(len(test[1]), dtype=torch.long),
        test[1] == 1,
        ("normal", "fault"),
    )

    def run(seed: int) -> tuple[float, float]:
        network = Network(architecture.graph(), generator=generator_for(seed, "initial weights"))
        fit(network, splits[0], Recipe(epochs=20, batch_size=16), seed=seed)
        scores = evaluate(judged, predict(network, splits[1]).double().softmax(1).numpy())
        return scores["auc"], scores["pauc"]

    print(table(["method", "AUC", "pAUC"], [row(str(architecture), run)]))


def features(file: dict[str, Array]) -> None:
    """Judge clips of each machine type and SNR by 18 features."""
    rows = []
    for kind in sorted(name[:-2] for name in file if name.endswith("_x")):
        for snr in np.unique(file[f"{kind}_snr"]):
            chosen = file[f"{kind}_snr"] == snr
            x, normal, machine = (file[f"{kind}_{key}"][chosen] for key in ("x", "normal", "id"))
            _, machine = np.unique(machine, return_inverse=True)
            name = f"{kind}, {snr:+} dB"
            rows.append(row(f"{name}: Mahalanobis", judge(x, normal > 0, machine, mahalanobis)))
            rows.append(row(f"{name}: dense net", judge(x, normal > 0, machine, dense)))
    print(table(["method", "AUC", "pAUC"], rows))


Method = Callable[[Array, npt.NDArray[np.int64], Array, int], Array]
"""``method(train, machines, test, seed)``: a score of each test clip under each machine."""


def judge(
    x: Array, normal: npt.NDArray[np.bool_], machine: npt.NDArray[np.int64], method: Method
) -> Callable[[int], tuple[float, float]]:
    """Hold out as many normal clips of each machine as it has anomalous ones, at most half."""

    def run(seed: int) -> tuple[float, float]:
        order = np.random.default_rng(seed).permutation(len(x))
        testing = ~normal
        for each in np.unique(machine):
            own = [i for i in order if normal[i] and machine[i] == each]
            bad = int((~normal & (machine == each)).sum())
            testing[own[: min(bad, len(own) // 2)]] = True
        mean, deviation = x[~testing].mean(0), x[~testing].std(0) + 1e-9
        scaled = (x - mean) / deviation
        count = int(testing.sum())
        labels = torch.from_numpy(machine[testing])
        split = TensorSplit(torch.zeros(count, 1, 1, 1), labels)
        names = tuple(map(str, np.unique(machine)))
        anomalous = torch.from_numpy(~normal[testing])
        judged = Detection(split, torch.arange(count), labels, anomalous, names)
        found = method(scaled[~testing], machine[~testing], scaled[testing], seed)
        scores = evaluate(judged, found)
        return scores["auc"], scores["pauc"]

    return run


def mahalanobis(train: Array, machines: npt.NDArray[np.int64], test: Array, _: int) -> Array:
    """Minus the squared distance from the normal clips of each machine."""
    distances = []
    for each in np.unique(machines):
        own = train[machines == each]
        inverse = np.linalg.inv(np.cov(own.T) + 1e-3 * np.eye(own.shape[1]))
        away = test - own.mean(0)
        distances.append(np.einsum("ij,jk,ik->i", away, inverse, away))
    return -np.stack(distances, 1)


def dense(train: Array, machines: npt.NDArray[np.int64], test: Array, seed: int) -> Array:
    """Probabilities of the machines by a network of two hidden layers of 64."""
    torch.manual_seed(seed)
    classes = int(machines.max()) + 1
    layers = [nn.Flatten(), nn.Linear(train.shape[1], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU()]
    module = nn.Sequential(*layers, nn.Linear(64, classes))
    splits = [
        TensorSplit(torch.from_numpy(x).float()[:, :, None, None], torch.zeros(len(x)).long())
        for x in (train, test)
    ]
    splits[0].labels = torch.from_numpy(machines)
    splits[0].mixup = 0.3
    fit(module, splits[0], Recipe(epochs=20, batch_size=64), seed=seed)
    return predict(module, splits[1]).double().softmax(1).numpy()


def row(name: str, run: Callable[[int], tuple[float, float]]) -> list[str]:
    """Mean and standard deviation over the seeds."""
    results = [run(seed) for seed in SEEDS]
    columns = zip(*results, strict=True)
    return [name, *(f"{fmean(column):.3f} ± {pstdev(column):.3f}" for column in columns)]


def main(path: str) -> None:
    torch.set_num_threads(1)
    with np.load(path) as file:
        held = {name: file[name] for name in file if file[name].dtype.kind in "fiu"}
    held = {
        name: each.astype(np.float64) if each.dtype.kind == "f" else each
        for name, each in held.items()
    }
    if "Normal" in held:
        vibration(held)
    else:
        features(held)


if __name__ == "__main__":
    main(*given(__doc__, 1))
