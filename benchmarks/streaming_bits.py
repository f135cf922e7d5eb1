"""Streaming networks in C and frame by frame, beside integer execution over the whole recording.

    python -m benchmarks.streaming_bits NETWORKS

Networks are random, hops go from 1 to 13 frames. On the host each is compiled one of four ways in
turn, as in `benchmarks.engine_bits`; `benchmarks.streaming_costs` compares those of an emulated
Cortex-M4. A line for every ten goes to results/streaming_bits.jsonl, behind whose last seed the
next run begins.
"""

import argparse
import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.rows import append, read
from micronas.graph.frames import FrameByFrame
from testing.engine import SANITIZED, hops_on_host
from testing.streaming import over_the_whole, random_recording, random_streaming

_WAYS = [(compiler, level) for compiler in ("gcc", "clang") for level in ("-O0", "-O3")]
_TOGETHER = 10
_RESULTS = Path(__file__).with_name("results") / "streaming_bits.jsonl"
_HOPS = 13
_KEYS = ("networks", "failed", "bytes", "differing_frames", "differing_engine")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", type=int)
    rows = read(_RESULTS)
    first = max((row["first"] + row["networks"] for row in rows), default=0)
    for seed in range(first, first + parser.parse_args().networks, _TOGETHER):
        found: Counter[str] = Counter()
        for each in range(seed, seed + _TOGETHER):
            _compare(each, found)
        append(_RESULTS, {"first": seed, **{key: found[key] for key in _KEYS}})
    total = {key: sum(row[key] for row in read(_RESULTS)) for key in _KEYS}
    print(", ".join(f"{key}: {value:,}" for key, value in total.items()))


def _compare(seed: int, found: Counter[str]) -> None:
    graph, hop = random_streaming(seed), seed % _HOPS + 1
    heard = FrameByFrame(graph)
    hops = (heard.frames + 3 * max(heard.stride, hop)) // hop + 1
    frames = random_recording(graph, hops * hop, seed)
    wanted = over_the_whole(graph, frames).tobytes()
    found["networks"] += 1
    found["bytes"] += len(wanted)
    found["differing_frames"] += _differing(heard.push(frames).tobytes(), wanted)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            compiler, level = _WAYS[seed % len(_WAYS)]
            flags = (level, *SANITIZED)
            ran = hops_on_host(graph, frames, hop, folder, compiler=compiler, flags=flags)
        except subprocess.CalledProcessError as error:
            found["failed"] += 1
            print(seed, "failed:", (error.stderr or b"")[:500])
            return
    found["differing_engine"] += _differing(ran.outputs, wanted)


def _differing(got: bytes, wanted: bytes) -> int:
    return sum(a != b for a, b in zip(got, wanted, strict=False)) + abs(len(got) - len(wanted))


if __name__ == "__main__":
    main()
