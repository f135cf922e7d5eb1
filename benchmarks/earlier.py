"""Export what an earlier micronas could export, with it and with this one.

    python -m benchmarks.earlier PYTHON [NETWORK ...]

PYTHON is that of an environment with another version of micronas, torch and what
`benchmarks.zoo` needs. A row has the SQNR in dB of both files on TFLM, over normal inputs,
and what differs: nothing, or the operators of one that the other does not have.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.zoo.judge import judge
from benchmarks.zoo.networks import NETWORKS
from micronas.text import table

ROOT = Path(__file__).parents[1]
AT_FIRST = (
    *("torchvision/mobilenet_v2", "torchvision/mnasnet0_5", "torchvision/resnet18"),
    *("torchvision/regnet_x_400mf", "timm/mobilenetv2_050", "timm/efficientnet_lite0"),
    *("timm/fbnetc_100", "timm/repvgg_a0", "timm/mobilenetv4_conv_small", "timm/dla46_c"),
    *("DS-CNN", "AD autoencoder", "FOMO head", "ResNet-8", "MobileNetV1"),
)
"""Those that commit 115d4e5 exported."""
_EXAMPLES = 64
"""Of sixteen, deep networks of random weights differ by half a decibel by chance."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python")
    parser.add_argument("names", nargs="*", default=AT_FIRST, metavar="NETWORK")
    given = parser.parse_args()
    head = ["network", "then, B", "now, B", "then, dB", "now, dB", "differs"]
    rows = []
    for name in given.names:
        rows.append(_row(name, given.python))
        print(*rows[-1], file=sys.stderr, flush=True)
    print(table(head, rows))


def _row(name: str, python: str) -> list[str]:
    then, now = (_exported(name, each) for each in (python, sys.executable))
    judged = [judge(NETWORKS[name], each, exact=False, examples=_EXAMPLES) for each in (then, now)]
    kinds = [Counter(each["kinds"]) for each in judged]
    gone, come = (dict(a - b) for a, b in (kinds, kinds[::-1]))
    differs = "nothing" if then == now else f"- {gone} + {come}" if gone or come else "numbers"
    sizes = [str(len(each)) for each in (then, now)]
    return [name, *sizes, *(f"{each['sqnr_db']:.1f}" for each in judged), differs]


def _exported(name: str, python: str) -> bytes:
    """Export in a folder that holds the benchmarks and no other micronas."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        (path / "benchmarks").symlink_to(ROOT / "benchmarks")
        command = [python, "-m", "benchmarks.zoo.exporters", "micronas", name, folder]
        subprocess.run(command, cwd=path, check=True)
        if (error := json.loads((path / "result.json").read_text()).get("error")) is not None:
            raise SystemExit(f"{name}: {python}: {error}")
        return (path / "model.tflite").read_bytes()


if __name__ == "__main__":
    main()
