"""A node of a cluster that is lost, with the work on it; needs the extra ray."""

import os
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from micronas.checkpoint import Checkpoint
from micronas.cluster import connected
from micronas.train.on_ray import on_ray


def _waiting(number: int, folder: Path, kept: Checkpoint) -> int:
    """Say that it runs, and end when the word is given."""
    (folder / f"{number} {os.getpid()}").touch()
    while not (folder / "go").exists():
        time.sleep(0.05)
    return number


@pytest.mark.ray
def test_work_of_a_lost_node_is_done_on_another(tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)

        def lose() -> None:
            while len([*tmp_path.iterdir()]) < 2:  # one on each node
                time.sleep(0.05)
            cluster.remove_node(lost, allow_graceful=False)
            while sum(node["Alive"] for node in ray.nodes()) > 1:
                time.sleep(0.05)
            (tmp_path / "go").touch()

        with connected(cluster.address, cpus=1) as ray:
            threading.Thread(target=lose, daemon=True).start()
            jobs = {str(n): partial(_waiting, n, tmp_path) for n in range(3)}
            done = on_ray(jobs, ray=ray, threads=1, checkpoint=Checkpoint())
            assert dict(done) == {"0": 0, "1": 1, "2": 2}
            # three jobs, and that of the lost node again
            assert len([*tmp_path.glob("* *")]) == 4
    finally:
        cluster.shutdown()
