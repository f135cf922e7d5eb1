"""Time the export of foreign modules: `to_tflite` beside litert-torch and onnx2tf.

    python -m benchmarks.foreign_time [--rounds 5] [--only NETWORK ...]
        [--litert PYTHON] [--onnx2tf PYTHON]

Each exporter has one process of the Python that `benchmarks.zoo` says; the PyTorch half of onnx2tf,
which writes the ONNX file, has one too, and counts. In each all networks are exported, with the
same weights and the same 32 examples to calibrate on, the exporters in alternation. Imports, and a
first network in each process, are aside. CPU seconds of the processes and their children, medians;
the ratio is that of the medians, the worst one that of a round.
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.zoo.exporters import EXPORTERS, Clock

_NETWORKS = (
    *("DS-CNN", "ResNet-8", "torchvision/mobilenet_v2", "torchvision/resnet18"),
    "timm/efficientnet_lite0",
)
_FIRST = "LeNet-5 with log_softmax"
_STEPS = {
    "micronas": ("micronas",),
    "litert-torch": ("litert-torch",),
    "onnx2tf": ("onnx", "onnx2tf"),
    "onnx2tf-tensorflow": ("onnx", "onnx2tf-tensorflow"),
}


class Worker:
    """A process that runs one step of an export, again and again."""

    def __init__(self, python: str, step: str) -> None:
        command = [python, "-m", "benchmarks.foreign_time", "--serve", step]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def seconds(self, name: str, folder: str) -> float:
        """Export one network and return the CPU seconds; nan where there is no file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\t{folder}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


def main() -> None:
    """Print the table."""
    from micronas.text import table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=_NETWORKS)
    parser.add_argument("--litert")
    parser.add_argument("--onnx2tf")
    given = parser.parse_args()
    pythons = {"micronas": sys.executable, "litert-torch": given.litert}
    pythons |= dict.fromkeys(("onnx2tf", "onnx2tf-tensorflow"), given.onnx2tf)
    sides = [side for side, python in pythons.items() if python]
    workers = {
        step: Worker(pythons.get(step, sys.executable), step)
        for side in sides
        for step in _STEPS[side]
    }

    def seconds(side: str, name: str) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return sum(workers[step].seconds(name, folder) for step in _STEPS[side])

    for side in sides:
        seconds(side, _FIRST)
    rows = []
    for name in given.only:
        rounds = [{side: seconds(side, name) for side in sides} for _ in range(given.rounds)]
        middle = {side: statistics.median(each[side] for each in rounds) for side in sides}
        row = [name, f"{middle['micronas']:.2f}"]
        for side in sides[1:]:
            worst = min(each[side] / each["micronas"] for each in rounds)
            row.append(f"{middle[side]:.2f}")
            row.append(f"{middle[side] / middle['micronas']:.1f} / {worst:.1f}")
        rows.append(row)
    head = [column for side in sides[1:] for column in (f"{side}, s", "ratio / worst")]
    print(table(["network", "micronas, s", *head], rows))


def serve(step: str) -> None:
    """Answer each line, a name and a folder, with the CPU seconds of the step."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # converters print
    for line in sys.stdin:
        name, folder = line.rstrip("\n").split("\t")
        clock = Clock()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                EXPORTERS[step](name, Path(folder), clock)
        except BaseException:  # a converter may call sys.exit
            clock.seconds = float("nan")
        print(clock.seconds, file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2])
    else:
        main()
