"""One call from data to a verified file."""

import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset, WeightedRandomSampler

import micronas
from micronas.engine.generate import generate
from micronas.errors import BudgetError, ConfigError, DataError, ExportError
from micronas.export.verify import verify
from micronas.report.write import write_report
from micronas.runs.costs import describe_costs
from micronas.runs.run import run_training
from micronas.runs.settings import load_training
from micronas.tasks.arrays.loaders import as_data_set
from micronas.tflite.reader import read
from tests.docs.markdown import ROOT, blocks
from tests.toy import CLASSES, SPACE, data, split

BRIEF: dict[str, Any] = {
    "workers": 1,
    "search": {"draws": 2, "generations": 0, "trial": {"epochs": 1, "batch_size": 32}},
    "train": {"epochs": 1, "batch_size": 32},
    "quantize": {"epochs": 1, "batch_size": 32},
}


def pictures(count: int, seed: int) -> TensorDataset:
    given = split(count, seed)
    return TensorDataset(given.inputs, given.labels)


def examples(labels: torch.Tensor) -> TensorDataset:
    return TensorDataset(torch.arange(16.0).reshape(4, 1, 2, 2), labels)


class Listed(Dataset[Any]):
    def __init__(self, examples: list[Any]) -> None:
        self.examples = examples

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, place: int) -> Any:
        return self.examples[place]


def named_pictures(classes: tuple[str, ...]) -> TensorDataset:
    given = pictures(20, 0)
    given.classes = classes  # type: ignore[attr-defined]
    return given


@pytest.mark.long
def test_the_page_of_ten_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = (
        each
        for each in blocks(ROOT / "docs" / "howto" / "ten-lines.md")
        if each.language == "python"
    )
    names: dict[str, Any] = {}
    exec(compile(block.text, "ten-lines", "exec"), names)
    result = names["result"]
    assert isinstance(result, micronas.Run)
    assert result.folder == Path("runs/kws_small")
    assert (result.folder / "model.tflite").read_bytes() == result.model
    assert result.metrics["fits"] is True
    assert result.metrics["tflm_mismatches"] == 0
    assert result.costs.macs == result.metrics["macs"]
    assert "fits true" in str(result)
    assert str(result.search) == result.search.table()  # a page of text, without each comparison
    assert len(repr(result.search.winner)) < 2_000
    assert "TFLM mismatches" in result._repr_html_()
    network = result.network
    assert network is not None
    assert network(names["patterns"][:5]).shape == (5, 3)


@pytest.mark.long
def test_loaders_and_objects_stand_for_names(tmp_path: Path) -> None:
    """A loader each for training and validation, which lacks a class; the space has others."""
    seen = pictures(80, 1)
    judged = [place for place in range(80) if seen[place][1] != 3]
    parts = [DataLoader(pictures(200, 0), 50), DataLoader(Subset(seen, judged), 50)]
    space = SPACE.model_copy(update={"classes": 9})
    board, budget = micronas.Board.load("stm32f446re"), micronas.Budget(sram="6 KB")
    run = micronas.run(
        parts, space, board=board, budget=budget, folder=tmp_path / "run", quiet=True, **BRIEF
    )
    assert run.metrics["judged_on"] == "validation"
    assert run.metrics["judged_examples"] == len(judged) < 80
    assert run.metrics["int8_accuracy_per_class"]["3"] is None
    text = (run.folder / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == run.metrics  # NaN is no JSON
    assert verify(run.model, torch.zeros(1, 12, 12, 1, dtype=torch.int8).numpy()).mismatches == 0
    again = micronas.run(
        parts, space, board=board, budget=budget, folder=tmp_path / "run", quiet=True, **BRIEF
    )
    assert again.model == run.model
    with pytest.raises(ConfigError, match="holds a run of another space, or of an earlier form"):
        micronas.run(
            parts,
            space.model_copy(update={"blocks": space.blocks[:-1]}),
            **{"board": board, "budget": budget, "folder": run.folder, "quiet": True, **BRIEF},
        )
    with pytest.raises(ConfigError, match="holds a run that differs in budget, seed;"):
        micronas.run(
            parts, space, board=board, folder=tmp_path / "run", seed=1, quiet=True, **BRIEF
        )


@pytest.mark.long
def test_a_run_with_the_engine_is_judged_by_it(tmp_path: Path) -> None:
    """On a device that has no room for an interpreter."""
    device = {"board": "stm32f446re", "budget": {"sram": "4 KB", "flash": "16 KB"}}
    with pytest.raises(BudgetError, match="flash budget"):
        micronas.run(data(), SPACE, folder=tmp_path / "tflm", quiet=True, **device, **BRIEF)
    folder = tmp_path / "run"
    run = micronas.run(
        data(), SPACE, engine="micronas", folder=folder, quiet=True, **device, **BRIEF
    )
    files, metrics = generate(read(run.model)), run.metrics
    assert (metrics["engine"], metrics["latency_form"], metrics["fits"]) == (
        "micronas",
        "cycles",
        True,
    )
    assert metrics["arena_bytes"] == files.arena <= 4000
    assert metrics["device"]["flash_bytes"] <= 16_000
    assert describe_costs(folder)["arena_bytes"] == files.arena
    _, shown = write_report([folder])
    assert shown["arena"]["plans"]["board"]["required"] == files.arena
    assert shown["layers"]["form"] == "cycles"


def test_an_example_that_is_drawn_again_stays_in_its_part() -> None:
    """A sampler that shows rare classes more often put two thirds of validation into training."""
    given = pictures(60, 0)
    sampler = WeightedRandomSampler([1.0] * 60, 200, generator=torch.Generator().manual_seed(0))
    found = as_data_set(DataLoader(given, sampler=sampler))
    parts = [
        {each.numpy().tobytes() for each in part.inputs} for part in (found.train, found.validation)
    ]
    assert not parts[0] & parts[1]
    assert f"{len(parts[0] | parts[1])} of them differ" in found.summary
    assert not {*found.train.groups.tolist()} & {*found.validation.groups.tolist()}
    told = as_data_set([given, Subset(given, range(9)), pictures(20, 1)]).summary
    assert "9 of 9 for validation are also for training" in told
    assert "for test" not in told
    # what chooses thresholds and rounding must not judge them either
    told = as_data_set([given, pictures(20, 1), pictures(20, 1)]).summary
    assert "20 of 20 for test are also for validation, which flatters figures." in told
    assert "for training, which" not in told


def test_a_shuffled_loader_gives_one_order() -> None:
    """The same call found another order, so that it could not resume its own killed run."""
    given, asked = pictures(60, 0), multiprocessing.Event()

    def begin(number: int) -> None:
        asked.set()

    loader = DataLoader(
        given, 16, shuffle=True, drop_last=True, num_workers=1, worker_init_fn=begin
    )
    parts = (loader, DataLoader(pictures(20, 1), 16))
    found = as_data_set(parts).train
    assert isinstance(found, micronas.TensorSplit)
    assert torch.equal(found.inputs, given.tensors[0])
    assert asked.is_set(), "its workers read it"


def test_one_data_set_keeps_a_fifth_for_validation() -> None:
    found = as_data_set(pictures(200, 0))
    assert (len(found.train.labels), len(found.validation.labels)) == (160, 40)
    assert found.input == (12, 12, 1)
    assert found.classes == ("0", "1", "2", "3")
    assert "drawn at random" in found.summary
    given = data()
    assert as_data_set(given) is given
    assert as_data_set([named_pictures(CLASSES), pictures(20, 1)]).classes == CLASSES
    part = DataLoader(Subset(named_pictures(CLASSES), range(20)), 8)  # as of random_split
    assert as_data_set([part, pictures(20, 1)]).classes == CLASSES


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (3, "but got int"),
        ([], "one to three torch Datasets"),
        (torch.zeros(3), "wrap tensors in torch.utils.data.TensorDataset"),
        (TensorDataset(torch.zeros(4, 1, 2, 2)), "must be a pair of input and label"),
        (examples(torch.rand(4)), r"float32 \[3\]; pass labels.long\(\)"),
        (examples(torch.full((4,), torch.nan)), "labels must number classes"),
        (examples(torch.eye(4).long()), r"rows \[3, 4\]; pass labels.argmax\(1\)"),
        (examples(torch.zeros(4, 1)), r"rows \[3, 1\]; pass labels\[:, 0\].long"),
        (examples(torch.arange(4) - 1), "labels must be 0 or more, but are -1 to"),
        (examples(torch.arange(4) * 10**9), "4 examples have labels of up to 3000000000"),
        (TensorDataset(torch.zeros(4, 1, 2, 2), *[torch.arange(4)] * 2), "gives 3 in place of 2"),
        (TensorDataset(torch.zeros(4, 9), torch.arange(4)), "inputs must be .*unsqueeze"),
        (
            TensorDataset(torch.zeros(4, 1, 2, 2, dtype=torch.cfloat), torch.arange(4)),
            "must be real",
        ),
        ([(torch.zeros(1, 2, 2), 0)] * 300, "but got tuple, tuple, tuple, tuple and 296 more;"),
        (pictures(2, 0), "a lone one at least three"),
        (Listed([(torch.zeros(1, 2, 2), "cat")]), "labels numbers, but torch says: .*'str'"),
        (Listed([(object(), 0)]), "inputs must be tensors or arrays of one shape"),
        (Listed([(torch.zeros(1, n, 2), 0) for n in (2, 3)]), "tensors or arrays of one shape"),
        (DataLoader(Listed([(torch.zeros(1, n, 2), 0) for n in (2, 3)]), 1), "of one shape"),
        (
            [named_pictures(CLASSES), DataLoader(named_pictures(CLASSES[1:]))],
            "all parts must number the same classes",
        ),
    ],
)
def test_other_data_is_one_error(given: Any, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        as_data_set(given)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"seed": "x"}, "seed: must be a whole number, but got 'x'"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0, but got -1"),
        ({"seed": 2**63}, "seed: input should be less than 9223372036854775808"),
        ({"workers": -2}, "workers must be 1 or more, but got -2; leave it out"),
    ],
)
def test_a_seed_or_workers_that_cannot_be_end_at_once(
    keys: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    """Verification, the last step, refused a negative seed, and no worker was ever started."""
    board = "stm32f446re"
    with pytest.raises(ConfigError, match=complaint):
        micronas.run(pictures(40, 0), SPACE, board=board, folder=tmp_path, **{**BRIEF, **keys})


def test_a_part_of_other_inputs_ends_at_once(tmp_path: Path) -> None:
    """A test part is read last, after search and training."""
    parts = data()
    other = micronas.TensorSplit(torch.zeros(4, 1, 12, 10), torch.arange(4))
    given = replace(parts, test=other)
    with pytest.raises(DataError, match=r"= \[1, 12, 12\], .* one part has \[1, 12, 10\]"):
        micronas.run(given, SPACE, board="stm32f446re", folder=tmp_path / "run", **BRIEF)
    empty = micronas.TensorSplit(other.inputs[:0], other.labels[:0])
    for part in ("validation", "test"):
        with pytest.raises(DataError, match=f"must hold examples, but `{part}` has none"):
            replace(parts, **{part: empty}).check_inputs()
    assert not (tmp_path / "run").exists()


def test_what_a_run_cannot_end_with_ends_it_at_once(tmp_path: Path) -> None:
    """Labels and costs of listening are written after the training."""
    given = replace(data(), classes=tuple(f"{number} {'x' * 90}" for number in range(4)))
    run, network = tmp_path / "run", SPACE.architecture(SPACE.uniform(0.3))
    settings = load_training(None, ["board=stm32f446re", "data.path=x", "data.task=kws"])
    with pytest.raises(ExportError, match=r"take .*; shorten the labels"):
        micronas.run(given, SPACE, board="stm32f446re", folder=run, **BRIEF)
    with pytest.raises(ExportError, match=r"take .*; shorten the labels"):
        run_training(network, settings, run, data=given)
    for keys, said in (
        (["budget.hop=100ms"], "the time of a frame is not known"),
        (["budget.hop=100ms", "budget.energy=5J", "board=rp2040"], "whose power is known"),
    ):
        heard = load_training(None, ["board=stm32f446re", "data.path=x", "data.task=kws", *keys])
        meaning = {} if len(keys) == 1 else {"features": "mfcc", "window_ms": 40, "hop_ms": 20}
        with pytest.raises(ConfigError, match=said):
            run_training(network, heard, run, data=replace(data(), meaning=meaning))
    assert not run.exists()


def test_a_board_that_no_name_repeats_is_refused(tmp_path: Path) -> None:
    changed = micronas.Board.load("stm32f446re").model_copy(update={"clock_hz": 90e6})
    with pytest.raises(ConfigError, match=r"board.save\(PATH\) and give the path"):
        micronas.run(data(), SPACE, board=changed, folder=tmp_path)


def test_spaces_of_both_kinds_load_by_one_name() -> None:
    assert isinstance(micronas.load_space("kws_open"), micronas.OpenSpace)
    assert isinstance(micronas.load_space("kws_small"), micronas.Space)
