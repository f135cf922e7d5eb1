"""Compare predictions with TFLM on random networks of the MicroNets spaces and the open ones.

    python -m benchmarks.exactness [NETWORKS [SPACE ...]]
    python -m benchmarks.exactness ops [NETWORKS]

For each network: the costs the search expects with certain gates against the counts on the
exported file, the predicted arena against TFLM's, and the output bytes of integer execution
against TFLM's on random inputs. With `ops`: the same arenas and bytes for random networks that mix
every kind of operator, int4 weights among them. Needs the wheel `tflite-micro` (Linux, x86-64).
"""

import sys

from micronas.text import table
from testing.exactness import SPACES, measure
from testing.networks import agreement


def main(networks: int, *spaces: str) -> None:
    rows = []
    for name in spaces or SPACES:
        found = measure(name, networks, seed=1)
        rows.append([name, *(str(value) for value in vars(found).values())])
    header = ["space", "networks", "bytes", "bytes wrong", "MACs wrong", "weights wrong"]
    print(table([*header, "heads wrong", "worst total, B"], rows))


def all_operators(networks: int) -> None:
    found = agreement(range(networks))
    counted = (found.networks, len(found.kinds), found.bytes, found.mismatches)
    row = [str(value) for value in (*counted, found.wrong_heads, found.worst_total)]
    header = ["networks", "kinds", "bytes", "bytes wrong", "heads wrong", "worst total, B"]
    print(table(header, [row]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["ops"]:
        all_operators(*map(int, sys.argv[2:3] or ["200"]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 200, *sys.argv[2:])
