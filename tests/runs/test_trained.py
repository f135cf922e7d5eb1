"""A run folder gives back the float network it was trained to, or says why not."""

from pathlib import Path

import numpy as np
import pytest

from micronas.checkpoint import Checkpoint
from micronas.errors import ModelError
from micronas.runs.trained import trained
from micronas.space.space import Space
from micronas.train.network import Network


def test_a_run_folder_gives_its_trained_network_back(tmp_path: Path) -> None:
    values = {
        "input": [49, 10, 1],
        "classes": 3,
        "stem": {"width": 8, "kernel": [10, 4], "stride": [2, 2]},
        "blocks": [{"type": "separable", "width": 8}],
    }
    architecture = Space.model_validate(values)
    assert trained(tmp_path) is None
    network = Network(architecture.graph())
    architecture.save(tmp_path / "architecture.yaml")
    Checkpoint(tmp_path / "checkpoint.pt").save("train", {"module": network.state_dict()})
    found = trained(tmp_path)
    assert found is not None
    wanted = network.eval().graph()
    for name, tensor in wanted.tensors.items():
        if tensor.data is not None:
            np.testing.assert_array_equal(found.tensors[name].data, tensor.data)
    Checkpoint(tmp_path / "checkpoint.pt").save("train", {"module": {}})
    with pytest.raises(ModelError, match="must hold the weights of its architecture"):
        trained(tmp_path)
