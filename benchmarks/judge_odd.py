"""Judge 2,000 calls at an endpoint that answers in every odd form, within a limit of money first.

    python -m benchmarks.judge_odd [CALLS]

Each request gets a form drawn from its text and how often it was sent, one in two of them an answer
that can be read. Fails where a call is sent again after such an answer, the limit is missed by more
than one call, or the key is in a file.
"""

import sys
import tempfile
from pathlib import Path

from testing.odd_endpoint import LOST, READABLE
from testing.odd_judge import odd_run


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    with tempfile.TemporaryDirectory() as folder:
        found = odd_run(Path(folder), count)
    print(f"forms sent: {len(found.forms)} of {len(READABLE) + len(LOST)}")
    print(f"calls {found.calls}, requests {found.requests}, verdicts {found.verdicts}")
    print(f"calls paid twice: {found.paid_twice}")
    print(f"limit {found.limit:.6f} US dollars, spent {found.usd_at_limit:.6f} when it stopped, ")
    print(f"a call at most {found.most:.6f}, in all {found.usd:.6f}")
    print(f"files with the key: {len(found.leaks)}")
    assert (found.calls, found.verdicts, found.paid_twice) == (count, count, 0)
    assert found.limit - found.most <= found.usd_at_limit <= found.limit * (1 + 1e-9)
    assert not found.leaks


if __name__ == "__main__":
    main()
