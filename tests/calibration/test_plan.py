"""Plans of networks to measure: spread, within limits and runnable; firmware that holds them."""

import csv
import random
import re
import subprocess
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.optimize import nnls

from micronas.calibration.plan import read_plan, write_plan
from micronas.errors import BudgetError, ConfigError, DataError, ExportError
from micronas.export.firmware.timing import read_log
from micronas.export.verify import tflm_arena, tflm_run, verify
from micronas.graph.counts import Counts, count
from micronas.graph.ir import Graph
from micronas.hardware.targets import CMSIS_NN, MICRONAS
from micronas.hardware.targets import plan as arena_plan
from micronas.resources import find
from micronas.space.space import Space
from micronas.tflite.reader import read
from testing.graphs import random_inputs
from tests.contents import contents

Floats = npt.NDArray[np.float64]

STUBS = Path(__file__).parents[1] / "export" / "firmware" / "stubs"
SRAM, FLASH = 256e3, 1e6
"""Of a board with an STM32L4, as a user would give them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("plan") / "plan"
    write_plan(target, 12, sram_bytes=SRAM, flash_bytes=FLASH)
    return target


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks that a small memory holds, in one firmware."""
    target = tmp_path_factory.mktemp("small") / "plan"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody asks what untrained networks lose by rounding
        write_plan(target, 3, sram_bytes=50e3)
    return target


@pytest.fixture(scope="module")
def graphs(folder: Path) -> dict[str, Graph]:
    return {name: read(path.read_bytes()) for name, path in read_plan(folder).items()}


def models_in(project: Path) -> dict[str, int]:
    """Names of the networks of a firmware project and the sizes of their arrays."""
    named = (project / "timing.h").read_text().split("kNames[] = {")[1].split("};")[0]
    names = [(name, place) for place, name in enumerate(re.findall(r'"(\w+)"', named), 1)]
    sizes = {}
    for name, number in names:
        text = (project / f"network{number}.h").read_text()
        found = re.search(rf"kNetwork{number}Bytes = (\d+);", text)
        sizes[name] = int(found[1])
    return sizes


def factor(counts: list[Counts], of: str) -> float:
    """Largest over smallest count per MAC, or of MACs themselves."""
    values = [count.macs if of == "macs" else getattr(count, of) / count.macs for count in counts]
    return max(values) / min(values)


@pytest.mark.long
def test_a_plan_is_spread_over_sizes_shapes_and_spaces(graphs: dict[str, Graph]) -> None:
    assert [name for name in graphs if name.endswith("_01")] == ["ad_01", "kws_01", "vww_01"]
    assert sorted(name[-2:] for name in graphs) == sorted(["01", "02", "03", "04"] * 3)
    stems = {graph.constant_of(graph.ops[0]).shape[1:3] for graph in graphs.values()}
    assert stems == {(10, 4), (3, 3)}
    for space in ("ad", "kws", "vww"):
        counts = [count(graph) for name, graph in graphs.items() if name.startswith(space)]
        assert [each.macs for each in counts] == sorted(each.macs for each in counts)
        assert factor(counts, "macs") > 3
        assert factor(counts, "depthwise_outputs") > 1.5
        assert factor(counts, "conv_outputs") > 1.5
    everything = [count(graph) for graph in graphs.values()]
    assert factor(everything, "macs") > 8
    assert factor(everything, "depthwise_outputs") > 5
    assert factor(everything, "conv_outputs") > 5


@pytest.mark.long
def test_three_terms_fitted_to_a_plan_predict_other_networks(graphs: dict[str, Graph]) -> None:
    """Instructions stand for the board; each measurement is off by 5 %, as a coarse clock is."""
    terms = ("conv_macs", "depthwise_macs", "conv_outputs")

    def table(networks: Iterable[Graph]) -> tuple[Floats, Floats]:
        costs = [CMSIS_NN.features(graph) for graph in networks]
        counts = np.array([[cost[term] for term in terms] for cost in costs])
        return counts, np.array([cost["instructions"] for cost in costs])

    random_number = random.Random(1)
    spaces = [Space.load(name) for name in ("kws", "ad", "vww")]
    others, truth = table(
        space.architecture(space.random(random_number)).graph()
        for space in spaces
        for _ in range(20)
    )
    counts, measured = table(graphs.values())
    noise = np.random.default_rng(0)
    errors = []
    for _ in range(20):
        seen = measured * np.exp(noise.normal(0, 0.05, len(measured)))
        fitted, _ = nnls(counts / seen[:, None], np.ones(len(seen)))
        errors.append(np.abs(others @ fitted / truth - 1).mean())
    assert np.mean(errors) < 0.045


@pytest.mark.long
def test_a_plan_keeps_the_boards_limits(folder: Path, graphs: dict[str, Graph]) -> None:
    projects = sorted(folder.glob("firmware*"))
    assert [project.name for project in projects] == ["firmware_1", "firmware_2", "firmware_3"]
    held = [models_in(project) for project in projects]
    assert sorted(name for sizes in held for name in sizes) == sorted(graphs)
    # fewer cannot hold them
    assert sum(size for sizes in held for size in sizes.values()) > 2 * (FLASH - 75_000)
    for sizes in held:
        assert sum(sizes.values()) + 75_000 <= FLASH
        assert sizes == {name: (read_plan(folder)[name]).stat().st_size for name in sizes}
    for graph in graphs.values():
        assert arena_plan(graph).required + 8_000 <= SRAM


@pytest.mark.long
def test_the_table_awaits_one_time_a_network(folder: Path, graphs: dict[str, Graph]) -> None:
    with (folder / "measurements.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["latency_ms"] for row in rows} == {""}
    assert sorted(folder / row["model"] for row in rows) == sorted(read_plan(folder).values())
    assert {path.name for path in folder.iterdir()} == {
        "networks",
        "measurements.csv",
        *(f"firmware_{number}" for number in (1, 2, 3)),
    }


@pytest.mark.long
def test_every_network_runs_on_tflm(folder: Path, graphs: dict[str, Graph]) -> None:
    for name, path in read_plan(folder).items():
        output = tflm_run(path.read_bytes(), random_inputs(graphs[name], 1))
        assert output.shape == (1, {"kws": 12, "ad": 4, "vww": 2}[name[:-3]])


@pytest.mark.long
def test_small_networks_compute_what_integer_execution_does(small: Path) -> None:
    for path in read_plan(small).values():
        model = path.read_bytes()
        assert verify(model, random_inputs(read(model), 2)).mismatches == 0


@pytest.mark.long
def test_the_firmwares_log_names_the_plans_networks(small: Path, tmp_path: Path) -> None:
    arena = max(tflm_arena(path.read_bytes()).total for path in read_plan(small).values())
    (tmp_path / "answer.cc").write_text(
        f"""#include <cstddef>
        #include <cstdint>
        #include <cstdio>
        extern "C" void micronas_puts(const char* text) {{ std::fputs(text, stdout); }}
        std::int8_t stub_input[9] = {{}};
        std::int8_t stub_output[2] = {{}};
        extern const std::size_t stub_input_sizes[], stub_output_sizes[];
        const std::size_t stub_input_sizes[] = {{9, 0}}, stub_output_sizes[] = {{2, 0}};
        extern const std::size_t stub_arena_bytes; const std::size_t stub_arena_bytes = {arena};"""
    )
    program, main = tmp_path / "program", small / "firmware" / "main.cc"
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{STUBS}", str(main)]
    command.append(str(main.with_name("console.cc")))
    subprocess.run([*command, str(tmp_path / "answer.cc"), "-o", str(program)], check=True)
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    # the stub's clock advances by 7 ms from one reading to the next
    assert read_log(said) == dict.fromkeys(read_plan(small), 7.0)


@pytest.mark.long
def test_a_plan_for_the_engine_times_the_engine(tmp_path: Path) -> None:
    # an interpreter would take all of it, and the files are 1.8 KB too large for one firmware
    sizes = {"sram_bytes": 64e3, "flash_bytes": 62e3}
    write_plan(tmp_path / "plan", 2, spaces=("kws_small",), target=MICRONAS, **sizes)
    network = (tmp_path / "plan/firmware/network.h").read_text()
    assert "network2_invoke" in network
    assert "tflite" not in network


@pytest.mark.long
def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        torch.manual_seed(ord(name))  # what ran before must not matter
        before = torch.get_rng_state()
        spaces = ("kws_small", "vww_small")
        write_plan(tmp_path / name, 4, spaces=spaces, sram_bytes=64e3, kind="arduino", seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a").keys() == contents(tmp_path / "c").keys()
    assert contents(tmp_path / "a") != contents(tmp_path / "c")
    assert "firmware/firmware.ino" in contents(tmp_path / "a")


def test_a_space_in_which_nothing_fits_is_left_out(tmp_path: Path) -> None:
    # the smallest network of ad needs 39 KB, that of kws 19 KB
    names = [path.stem for path in write_plan(tmp_path / "plan", 2, sram_bytes=40e3)]
    assert names == ["kws_01", "kws_02"]


def test_a_users_own_space_may_have_any_name(tmp_path: Path) -> None:
    text = find("search_spaces", "kws_small").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("name: kws_small", "name: 'My Wörd: 2'"))
    paths = write_plan(tmp_path / "plan", 2, spaces=[str(tmp_path / "mine.yaml")])
    assert [path.name for path in paths] == ["my_w_rd_2_01.tflite", "my_w_rd_2_02.tflite"]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"count": 0}, ConfigError, "at least one network and one search space, but got 0 of"),
        ({"spaces": ()}, ConfigError, "but got 3 of []"),
        ({"spaces": ("kvs",)}, ConfigError, "kws"),
        ({"kind": "zephyr"}, ExportError, "cmake, arduino, but got 'zephyr'"),
        ({"sram_bytes": 20e3}, BudgetError, "20.0 KB of SRAM and any flash, but only 0 were"),
        ({"flash_bytes": 75e3}, BudgetError, "any SRAM and 75.0 KB of flash, but only 0 were"),
    ],
)
def test_what_cannot_be_planned_is_refused_and_leaves_nothing(
    arguments: dict[str, object], error: type[Exception], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as raised:
        write_plan(tmp_path / "plan", **{"count": 3, **arguments})  # type: ignore[arg-type]
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match="new or empty folder"):
        write_plan(tmp_path, 3, sram_bytes=40e3)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_folder_without_networks_is_no_plan(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match=r"must hold networks/\*\.tflite, but"):
            read_plan(folder)
