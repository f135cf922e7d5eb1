"""One search on two processes, as ``torchrun`` starts them."""

import json
import os
import socket
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from micronas.errors import ConfigError
from micronas.export.verify import tflm_arena, verify
from micronas.nas.distributed import Ranks, joined, ranks
from micronas.nas.settings import DnasSettings, RankedSettings, SingleStageSettings
from micronas.runs.run import run_search
from micronas.runs.settings import RunSettings
from micronas.tflite.reader import read
from tests.kept import five_words
from tests.sweeps.runs import SHORT
from tests.toy import SMALL, few

ROOT = Path(__file__).parents[2]
TORCHRUN = (
    *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
    *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
)
QUICK = {"epochs": 1, "batch_size": 32}
SETTINGS = RunSettings.model_validate(
    {
        "board": "stm32f446re",
        "budget": {"sram": "4.5 KB", "macs": "60000"},
        "space": "toy",
        "data": {"task": "kws", "path": "none"},
        "train": QUICK,
        "quantize": QUICK,
    }
)
SUPERNET = {"steps": 24, "batch_size": 32, "finalists": 1, "champions": 1, "trial": QUICK}
SEARCHES = {
    "dnas": DnasSettings.model_validate({**SUPERNET, "warmup": 20, "candidates": 6}),
    "ranked": RankedSettings.model_validate(SUPERNET),
    "single_stage": SingleStageSettings.model_validate({"epochs": 10, "draws": 4, "trial": QUICK}),
}


def refused() -> str:
    raise ConfigError("only the first knows why")


def searched(settings: RunSettings, folder: Path) -> dict[str, object]:
    """Search and train in a folder of this process, and describe what came of it."""
    told: list[str] = []
    found, trained = run_search(
        settings,
        folder,
        data=few(),
        space=SMALL,
        workers=1,
        progress=lambda phase, *_: told.append(phase),
    )
    return {
        "told": len(told),
        "files": sorted(path.name for path in folder.glob("*")),
        "networks": [str(each.architecture) for each in found.candidates],
        "losses": [record["loss"] for record in found.history],
        "trials": [each.trial_loss for each in found.candidates],
        "gates": found.gates[-1:],
        "metrics": trained.metrics,
    }


def one_of_two(rank: int, port: int, folder: Path) -> None:
    """Do what each of two processes does, and write down what it found."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    os.environ["TORCHELASTIC_RUN_ID"] = "tests"
    with joined() as everyone:
        layer = torch.nn.Linear(3, 2)
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
        inputs = torch.arange(12.0).view(4, 3)
        loss = layer(everyone.part(inputs)).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        mean = everyone.average(layer, loss)

        shared = torch.Generator().manual_seed(5)
        own = everyone.own(shared)
        try:
            everyone.once(refused)
        except ConfigError as error:
            complaint = str(error)

        searches = {
            strategy: searched(
                SETTINGS.model_copy(update={"search": search}),
                folder / f"{strategy}{everyone.rank}",
            )
            for strategy, search in SEARCHES.items()
        }
    described = {
        "rank": everyone.rank,
        "size": everyone.size,
        "loss": mean.item(),
        "gradient": layer.weight.grad.tolist() if layer.weight.grad is not None else None,
        "shared": torch.rand(1, generator=shared).item(),
        "own": torch.rand(1, generator=own).item(),
        "once": complaint,
        "searches": searches,
    }
    (folder / f"{everyone.rank}.json").write_text(json.dumps(described))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes left: what each found, and run folders of the first.

    They are forks in the environment that ``torchrun`` gives, which spares three imports of torch.
    """
    folder, fork = tmp_path_factory.mktemp("ranks"), get_context("fork")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    processes = [fork.Process(target=one_of_two, args=(rank, port, folder)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    return folder


def both(folder: Path) -> "list[dict[str, Any]]":
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.long
def test_two_processes_share_a_batch(folder: Path) -> None:
    first, second = both(folder)
    assert (first["rank"], second["rank"], first["size"]) == (0, 1, 2)

    # rows (0 1 2) and (6 7 8) in one process, (3 4 5) and (9 10 11) in the other; both outputs are
    # their sums: the mean square of 3 12 21 30, and its derivative by weights, 2 sum x / (4 * 2)
    assert first["loss"] == second["loss"] == (9 + 144 + 441 + 900) / 4
    by_hand = [
        sum(s * x for s, x in zip((3, 12, 21, 30), column, strict=True)) / 4
        for column in ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
    ]
    assert first["gradient"] == second["gradient"] == [by_hand, by_hand]

    assert first["shared"] == second["shared"]
    assert first["own"] != second["own"]
    assert first["once"] == second["once"] == "only the first knows why"


@pytest.mark.long
@pytest.mark.parametrize("strategy", sorted(SEARCHES))
def test_two_processes_are_one_search(strategy: str, folder: Path) -> None:
    first, second = (each["searches"][strategy] for each in both(folder))
    for same in ("networks", "losses", "trials", "gates", "metrics"):
        assert first[same] == second[same]
    assert first["losses"][-1] < first["losses"][0]
    assert first["told"] > 0
    assert second["told"] == 0
    assert {"checkpoint.pt", "metrics.json", "model.tflite"} < {*first["files"]}
    assert second["files"] == []
    assert first["metrics"]["fits"] is True
    assert first["metrics"]["tflm_mismatches"] == 0
    check_model(folder / f"{strategy}0" / "model.tflite")


@pytest.mark.slow  # the same through the command line, on speech
def test_a_search_under_torchrun_gives_a_valid_network(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    corpus, out = five_words(tmp_path_factory), tmp_path / "run"
    settings = [*SHORT, f"data.path={corpus}", "budget.latency=40ms"]
    done = subprocess.run(
        [*TORCHRUN, "-m", "micronas", "search", "kws_small", *settings, "--out", out, "--quiet"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["fits"] is True
    assert metrics["tflm_mismatches"] == 0
    assert metrics["latency_ms"] <= 40
    check_model(out / "model.tflite")


def check_model(path: Path) -> None:
    model = path.read_bytes()
    assert len(model) <= 20 * 1024
    assert tflm_arena(model).total <= 16 * 1024
    graph = read(model)
    shape = graph.tensors[graph.inputs[0]].shape[1:]
    inputs = torch.randint(-128, 128, (20, *shape), dtype=torch.int8).numpy()
    assert verify(model, inputs).mismatches == 0


def test_batches_that_cannot_be_divided_are_one_error() -> None:
    with pytest.raises(ConfigError, match=r"batch_size=65, processes=2; set search.batch_size=66"):
        Ranks(0, 2).check_batch(65)
    with pytest.raises(ConfigError, match=r"set search.batch_size=8"):
        Ranks(0, 4).check_batch(4)
    Ranks(0, 2).check_batch(4)


def test_a_lone_process_changes_nothing() -> None:
    alone, index, generator = ranks(), torch.tensor([3, 1, 2]), torch.Generator()
    assert alone == Ranks(0, 1)
    assert torch.equal(alone.part(index), index)
    assert alone.own(generator) is generator
    layer = torch.nn.Linear(2, 1)
    loss = layer(torch.ones(1, 2)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert alone.average(layer, loss) == loss
    assert layer.weight.grad.tolist() == [[1.0, 1.0]]
    assert alone.once(lambda: "value") == "value"


def test_parts_are_the_batch() -> None:
    index = torch.randperm(12)
    parts = [Ranks(rank, 3).part(index) for rank in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert torch.equal(torch.cat(parts).sort().values, torch.arange(12))
