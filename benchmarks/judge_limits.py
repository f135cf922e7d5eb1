"""Judge at 64 at once where each answer is billed at a million tokens, on a disk that fails.

    python -m benchmarks.judge_limits [PROMPTS]

The endpoint refuses one prompt in twenty, and one write in fifty of the run is an I/O error; the
run is started again after each. First it has a tenth of the money that it needs, then all of it.
Fails where the limit is exceeded, a call is paid for twice, or a verdict that was not refused is
missing.
"""

import sys
import tempfile
from pathlib import Path

from micronas.text import pairs
from testing.failing_judge import USD, failing_run


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory() as folder:
        found = failing_run(Path(folder), count, limit=count // 5 * USD + 1)
    figures = {
        "verdicts wanted": found.wanted,
        "refused": found.refused,
        "there": found.verdicts,
        "answers sent": found.answered,
        "paid twice": found.paid_twice,
        "starts": found.starts,
        "limit, USD": found.limit,
        "spent at the limit, USD": found.usd_at_limit,
        "billed until then, USD": found.sent_at_limit,
        "spent in all, USD": round(found.usd, 2),
    }
    print(pairs({name: str(value) for name, value in figures.items()}))
    for error, times in sorted(found.errors.items(), key=lambda each: -each[1])[:8]:
        print(f"{times:5} times: {error[:150]}")
    assert found.sent_at_limit <= found.limit
    assert found.paid_twice == 0
    assert found.refused == 2 * (count // 20)
    assert found.verdicts == found.wanted - found.refused


if __name__ == "__main__":
    main()
