"""Find anomalies by a classifier of normal classes: the less certain, the more anomalous."""

from dataclasses import dataclass
from typing import Any, ClassVar

from micronas.arrays import Floats
from micronas.objectives import clips
from micronas.objectives.base import Judged, Score
from micronas.objectives.classes import Classes, confusion, softmax
from micronas.splits import Detection


@dataclass(frozen=True)
class Anomalies(Classes):
    """Cross-entropy of a pretext; AUC and pAUC of clips where the data has anomalies."""

    name: ClassVar[str] = "anomalies"

    @property
    def accuracy_name(self) -> str:
        return "pretext accuracy"

    def metrics(self, judged: Judged) -> dict[str, Any]:
        found = super().metrics(judged)
        if judged.detection is None or judged.windows is None:
            return found
        detection, windows = judged.detection, judged.windows
        in_float = clips.evaluate(detection, softmax(windows.real.double().numpy()))
        in_int8 = clips.evaluate(detection, softmax(windows.logits))
        count, odd = len(detection.machines), int(detection.anomalous.sum())
        score: Score = {
            "name": "AUC",
            "unit": "",
            "larger": True,
            "float": in_float["auc"],
            "int8": in_int8["auc"],
            "interval": [*in_int8["auc_interval"]],
            "on": f"{odd:,} anomalous of {count:,} clips of {judged.part}",
        }
        return found | {
            "float_auc": in_float["auc"],
            "float_pauc": in_float["pauc"],
            "int8_auc": in_int8["auc"],
            "auc": in_int8["auc"],
            "auc_interval": [*in_int8["auc_interval"]],
            "judged_clips": count,
            "anomalous_clips": odd,
            "pauc": in_int8["pauc"],
            "per_machine": in_int8["per_machine"],
            "scores": [score, *found["scores"]],
        }

    def figures(self, judged: Judged) -> dict[str, Any]:
        """Return ``confusion``, and ``machines``: the ROC curve and clip scores of each."""
        if judged.detection is None or judged.windows is None:
            return super().figures(judged)
        detection = judged.detection
        scores = clips.clip_scores(detection, softmax(judged.windows.logits))
        return confusion(judged) | {"machines": _machines(detection, scores)}


def _machines(detection: Detection, scores: Floats) -> list[dict[str, Any]]:
    machines, anomalous, found = detection.machines.numpy(), detection.anomalous.numpy(), []
    for machine, name in enumerate(detection.names):
        own, odd = scores[machines == machine], anomalous[machines == machine]
        if len(own):
            false, true = clips.roc(own, odd)
            curve = {
                "name": name,
                "false_positive_rate": false.tolist(),
                "true_positive_rate": true.tolist(),
                "normal": own[~odd].tolist(),
                "anomalous": own[odd].tolist(),
            }
            found.append(curve)
    return found
