"""Do the bounds hold for the memory a process really has? Linux says so in /proc."""

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from micronas.router.store import ExpertStore, find_experts
from tests.router.store_files import expert

EXPERTS, MB = 50, 1_000_000
HOST, DEVICE = 24 * MB, 12 * MB
SLACK = 900_000
"""For Python's own objects; less than the smallest expert, so that none can be forgotten."""


def peak_growth(folder: Path, host: int, device: int, requests: int, keep: int) -> dict[str, int]:
    """Use random experts; return by how many bytes the process grew at its largest."""
    files = find_experts(folder)
    trace = np.random.default_rng(0).choice(sorted(files), requests)
    store = ExpertStore(files, host, device=device)
    store.sizes()
    with ExpertStore(files, host, device=device).use(trace[0]) as weights:
        assert weights
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    before = status("VmRSS")
    kept = []
    for name in trace:
        with store.use(name) as weights:
            assert weights["weight"][::4096].any()
            if len(kept) < keep:
                kept.append(weights["weight"].copy())
    counts = store.counts()
    return {
        "grown": status("VmHWM") - before,
        "held": sum(store.used().values()),
        "evictions": counts["host"].evictions + counts["device"].evictions,
        "lookups": counts["device"].hits + counts["device"].misses,
    }


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 experts of 1 to 4 MB, 125 MB in all."""
    made = tmp_path_factory.mktemp("experts")
    for number in range(EXPERTS):
        nbytes = MB + 3 * MB * number // (EXPERTS - 1)
        expert(made / f"e{number:02d}.safetensors", nbytes, seed=number)
    return made


def measured(folder: Path, *arguments: int) -> dict[str, int]:
    """Run `peak_growth` in a process of its own."""
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from tests.router.test_store_memory import peak_growth\n"
        "print(json.dumps(peak_growth(Path(sys.argv[1]), *map(int, sys.argv[2:]))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, int] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("lookups", [600, pytest.param(2000, marks=pytest.mark.slow)])
def test_the_process_grows_by_no_more_than_the_bounds(folder: Path, lookups: int) -> None:
    result = measured(folder, HOST, DEVICE, lookups, 0)
    assert result["lookups"] == lookups
    assert result["evictions"] > lookups
    assert result["held"] <= HOST + DEVICE
    assert 0.8 * (HOST + DEVICE) < result["grown"] <= HOST + DEVICE + SLACK


def test_the_measurement_sees_three_experts_too_many(folder: Path) -> None:
    # copies of three experts' weights are kept: memory that the store does not know of
    assert measured(folder, HOST, DEVICE, 300, 3)["grown"] > HOST + DEVICE + SLACK


def test_the_measurement_sees_a_store_with_room_for_all(folder: Path) -> None:
    assert measured(folder, 200 * MB, DEVICE, 300, 0)["grown"] > 100 * MB
