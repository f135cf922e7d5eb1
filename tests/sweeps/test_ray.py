"""The same sweep on Ray; needs the extra ray."""

from pathlib import Path

import pytest
import yaml

from micronas.errors import ConfigError
from micronas.sweeps.cluster import Cluster
from micronas.sweeps.sweep import sweep
from tests.sweeps.own_space import BUDGETS, OWN, RUN
from tests.sweeps.runs import FOUR, arguments, check_points, kill_one, rows, start


@pytest.mark.ray
def test_four_points_on_ray_with_one_worker_killed(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    process = start(*arguments(out, f"data.path={corpus}", "--quiet", "--ray", "local", over=FOUR))
    kill_one(out, process, "ray::run_point")
    _, complaints = process.communicate()
    assert process.returncode == 0, complaints
    check_points(out, FOUR)
    failed = rows(out, "SELECT reason FROM attempts WHERE outcome != 'done'")
    assert len(failed) == 1
    assert failed[0][0].startswith("Ray lost the worker")


@pytest.mark.ray
def test_a_users_own_network_on_ray(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(RUN))
    points = sweep(config, BUDGETS, out=tmp_path / "sweep", ray="local", workers=1, **OWN)
    assert [point.state for point in points] == ["done", "done"], points


@pytest.mark.ray
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port"])
def test_an_address_where_no_ray_is_named(address: str) -> None:
    with pytest.raises(ConfigError, match="Ray must answer at its address"):
        Cluster(address, workers=1, cpus=1)
