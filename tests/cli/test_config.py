"""Keys of configuration, by command and as the reference has them."""

import json

from micronas.cli.config import FILES, section_keys, sections
from micronas.runs.settings import RunSettings
from tests.command import command as run
from tests.command import complaints


def test_a_section_is_printed_with_its_meanings() -> None:
    shown = run("config", "search.trial").stdout
    assert "    epochs: 10  # integer, at least 1\n" in shown
    assert "    # Highest learning rate of the schedule.\n    learning_rate: 0.006" in shown
    (only,) = json.loads(run("config", "budget.latency", "--json").stdout)
    assert only["name"] == "budget.latency"
    assert only["default"] == "null"


def test_sections_are_listed() -> None:
    assert {*FILES, "data.kws", "space.blocks.conv"} <= sections().keys()
    listed = run("config").stdout
    assert all(name in listed for name in sections())
    assert sections()["search.halving"] == "a strategy of a search"


def test_every_setting_of_a_run_has_a_key() -> None:
    names = {each.name.split(".")[0] for each in section_keys("run")}
    assert names == set(RunSettings.model_fields)


def test_a_wrong_section_is_one_line() -> None:
    done = run("config", "search.trail")
    assert done.returncode == 2
    assert "trial" in done.stderr
    assert complaints(done.stderr).count("\n") == 1
