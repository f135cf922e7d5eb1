"""A sweep of a user's own network: every process makes it anew, to the same bytes."""

import random
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import micronas
from micronas.data import DataSet, TensorSplit
from micronas.errors import ConfigError
from micronas.nas.same_data import check_sweep
from micronas.report.write import write_report
from micronas.runs.run import run_search
from micronas.runs.settings import load_run
from micronas.sweeps.made import Made, made_by, make
from micronas.sweeps.points import plan
from micronas.sweeps.store import SweepPoint
from micronas.sweeps.sweep import sweep
from micronas.sweeps.worker import Job, run_point
from tests import toy
from tests.sweeps import own_space
from tests.sweeps.own_space import BUDGETS, OWN, RUN
from tests.sweeps.runs import rows


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(RUN))
    return path


@pytest.mark.long
def test_a_point_is_the_bytes_of_a_run_alone(config: Path, tmp_path: Path) -> None:
    out, over = tmp_path / "sweep", {"budget.latency": ["0.01 ms", "1.8 ms"]}
    _, point = sweep(config, over, out=out, workers=1, **OWN)
    assert rows(out, "SELECT outcome FROM attempts") == [("done",)]
    check_point(point)

    made = {key: Made(f"tests.sweeps.own_space:{key}", "") for key in OWN}
    settings = plan(config, over, made=made)[1].settings
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        searched = own_space.space()
    alone = tmp_path / "alone"
    run_search(settings, alone, data=own_space.data(), space=searched, workers=1)
    for name in ("config.yaml", "architecture.yaml", "model.tflite", "metrics.json"):
        assert (alone / name).read_bytes() == (point.folder / name).read_bytes(), name

    path, page = write_report([out])
    assert path.exists()
    assert page["network"]["blocks"][0]["name"] == "stem.0"
    with pytest.raises(ConfigError, match=r"holds one of other settings, or .*: 2 points differ"):
        sweep(config, over, out=out, space=wider, data=own_space.data)


@pytest.mark.slow  # above, one of two budgets is met
def test_two_budgets_share_a_warm_up_and_a_report(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    points = sweep(config, BUDGETS, out=out, **OWN)
    for point in points:
        check_point(point)
    assert len(list(out.glob("shared/*.pt"))) == 1
    _, page = write_report([out])
    assert [row["name"] for row in page["rows"]] == ["latency=1.8ms", "latency=3ms"]
    assert page["groups"][0]["boards"][0]["fronts"]["latency_ms"]


def check_point(point: SweepPoint) -> None:
    assert point.state == "done", point
    assert point.metrics["fits"] is True
    assert point.metrics["tflm_mismatches"] == 0
    assert point.metrics["latency_ms"] <= float(point.over["budget.latency"].split()[0])
    written = yaml.safe_load((point.folder / "config.yaml").read_text())
    assert written["space"] == "tests.sweeps.own_space:space"
    assert written["data"]["path"] == "tests.sweeps.own_space:data"


def wider() -> micronas.ConvertedSpace:
    return micronas.convert(own_space.DSCNN(4), torch.zeros(1, 1, 12, 12), shares=(0.5,))


def unrepeatable() -> micronas.ConvertedSpace:
    module = own_space.DSCNN(4)
    torch.nn.init.constant_(module.classifier.bias, random.random())
    return micronas.convert(module, torch.zeros(1, 1, 12, 12))


def pairs() -> DataSet:
    part = TensorSplit(torch.tensor([0.0, 1.0]).expand(4, 1, 1, 2), torch.arange(4) % 2)
    return DataSet(part, part, part, ("no", "yes"), (1, 2, 1))


def mirrored() -> DataSet:
    """Other inputs of the same sums: these differ in their last bits between processors."""
    known = pairs()
    part = TensorSplit(known.train.batch(torch.arange(4), None).flip(3), known.train.labels)
    return replace(known, train=part)


def test_budgets_that_nothing_meets_need_no_worker(config: Path, tmp_path: Path) -> None:
    over = {"budget.latency": ["0.01 ms", "0.02 ms"]}
    points = sweep(config, over, out=str(tmp_path / "sweep"), **OWN)
    assert [(point.state, point.attempts) for point in points] == [("infeasible", 0)] * 2
    assert "'DSCNN' smaller widths" in points[0].reason


def test_what_another_process_makes_is_compared() -> None:
    made, found = made_by("space", own_space.space)
    assert made.function == "tests.sweeps.own_space:space"
    weights = make("space", made).module.state_dict()
    for name, value in found.module.state_dict().items():
        assert torch.equal(weights[name], value)
    made, _ = made_by("space", unrepeatable)
    with pytest.raises(ConfigError, match="must be the same in every process"):
        make("space", made)
    made, _ = made_by("data", own_space.data)
    assert make("data", made).classes == toy.CLASSES
    assert made_by("data", mirrored)[0].content != made_by("data", pairs)[0].content


def test_a_point_on_other_data_than_the_points_before_it_fails(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of which only the test part is another: scores would be compared."""
    monkeypatch.chdir(tmp_path)
    data, made = own_space.data(), {key: made_by(key, each)[0] for key, each in OWN.items()}
    assert data.test is not None
    check_sweep(tmp_path / "data.pt", data)
    check_sweep(tmp_path / "data.pt", own_space.data())
    settings = plan(config, BUDGETS, made=made)[0].settings.model_dump(mode="json")
    louder = TensorSplit(1.1 * data.test.batch(torch.arange(40), None), data.test.labels)
    with pytest.raises(ConfigError, match=rf"data .* of {tmp_path} has changed since"):
        check_sweep(tmp_path / "data.pt", replace(data, test=louder))
    check_sweep(tmp_path / "other.pt", replace(data, test=louder))
    job = Job(
        "a", settings, str(tmp_path / "a"), None, str(tmp_path / "other.pt"), 1, ".", made=made
    )
    outcome = run_point(job)
    assert (outcome.state, "has changed since" in outcome.reason) == ("failed", True)


def test_a_function_of_the_script_that_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        textwrap.dedent("""
            from tests.sweeps.own_space import space as known
            def space():
                return known()
            if __name__ == "__main__":
                raise AssertionError("a worker must not run this")
        """)
    )
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    exec(script.read_text().partition("if __name__")[0], names)
    main = type(sys)("__main__")
    main.__dict__.update(names)
    monkeypatch.setitem(sys.modules, "__main__", main)
    made, _ = made_by("space", names["space"])
    assert made.function == f"{script}:space"
    assert make("space", made).title == "DSCNN"
    script.write_text("raise RuntimeError('no guard')")
    with pytest.raises(ConfigError, match=r"no guard\); call the sweep below `if __name__"):
        make("space", made)


@pytest.mark.parametrize(
    ("key", "function", "message"),
    [
        ("space", lambda: own_space.space(), "a function at the top of a file.*'<lambda>'"),
        ("space", own_space.DSCNN, "a function at the top of a file.*'DSCNN'"),
        ("data", toy.data(), "a function at the top of a file.*'DataSet'; write `def data"),
        ("space", toy.data, "must be a search space, but tests.toy:data returned DataSet"),
        ("data", own_space.space, "must be a DataSet, but .* returned ConvertedSpace"),
        ("space", toy.split, "without arguments and errors, but tests.toy:split raises TypeError"),
    ],
)
def test_what_cannot_be_made_is_one_line(key: str, function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        made_by(key, function)
    assert "\n" not in str(caught.value)


def test_a_space_is_given_once(config: Path) -> None:
    made = {"space": Made("nets:mine", "1"), "data": Made("nets:words", "2")}
    with pytest.raises(ConfigError, match="space is set where nets:mine is given"):
        plan(config, {"space": ["kws", "vww"]}, made=made)
    with pytest.raises(ConfigError, match="space is set where nets:mine is given"):
        plan("kws_small", BUDGETS, ["board=stm32f446re"], made=made)
    with pytest.raises(ConfigError, match=r"data\.path is set where nets:words is given"):
        plan(config, BUDGETS, ["data.path=words"], made=made)


def test_a_task_that_reads_files_for_its_input_is_no_task_of_a_function() -> None:
    made = {"data": Made("nets:words", "2")}
    with pytest.raises(ConfigError, match=r"but data\.task=series reads .*set data\.task=arrays"):
        plan("series", BUDGETS, ["board=stm32f446re"], made=made)
    assert len(plan("series", BUDGETS, ["board=stm32f446re", "data.task=arrays"], made=made)) == 2


def test_who_shares_a_warm_up(config: Path) -> None:
    def shared(space: str, data: str) -> set[str | None]:
        made = {"space": Made("nets:mine", space), "data": Made("nets:words", data)}
        return {point.shared for point in plan(config, BUDGETS, made=made)}

    assert len(shared("1", "2")) == 1
    assert len(shared("1", "2") | shared("1", "3") | shared("4", "2")) == 3


def test_settings_of_ones_own_space_name_it(config: Path) -> None:
    settings = load_run(config, own={"space": "my DS-CNN", "data.path": "my words"})
    assert settings.space == "my DS-CNN"
    assert str(settings.data.path) == "my words"
    with pytest.raises(ConfigError, match="a search space must be a file"):
        settings.problem().check_feasible()
