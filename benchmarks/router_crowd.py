"""500 streaming clients for three minutes; one upstream answer in ten fails, half are closed early.

    python -m benchmarks.router_crowd [CLIENTS] [SECONDS]

`micronas router serve`, two upstreams and the clients run in processes of their own. Of the keys of
ten clients one has a limit of tokens a minute and one of dollars a day, both of which run out; a
longest answer is taken for one request. Fails where a stream is lost, doubled or another's, where
booked tokens are off what the upstreams sent by more than 2 %, or a limited client was sent more
than one request beyond its limit.
"""

import sys
import tempfile
from pathlib import Path

from micronas.text import table
from testing.crowd import crowd


def main() -> None:
    clients = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 180.0
    with tempfile.TemporaryDirectory() as folder:
        found = crowd(Path(folder), clients, seconds, limit=4.0 * clients)
    ends = [[each, str(times)] for each, times in sorted(found.ended.items())]
    print(table(["ended", "requests"], ends))
    print(f"\nlost, doubled or foreign: {len(found.wrong)} of {found.ended.total()}")
    for wrong in found.wrong[:20]:
        print(wrong)
    keys = sorted(found.sent)
    rows = [[key, str(found.sent[key]), str(found.booked[key])] for key in keys]
    print(f"\n{table(['key', 'tokens sent', 'booked'], rows)}")
    print(f"\nbooked is {found.error:+.2%} off in all")
    for key, excess in found.excess.items():
        print(f"{key}: {excess:+.2f} requests beyond its limit")
    assert not found.wrong
    assert abs(found.error) <= 0.02
    assert max(found.excess.values()) <= 1


if __name__ == "__main__":
    main()
