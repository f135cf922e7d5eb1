from typing import Any

import numpy as np
import pytest
import torch

from micronas.data import DataSet, Detection, Sliding, Split, TensorSplit
from micronas.evaluation.scores import Codes
from micronas.objectives.anomalies import Anomalies
from micronas.objectives.base import Answers, Judged
from micronas.objectives.clips import auc_interval
from micronas.objectives.intervals import wilson
from micronas.runs.table import metrics_table


def printed(found: dict[str, Any]) -> str:
    """The table of a run with these scores."""
    costs = dict.fromkeys(("macs", "flash_bytes", "arena_bytes", "latency_ms"), 1)
    return metrics_table(
        {
            **found,
            **costs,
            **dict.fromkeys(("network", "board"), "x"),
            **{"budget": {}, "used": {}, "arena_is_upper_bound": False, "arena_assumes": None},
            **{"tflm_mismatches": 0, "fits": True, "fits_estimates": []},
            **{"device": {"front_end": None, "code_bytes": 1}, "listening": None},
        }
    )


def metrics(data: DataSet, codes: Codes, *, windows: Codes | None = None) -> dict[str, Any]:
    """What metrics.json says of a float network that returns its inputs and these codes."""
    assert data.test is not None
    every = torch.arange(len(codes))

    def answers(split: Split, codes: Codes) -> Answers:
        return Answers(split.batch(every, None).flatten(1), codes)

    found = None
    if data.detection is not None and windows is not None:
        found = answers(data.detection.split, windows)
    judged = Judged(
        data.test,
        data.classes,
        "test",
        answers(data.test, codes),
        {},
        data.sliding,
        detection=data.detection,
        windows=found,
    )
    return data.objective.metrics(judged)


def test_sliding_windows_are_all_judged_and_their_interval_rests_on_those_apart() -> None:
    """Ten windows, six without a change of label: 7 of 10 and 5 of 6 are right, 2 are apart."""
    labels = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    split = TensorSplit(torch.eye(2)[labels].reshape(10, 2, 1, 1), labels)
    within = torch.tensor([1, 1, 1, 0, 0, 0, 0, 1, 1, 1]).bool()
    data = DataSet(*[split] * 3, ("low", "high" * 20), (1, 1, 2), sliding=Sliding(within, apart=2))
    answered = np.array([0, 0, 1, 1, 0, 0, 1, 1, 1, 1])
    codes = (2 * np.eye(2, dtype=np.int8)[answered] - 1).astype(np.int8)
    found = metrics(data, codes)
    assert found["float_accuracy"] == 1.0
    assert found["int8_accuracy"] == 0.7
    assert found["int8_accuracy_interval"] == list(wilson(0.7, 2))
    assert found["judged_examples"] == 10
    assert found["judged_apart"] == 2
    assert found["judged_within_label"] == 6
    assert found["int8_accuracy_within_label"] == pytest.approx(5 / 6)
    said = printed(found)
    assert "int8 70.0 % (95 % interval" in said
    assert "all 10 sliding windows of test)" in said
    assert "within label  int8 83.3 % (of the 6 windows without a change of label)" in said
    # of five each, the worse first
    assert f"recall        low 60.0 %, {'high' * 10}... 80.0 %" in said


def test_where_anomalies_are_the_task_auc_comes_first_and_accuracy_is_of_a_pretext() -> None:
    """Four clips; the two anomalous ones are less like their class: an AUC of 1."""
    labels = torch.tensor([0, 1, 0, 1])
    split = TensorSplit(torch.eye(2)[labels].reshape(4, 2, 1, 1), labels)
    nothing = torch.zeros(4, dtype=torch.long)
    found = Detection(
        TensorSplit(split.inputs, nothing), torch.arange(4), nothing, labels.bool(), ("none", "odd")
    )
    data = DataSet(
        split, split, split, ("none", "odd"), (1, 1, 2), detection=found, objective=Anomalies()
    )
    codes = (100 * np.eye(2)[labels.numpy()]).astype(np.int8)
    told = metrics(data, codes, windows=codes)
    assert told["accuracy_name"] == "pretext accuracy"
    assert told["auc"] == 1.0
    assert told["auc_interval"] == list(auc_interval(1.0, 2, 2))
    assert (told["anomalous_clips"], told["judged_clips"]) == (2, 4)
    lines = printed(told).splitlines()
    low = told["auc_interval"][0]
    assert lines[1].startswith(f"AUC{'':15}float 1.000, int8 1.000 (95 % interval {low:.3f}")
    assert lines[2].startswith("pretext accuracy  float 100.0 %")
    assert "recall" not in printed(told)
