"""Contents and faults of a data set: the answer of ``micronas data check``."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from micronas.tasks.task import Finding
from micronas.text import listed, table

if TYPE_CHECKING:
    from micronas.data import DataSet

_APART = 3
"""Findings of one text that have a line each."""


@dataclass(frozen=True)
class Checked:
    """A data set as read by a search, and findings."""

    findings: list[Finding]
    data: "DataSet | None"
    """None where a search refuses the data, which is a finding."""

    def described(self) -> dict[str, Any]:
        """Return ``findings``, as texts, and ``read``, which is None where the data is refused.

        ``read`` has ``summary``, ``input`` (height, width, channels), ``classes`` in order,
        ``examples`` by part and by class or label (`Objective.counted`) and, with anomaly
        detection, ``clips``: numbers of normal and anomalous ones.
        """
        return {"findings": [str(each) for each in self.findings], "read": self._read()}

    def _read(self) -> dict[str, Any] | None:
        data = self.data
        if data is None:
            return None
        parts = {"training": data.train, "validation": data.validation, "testing": data.test}
        read: dict[str, Any] = {
            "summary": data.summary,
            "input": list(data.input),
            "classes": list(data.classes),
            "examples": {
                part: data.objective.counted(split.labels, data.classes)
                for part, split in parts.items()
                if split is not None
            },
        }
        if data.detection is not None:
            anomalous = int(data.detection.anomalous.sum())
            normal = len(data.detection.anomalous) - anomalous
            read["clips"] = {"normal": normal, "anomalous": anomalous}
        return read

    def __str__(self) -> str:
        findings, read = _together(self.findings), self._read()
        lines = []
        if read is not None:
            examples = read["examples"]
            names = [*next(iter(examples.values()))]
            rows = [[name, *(str(each[name]) for each in examples.values())] for name in names]
            height, width, channels = read["input"]
            lines = [
                *filter(None, [read["summary"]]),
                "",
                table(["class", *examples], rows),
                "",
                f"input {height} x {width} x {channels} (height, width, channels)",
            ]
            if "clips" in read:
                normal, anomalous = read["clips"].values()
                lines.append(f"to find anomalies in: {normal} normal, {anomalous} anomalous")
        well = "all is well: nothing found that is missing, damaged or shared between parts"
        return "\n".join([*lines, *(findings or [well])]).lstrip("\n")


def _together(findings: list[Finding]) -> list[str]:
    """Return findings as lines, one where many files have the same."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        alike.setdefault((each.kind, each.text), []).append(each)
    lines = []
    for (kind, text), group in alike.items():
        if len(group) > _APART:
            lines.append(f"{kind}: {text}: {listed((each.name for each in group), _APART)}")
        else:
            lines += map(str, group)
    return lines
