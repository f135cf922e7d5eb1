"""Send the router 20,000 requests: half good, a tenth each slow, cut, huge, odd and hostile.

    python -m benchmarks.router_soak [REQUESTS]

`micronas router serve` and an endpoint of every odd form run in processes of their own; 64 requests
are under way at a time. Each request is followed to its end: an answer of its own, or one error,
and nothing twice. Before and after it good requests alone give the quiet figure. Fails where one
request is lost or doubled, memory is higher by a quarter in the second half than ever in the first,
the key is written, or good requests take more than twice their quiet 95 % figure.
"""

import sys
import tempfile
from pathlib import Path

from micronas.text import table
from testing.soak import KEY, p95, soak


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), count)
    kinds = sorted(found.ended)
    print(table(["kind", "ended", "requests"], [[*kind, str(found.ended[kind])] for kind in kinds]))
    print(f"\nrequests {sum(found.ended.values())}, lost or doubled {len(found.wrong)}")
    for wrong in found.wrong[:20]:
        print(wrong)
    print(f"95 % of good ones within {1e3 * p95(found.seconds):.0f} ms, ", end="")
    print(f"{1e3 * p95(found.quiet):.0f} ms alone: {found.slowdown:.2f} times")
    print("memory at each tenth, MB:", *(round(each / 1e6) for each in found.memory))
    traces, keys = found.log.count("Traceback"), found.log.count(KEY)
    print(f"log: {found.log.count(chr(10))} lines, {traces} tracebacks, {keys} keys")
    half = len(found.memory) // 2
    assert not found.wrong
    # a sample holds the floods that are under way; growth would show in the highest ones
    assert max(found.memory[half:]) < 1.25 * max(found.memory[:half])
    assert found.slowdown <= 2
    assert traces == keys == 0


if __name__ == "__main__":
    main()
