"""The expert store on real files: what is lent, what is refused, and threads."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch

from micronas.errors import ConfigError, DataError, ModelError
from micronas.router.store import Counts, ExpertStore, Level, find_experts, simulate
from micronas.router.store.memory import Pages
from tests.router.store_files import PAGE, experts


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """e0 to e4, of 1, 2, 3, 2 and 1 pages."""
    return experts(tmp_path, [1, 2, 3, 2, 1])


def without_seconds(counts: dict[str, Counts]) -> dict[str, tuple[int, int, int, int]]:
    return {
        name: (each.hits, each.misses, each.evictions, each.bytes) for name, each in counts.items()
    }


def test_weights_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "many.safetensors"
    generator = np.random.default_rng(0)
    weights = {
        "matrix": generator.normal(size=(7, 33)).astype(np.float32),
        "scale": np.array(3.5),
        "none": np.zeros((0, 4), np.float16),
        "codes": generator.integers(-128, 128, (5, 3)).astype(np.int8),
        "mask": np.array([True, False, True]),
        "index": np.arange(9, dtype=np.int64),
    }
    save_file(weights, path)
    for device in (None, "1 MB"):
        with ExpertStore({"many": path}, "1 MB", device=device).use("many") as lent:
            assert lent.keys() == weights.keys()
            for name, expected in load_file(path).items():
                assert lent[name].dtype == expected.dtype
                np.testing.assert_array_equal(lent[name], expected, strict=True)
                assert not lent[name].flags.writeable


def test_hits_misses_and_bytes_by_hand(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 4 * PAGE, device=3 * PAGE, pinned=["e0"])
    for name in ("e1", "e3", "e1", "e0", "e4"):
        with store.use(name):
            pass
    # device: 3 pages, one of them e0's for good: e1, e3 (out e1), e1 (out e3), e0 hits,
    # e4 (out e1). Host, 4 pages: e0, e1, e3 (out e0), e1 hits, e4 (out e3).
    counts = store.counts()
    assert without_seconds(counts) == {
        "host": (1, 4, 2, 6 * PAGE),
        "device": (1, 5, 3, 8 * PAGE),
    }
    assert store.resident() == {"e0", "e4"}
    assert store.used() == {"host": 3 * PAGE, "device": 2 * PAGE}
    assert all(each.seconds > 0 for each in counts.values())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_it_does_what_the_simulator_says(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pages = data.draw(st.lists(st.integers(1, 4), min_size=2, max_size=6))
    files = experts(tmp_path_factory.mktemp("experts"), pages)
    trace = data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=40))
    host, device = (data.draw(st.integers(4, 10)) * PAGE for _ in range(2))
    store = ExpertStore(files, host, device=device)
    for name in trace:
        with store.use(name):
            used = store.used()
            assert used["host"] <= host
            assert used["device"] <= device
    expected = simulate(
        trace, store.sizes(), levels=[Level("host", host, 1.0), Level("device", device, 1.0)]
    )
    assert without_seconds(store.counts()) == without_seconds(expected.tiers)


def test_the_same_requests_leave_the_same_state(files: dict[str, Path]) -> None:
    trace = np.random.default_rng(0).choice(sorted(files), 200)
    states = []
    for _ in range(2):
        store = ExpertStore(files, 5 * PAGE, device=4 * PAGE)
        for name in trace:
            with store.use(name):
                pass
        states.append((without_seconds(store.counts()), store.resident(), store.used()))
    assert states[0] == states[1]


@pytest.mark.parametrize("damage", ["truncated", "header", "empty", "missing", "no weights"])
def test_a_damaged_file_is_one_error_and_the_rest_go_on(
    files: dict[str, Path], damage: str
) -> None:
    path = files["e1"]
    whole = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(whole[:-100])
        case "header":
            path.write_bytes(b"\xff" * 16 + whole[16:])
        case "empty":
            path.write_bytes(b"")
        case "missing":
            path.unlink()
        case _:
            save_file({"weight": np.zeros((0, 2), np.float32)}, path)
    store = ExpertStore(files, 6 * PAGE, device=3 * PAGE)
    with store.use("e0"):
        pass
    for _ in range(2):
        with pytest.raises(ModelError, match=r"an expert must .*e1\.safetensors"), store.use("e1"):
            pass
    assert store.resident() == {"e0"}
    for name in ("e2", "e3", "e4"):
        with store.use(name) as weights:
            np.testing.assert_array_equal(weights["weight"], load_file(files[name])["weight"])
    assert store.check().keys() == {"e1"}
    assert store.sizes() == {"e0": PAGE, "e2": 3 * PAGE, "e3": 2 * PAGE, "e4": PAGE}


def test_a_file_cut_short_later_is_an_error_and_gives_its_room_back(
    files: dict[str, Path],
) -> None:
    store = ExpertStore(files, 3 * PAGE, device=3 * PAGE)
    for name in ("e1", "e2"):
        with store.use(name):
            pass
    os.truncate(files["e1"], files["e1"].stat().st_size - 1)
    with pytest.raises(ModelError, match="must be a whole safetensors file"), store.use("e1"):
        pass
    assert store.used() == {"host": 0, "device": 0}
    with store.use("e2") as weights:
        np.testing.assert_array_equal(weights["weight"], load_file(files["e2"])["weight"])


def test_a_file_that_became_another_is_an_error(files: dict[str, Path]) -> None:
    store = ExpertStore(files, PAGE)
    for name in ("e0", "e4"):
        with store.use(name):
            pass
    save_file({"weight": np.zeros((2, PAGE // 2), np.int8)}, files["e0"])
    with pytest.raises(ModelError, match=r"must not change .* make a new store"), store.use("e0"):
        pass


def test_weights_off_their_alignment_are_refused(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"I8","shape":[3],"data_offsets":[0,3]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[3,7]}}'
    )
    path = tmp_path / "odd.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(7))
    store = ExpertStore({"odd": path}, "1 MB")
    with pytest.raises(ModelError, match=r"'b' of .* stands at 3; save it again"), store.use("odd"):
        pass


def test_an_expert_larger_than_a_tier_is_one_error(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 6 * PAGE, device=2 * PAGE)
    with (
        pytest.raises(
            ConfigError,
            match="'e2' takes 12288 B and the device tier has 8192 B, 0 B of them pinned",
        ),
        store.use("e2"),
    ):
        pass
    with store.use("e1"):
        pass
    assert store.check().keys() == {"e2"}


def test_what_is_pinned_has_to_fit_and_leaves_the_rest(files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="'e2' takes 12288 B and the host tier has 8192 B"):
        ExpertStore(files, 2 * PAGE, pinned=["e2"])
    with pytest.raises(ConfigError, match=r"'e3' takes 8192 B .* 8192 B of them pinned"):
        ExpertStore(files, 3 * PAGE, pinned=["e1", "e3"])
    store = ExpertStore(files, 3 * PAGE, pinned=["e1", "e1"])
    with pytest.raises(ConfigError, match="8192 B of them pinned"), store.use("e3"):
        pass
    assert store.check().keys() == {"e2", "e3"}
    for name in ("e0", "e4", "e1"):
        with store.use(name):
            assert "e1" in store.resident()


def test_an_unknown_expert_and_a_bad_bound_are_errors(files: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="unknown expert 'e9'; choose one of e0, e1"):
        ExpertStore(files, "1 MB", pinned=["e9"])
    with pytest.raises(ConfigError, match=r"quantity of bytes .* got '3 m'"):
        ExpertStore(files, "3 m")
    with pytest.raises(ConfigError, match="numpy or a device of torch, but got 'gpu'"):
        ExpertStore(files, "1 MB", backend="gpu")
    with pytest.raises(ConfigError, match="backend meta must have a bound of bytes; set device"):
        ExpertStore(files, "1 MB", backend="meta")
    with pytest.raises(ConfigError, match=r"more could not be had: .*; lower their bounds"):
        Pages(1 << 60)


def test_a_folder_is_read_by_name(files: dict[str, Path], tmp_path: Path) -> None:
    assert find_experts(tmp_path) == files
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="has none"):
        find_experts(tmp_path / "none")


def test_what_is_in_use_is_not_evicted(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 3 * PAGE, timeout=0.05)
    with store.use("e1") as weights:
        with (
            pytest.raises(ConfigError, match=r"room for 'e3', but e1 stayed in use for 0\.05 s"),
            store.use("e3"),
        ):
            pass
        np.testing.assert_array_equal(weights["weight"], load_file(files["e1"])["weight"])
    assert weights == {}
    with store.use("e3"):
        assert store.resident() == {"e3"}


def test_an_array_kept_too_long_counts_as_in_use(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 3 * PAGE, timeout=0.05)
    with store.use("e1") as weights:
        kept = weights["weight"][:5]
    with store.use("e0"):
        pass
    with pytest.raises(ConfigError, match="e1 stayed in use"), store.use("e3"):
        pass
    with store.use("e4"):  # e0 went for it, though e1 was used longer ago
        assert store.resident() == {"e1", "e4"}
    np.testing.assert_array_equal(kept, load_file(files["e1"])["weight"][:5])
    del kept
    with store.use("e3"):
        assert store.resident() == {"e3", "e4"}


def test_one_waits_until_another_returns_an_expert(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 3 * PAGE, timeout=30)
    done = threading.Event()

    def ask() -> None:
        with store.use("e3"):
            done.set()

    with store.use("e2"):
        thread = threading.Thread(target=ask)
        thread.start()
        assert not done.wait(0.1)
    thread.join(10)
    assert done.is_set()


def test_threads_that_want_the_same_expert_load_it_once(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 8 * PAGE, device=8 * PAGE)
    barrier = threading.Barrier(8)
    sums = []

    def ask() -> None:
        barrier.wait()
        with store.use("e2") as weights:
            sums.append(int(weights["weight"].astype(int).sum()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sums == [int(load_file(files["e2"])["weight"].astype(int).sum())] * 8
    assert without_seconds(store.counts()) == {
        "host": (0, 1, 0, 3 * PAGE),
        "device": (7, 1, 0, 3 * PAGE),
    }


def test_threads_share_tight_tiers(files: dict[str, Path]) -> None:
    files["e1"].write_bytes(b"damaged")
    host, device = 4 * PAGE, 5 * PAGE
    store = ExpertStore(files, host, device=device, timeout=30)
    expected = {name: load_file(files[name])["weight"] for name in files if name != "e1"}
    failures: list[str] = []
    errors: list[int] = []

    def ask(seed: int) -> None:
        for name in np.random.default_rng(seed).choice(sorted(files), 150):
            try:
                with store.use(name) as weights:
                    used = store.used()
                    if not np.array_equal(weights["weight"], expected[name]):
                        failures.append(f"{name}: wrong weights")
                    if used["host"] > host or used["device"] > device:
                        failures.append(f"{name}: {used}")
            except ModelError:
                errors.append(seed)
                if name != "e1":
                    failures.append(f"{name}: an error of another expert")

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    counts = store.counts()
    assert set(errors) == set(range(6))
    assert counts["device"].hits + counts["device"].misses + len(errors) == 6 * 150
    assert not any(slot.users for tier in store._tiers for slot in tier.slots.values())


def test_threads_that_want_a_lost_expert_all_get_the_error(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 8 * PAGE, device=8 * PAGE, timeout=30)
    assert store.check() == {}
    files["e2"].unlink()
    outcomes: list[str] = []
    barrier = threading.Barrier(6)

    def ask() -> None:
        barrier.wait()
        try:
            with store.use("e2"):
                outcomes.append("lent")
        except ModelError:
            outcomes.append("error")

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert outcomes == ["error"] * 6
    assert store.used() == {"host": 0, "device": 0}


@pytest.mark.parametrize("device", [None, "1 MB"])
def test_torch_tensors_are_those_of_the_file(tmp_path: Path, device: str | None) -> None:
    path = tmp_path / "torch.safetensors"
    weights = {
        "half": torch.randn(4, 5).to(torch.bfloat16),
        "eighth": torch.randn(6).to(torch.float8_e4m3fn),
        "codes": torch.arange(3, dtype=torch.int8),
        "one": torch.tensor(2.5),
    }
    save_torch(weights, path)
    store = ExpertStore({"a": path}, "1 MB", device=device, backend="cpu", timeout=0.05)
    with store.use("a") as lent:
        assert lent.keys() == weights.keys()
        for name, expected in weights.items():
            assert lent[name].dtype == expected.dtype
            assert torch.equal(lent[name].float(), expected.float())
    with (
        pytest.raises(ModelError, match=r"is BF16; convert it|is F8_E4M3; convert it"),
        ExpertStore({"a": path}, "1 MB", device=device).use("a"),
    ):
        pass


def test_a_torch_tensor_kept_too_long_stays_sound(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 8 * PAGE, device=3 * PAGE, backend="cpu", timeout=0.05)
    with store.use("e1") as weights:
        kept = weights["weight"].view(2, -1)[1]
    with pytest.raises(ConfigError, match="e1 stayed in use"), store.use("e2"):
        pass
    expected = load_file(files["e1"])["weight"].reshape(2, -1)[1]
    np.testing.assert_array_equal(kept.numpy(), expected)
    del kept
    with store.use("e2"):
        assert store.resident() == {"e2"}


def test_another_device_has_its_own_memory(files: dict[str, Path]) -> None:
    store = ExpertStore(files, 3 * PAGE, device=4 * PAGE, backend="meta")
    for name in ("e2", "e0", "e1"):
        with store.use(name) as weights:
            assert weights["weight"].device.type == "meta"
            assert weights["weight"].dtype == torch.int8
    assert store.resident() == {"e0", "e1"}
    assert without_seconds(store.counts())["device"] == (0, 3, 1, 6 * PAGE)


def test_numpy_arrays_need_no_torch(files: dict[str, Path]) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from micronas.router.store import ExpertStore, find_experts\n"
        "store = ExpertStore(find_experts(Path(sys.argv[1])), '1 MB', device='1 MB')\n"
        "with store.use('e2') as weights:\n"
        "    print(weights['weight'].shape, 'torch' in sys.modules)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code, str(files["e0"].parent)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed == f"({3 * PAGE},) False\n"
