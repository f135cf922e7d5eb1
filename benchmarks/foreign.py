"""Read random Keras models converted by TensorFlow, and compare counts, arena and outputs.

    python -m benchmarks.foreign [NETWORKS]

For each: multiply-accumulates counted on the file against a count on the Keras layers, and the
predicted head of the arena against TFLM's. Needs tensorflow (2.21 was used).
"""

import sys

from micronas.text import table
from testing.foreign import measure


def main(networks: int = 20) -> None:
    found = measure(networks, 0)
    print(table([*vars(found)], [[str(value) for value in vars(found).values()]]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
