"""Time the expert store on this machine, and compare with its simulator.

    python -m benchmarks.router_store [FOLDER]

Writes 40 experts of 24 MB into FOLDER (a temporary one by default) and uses them. Linux only: the
page cache is told to forget files by posix_fadvise.

1. Ways to an expert's weights: the device tier has them; a copy from the host tier; a read with
   and without the file in the page cache. Each of 40 experts, in each round: the median counts.
2. 400 Zipf requests through the store, 20 experts in the host tier and 5 in the device tier: in
   order of arrival and with 8 waiting, each with and without the page cache, in turns. Loads and
   time beside the simulator's, which knows the mean rates of 1 in the same round and nothing
   else; of the ratios the median of the rounds, the least and the largest.
3. Simulation alone, of what was reported of an SN40L node and machines with 640 GB of GPU memory.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import TypeVar

import numpy as np
from safetensors.numpy import save_file

from micronas.quantities import format_bytes
from micronas.router.store import (
    BatchQueue,
    Counts,
    ExpertStore,
    Level,
    Simulation,
    simulate,
    zipf_trace,
)
from micronas.router.store.backend import NumpyBackend
from micronas.router.store.memory import read_layout, read_pages
from micronas.text import table

Time = tuple[float, float]
Result = TypeVar("Result")

EXPERTS, SIZE = 40, 24_000_000
HOST, DEVICE = 20 * 24_002_560, 5 * 24_002_560
"""Room for 20 and for 5 experts, in whole pages."""
REQUESTS, ZIPF, WAITING, PATIENCE, ROUNDS = 400, 0.9, 8, 16, 5
LLAMA2_7B = 2 * 6_738_415_616
"""Bytes of its weights in bfloat16."""
DROPPED, WARM = "read, page cache dropped", "read, in the page cache"
COPY, HIT = "copy from host to device tier", "hit in the device tier"
SYSTEMS = {
    "SN40L node": (8 * 64 * 2**30, 8 * 1536 * 2**30, 1e12),
    "640 GB, 32 GB/s": (640 * 10**9, 2 * 10**12, 32e9),
    "640 GB, 64 GB/s": (640 * 10**9, 2 * 10**12, 64e9),
}
"""Bytes of device and host, bytes a second between them. The node's: arXiv 2405.07518. Of the
others the paper's comparison gives only what happens; 2 TB, and the nominal rates of 16 lanes of
PCIe 4 and 5, are assumptions."""


@dataclass(frozen=True)
class Run:
    """A trace through the store, and what was foreseen by the clock and by the processor."""

    counts: dict[str, Counts]
    measured: Time
    simulated: list[Simulation]

    def loads(self, tier: str) -> str:
        """Measured and simulated ones."""
        return f"{self.counts[tier].misses} / {self.simulated[0].tiers[tier].misses}"


def make_experts(folder: Path) -> dict[str, Path]:
    """Write experts of ten float32 matrices each."""
    files = {f"e{number:02d}": folder / f"e{number:02d}.safetensors" for number in range(EXPERTS)}
    generator = np.random.default_rng(0)
    for path in files.values():
        values = generator.normal(size=(10, SIZE // 40)).astype(np.float32)
        save_file({f"layer{number}": values[number] for number in range(10)}, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    return files


def drop(path: Path) -> None:
    """Have the page cache forget a file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def timed(call: Callable[[], Result], times: list[Time]) -> Result:
    """Note a call's time, and the processor's, which other programs disturb less."""
    clock, processor = time.perf_counter(), time.process_time()
    result = call()
    times.append((time.perf_counter() - clock, time.process_time() - processor))
    return result


def use(store: ExpertStore, name: str) -> None:
    with store.use(name):
        pass


def ways(files: dict[str, Path]) -> dict[str, list[Time]]:
    """Return the times of each way to every expert's weights."""
    times: dict[str, list[Time]] = {DROPPED: [], WARM: [], COPY: [], HIT: []}
    backend = NumpyBackend()
    store = ExpertStore(files, HOST, device=DEVICE)
    for name, path in files.items():
        drop(path)
        for way in (DROPPED, WARM):
            pages = timed(
                lambda: read_pages(read_layout(path, dtypes=backend.dtypes)),  # noqa: B023
                times[way],
            )
            copied = timed(lambda: backend.load(pages), times[COPY])  # noqa: B023
            copied.close()
            pages.close()
        use(store, name)
        timed(lambda: use(store, name), times[HIT])  # noqa: B023
    return times


def serve(files: dict[str, Path], trace: list[str], waiting: int, cold: bool) -> ExpertStore:
    """Use experts as a server with so many waiting requests does."""
    store = ExpertStore(files, HOST, device=DEVICE)
    queue: BatchQueue[None] = BatchQueue(waiting, patience=PATIENCE)
    coming = iter(trace)
    for name in islice(coming, waiting):
        queue.put(None, name)
    while len(queue):
        batch = queue.take(resident=store.resident())
        if cold:
            drop(files[batch.expert])
        use(store, batch.expert)
        for name in islice(coming, len(batch.requests)):
            queue.put(None, name)
    return store


def foreseen(files: dict[str, Path]) -> None:
    """Print measured loads and times beside simulated ones."""
    trace = zipf_trace(sorted(files), REQUESTS, exponent=ZIPF)
    cases = [(waiting, way) for waiting in (1, WAITING) for way in (DROPPED, WARM)]
    times: dict[str, list[Time]] = {}
    runs: dict[tuple[int, str], list[Run]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        now = ways(files)
        for way, each in now.items():
            times.setdefault(way, []).extend(each)
        for waiting, way in cases:
            measured: list[Time] = []
            store = timed(lambda: serve(files, trace, waiting, way == DROPPED), measured)  # noqa: B023
            simulated = [
                simulate(
                    trace,
                    store.sizes(),
                    levels=[Level("host", HOST, read), Level("device", DEVICE, copy)],
                    batch=waiting,
                    patience=PATIENCE,
                )
                for read, copy in zip(rates(now[way]), rates(now[COPY]), strict=True)
            ]
            runs[waiting, way].append(Run(store.counts(), measured[0], simulated))

    print(f"one expert of {format_bytes(SIZE)}; {os.cpu_count()} processors, {ROUNDS} rounds")
    base = median(clock for clock, _ in times[COPY])
    rows = []
    for way, each in times.items():
        clock, processor = (median(column) for column in zip(*each, strict=True))
        rate = "-" if way == HIT else f"{SIZE / clock / 1e9:.2f} GB/s"
        row = [f"{1e3 * clock:.3f} ms", f"{1e3 * processor:.3f} ms", rate, f"{clock / base:.4f}"]
        rows.append([way, *row])
    print(table(["way", "time", "processor", "rate", "of a copy"], rows), end="\n\n")

    print(f"{REQUESTS} requests, Zipf {ZIPF}; loads: measured / simulated; times: a request")
    rows = []
    for (waiting, way), made in runs.items():
        order = "arrival" if waiting == 1 else f"grouped, {waiting} waiting"
        rows.append([order, way, made[0].loads("host"), made[0].loads("device")])
        for kind in (0, 1):
            ratios = sorted(run.measured[kind] / run.simulated[kind].switch_seconds for run in made)
            typical = 1e3 * median(run.measured[kind] for run in made) / REQUESTS
            spread = f"{median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            rows[-1] += [f"{typical:.2f} ms", spread]
    header = ["order", "way", "into host", "into device"]
    header += ["time", "of simulated", "processor", "of simulated"]
    print(table(header, rows), end="\n\n")


def rates(times: list[Time]) -> list[float]:
    """Return bytes a second, by the clock and by the processor."""
    return [SIZE / mean(column) for column in zip(*times, strict=True)]


def reported() -> None:
    """Print what the simulator says of machines whose numbers others reported."""
    rows = []
    for experts in (10, 39, 46, 50, 100, 150, 850):
        names = [f"e{number}" for number in range(experts)]
        trace = zipf_trace(names, 20_000, exponent=0)
        sizes = dict.fromkeys([*names, "router"], LLAMA2_7B)
        row = [str(experts)]
        for device, host, bandwidth in SYSTEMS.values():
            if experts * LLAMA2_7B > host:
                row += ["host full", "-"]
                continue
            levels = [Level("host", host, 1.0), Level("device", device, bandwidth)]
            result = simulate(trace, sizes, levels=levels, pinned=["router"], warmup=10_000)
            moving = result.tiers["device"].seconds / result.requests
            row += [f"{100 * result.hit_rates['device']:.0f} %", f"{1e3 * moving:.1f}"]
        rows.append(row)
    print("uniform requests, experts and pinned router of Llama2-7B; host to device, ms a request")
    columns = [column for name in SYSTEMS for column in (f"{name}: hits", "ms")]
    print(table(["experts", *columns], rows))


def main(folder: Path) -> None:
    foreseen(make_experts(folder))
    reported()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
