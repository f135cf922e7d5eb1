"""Compare predictions with TFLM on random networks of the three MicroNets spaces.

    python -m benchmarks.exactness [NETWORKS]
    python -m benchmarks.exactness ops [NETWORKS]

For each network: the costs the search expects with certain gates against the counts on the
exported file, the predicted arena against TFLM's, and the output bytes of integer execution
against TFLM's on random inputs. With `ops`: the same arenas and bytes for random networks that mix
every kind of operator, int4 weights among them. Needs the wheel `tflite-micro` (Linux, x86-64).
"""

import sys

from micronas.testing.exactness import SPACES, measure
from micronas.testing.networks import agreement
from micronas.text import table


def main(networks: int) -> None:
    rows = []
    for name in SPACES:
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
    arguments = sys.argv[1:]
    run = main
    if arguments[:1] == ["ops"]:
        run, arguments = all_operators, arguments[1:]
    run(int(arguments[0]) if arguments else 200)
