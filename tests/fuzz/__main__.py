"""Run fuzzers for some seconds each: ``python -m tests.fuzz [SECONDS] [SEED] [TARGET ...]``."""

import sys
import time
from importlib import import_module
from pathlib import Path

TARGETS = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if not path.stem.startswith(("_", "test_"))
)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    for target in sys.argv[3:] or TARGETS:
        print(f"{target}: {seconds:g} s from seed {seed}", flush=True)
        import_module(f"tests.fuzz.{target}").run(seconds, seed)
        print(f"{target}: held", flush=True)


if __name__ == "__main__":
    main()
