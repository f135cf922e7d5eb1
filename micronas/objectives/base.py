"""The protocol of objectives: loss, measures, ranking of trials, and decision on the device."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.arrays import Floats
from micronas.errors import ConfigError
from micronas.objectives.intervals import score_interval
from micronas.splits import Detection, Sliding, Split

Decides = Literal["best", "each", "value"]
"""Answer of the device: the leading label, each label over its threshold, or a value."""

_FEWEST = 10
"""Examples of the rarest class or label for an interval. With three, those of balanced accuracy
held the truth in 70 % of simulated cases; with ten, in 89 %."""


@dataclass(frozen=True)
class Measure:
    """A measure of outputs."""

    name: str
    """Name in tables."""
    values: Callable[[Tensor, Tensor], Tensor]
    """Function of outputs [N, outputs] and targets that returns float64 [N], whose mean is the
    measure and whose scatter gives its error. Where the measure is no plain mean, they are its
    influences (infinitesimal jackknife)."""
    unit: str = "share"
    """``share``, shown in per cent; empty for a plain number; else the unit of a value."""
    larger: bool = True
    """More is better; the maximum is then 1."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        return self.values(outputs, targets).mean().item()

    def within(self, interval: list[float]) -> list[float]:
        """Return the part of an interval that the measure can reach."""
        low, high = interval
        is_positive = self.unit == "share" or not self.larger
        return [max(low, 0.0) if is_positive else low, min(high, 1.0) if self.larger else high]


@dataclass(frozen=True)
class Trial:
    """Result of a trial training."""

    loss: float
    """Number that ranks trials; less is better."""
    score: float
    """Measure shown beside it."""
    values: str | list[float]
    """Terms of the score's mean, one per example, more is better; ``1`` and ``0`` as a text."""


@dataclass(frozen=True)
class Scores:
    """Loss and measures of outputs."""

    loss: float
    measures: Mapping[str, float]
    """Measures by the keys of `Objective.measures`; each is an attribute, too."""

    def __getattr__(self, name: str) -> Any:
        if name == "measures" or name not in self.measures:
            raise AttributeError(name)
        return self.measures[name]


class Score(TypedDict, total=False):
    """A measure of a finished network in metrics.json, for tables and reports."""

    name: str
    unit: str
    larger: bool
    float: float | None
    """Value of the float network; None where it was not measured."""
    int8: float
    interval: list[float] | None
    """95 % interval of the int8 network's value."""
    on: str
    """Data it was measured on, in words."""


@dataclass(frozen=True)
class Answers:
    """Outputs of the float network, and those of the int8 network on the device."""

    real: Tensor
    """float32 [N, outputs]."""
    codes: npt.NDArray[np.int8]
    """int8 [N, outputs]."""
    scale: float = 1.0
    zero_point: int = 0

    @property
    def int8(self) -> Tensor:
        """Values of the codes, float64 [N, outputs]."""
        return torch.from_numpy(self.scale * (self.codes.astype(np.float64) - self.zero_point))

    @property
    def logits(self) -> Floats:
        """Values of the codes up to the zero point, which a softmax cancels, float64 [N,
        outputs]."""
        return self.codes.astype(np.float64) * self.scale


@dataclass(frozen=True)
class Judged:
    """Examples that evaluate a network, and its answers."""

    split: Split
    names: tuple[str, ...]
    """Names of the outputs."""
    part: str
    """``test``, or ``validation`` where there is no test part."""
    answers: Answers
    decision: Mapping[str, Any]
    """See `Objective.decision`."""
    sliding: Sliding | None = None
    ignored: tuple[str, ...] = ()
    seconds: float | None = None
    detection: Detection | None = None
    windows: Answers | None = None
    """Answers to `detection.split`."""

    @property
    def on(self) -> str:
        """Evaluated examples, in words."""
        count = f"{len(self.split.labels):,}"
        many = f"all {count} sliding windows" if self.sliding else count
        return f"{many} of {self.part}" + (
            ", there is no test part" if self.part == "validation" else ""
        )


class Objective(ABC):
    """Meaning and quality of a network's outputs.

    An objective is a frozen dataclass with fields that JSON can hold, so that a run on arrays can
    be repeated from its folder; `micronas.objectives.registry` lists them all.
    """

    name: ClassVar[str]
    decides: ClassVar[Decides]
    rank_by: str
    """Ranking of trials: ``loss``, or the key of a measure."""

    @property
    @abstractmethod
    def measures(self) -> Mapping[str, Measure]:
        """Measures by their key in metrics.json (``float_KEY`` and ``int8_KEY``), the main one
        first."""

    @abstractmethod
    def check(self, targets: Tensor, outputs: int | None = None) -> Tensor:
        """Return targets in the form that `loss` takes, or raise DataError.

        Parameters
        ----------
        outputs
            Number of outputs of the network, or of names of the data set.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the mean loss of a batch, which training minimises."""

    @abstractmethod
    def chance(self, outputs: int) -> float:
        """Return the loss of an untrained network with `outputs` outputs."""

    def ideal(self, targets: Tensor, outputs: int) -> Tensor:
        """Return the float outputs [N, outputs] that a least-squares model is fitted to."""
        return targets.float().reshape(len(targets), outputs)

    @abstractmethod
    def decision(
        self, codes: npt.NDArray[np.int8], targets: Tensor, *, features: object
    ) -> dict[str, Any]:
        """Choose the device's decision rule on validation data, as stored in metrics.json.

        Parameters
        ----------
        codes
            Outputs of the int8 network [N, outputs].
        features
            Kind of the input, as stored in the model file.
        """

    def fitted(self, targets: Tensor, names: Sequence[str]) -> "Objective":
        """Return the objective with open fields filled in from training targets.

        Raises DataError if the targets cannot train outputs of these names.
        """
        return self

    def comparable(self, outputs: Tensor, targets: Tensor, *, sharpest: float = 0.25) -> Tensor:
        """Return a loss that is comparable between networks trained for different times."""
        return self.loss(outputs, targets)

    def order(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Return the examples of an epoch in training order, int64 [N]."""
        return torch.randperm(len(targets), generator=generator)

    def ranked_by(self, rank_by: str | None) -> "Objective":
        """Return the objective with another ranking of trials; None keeps its own.

        Raises ConfigError if there is no such measure.
        """
        if rank_by is None or rank_by == self.rank_by:
            return self
        known = ("loss", *self.measures)
        if rank_by not in known:
            raise ConfigError(
                f"trials on {self.name} must be ranked by {', '.join(known[:-1])} or {known[-1]}, "
                f"but got search.rank_by={rank_by}; leave it out for {self.rank_by}"
            )
        return replace(self, rank_by=rank_by)  # type: ignore[type-var]

    def counted(self, targets: Tensor, names: Sequence[str]) -> dict[str, int]:
        """Return the number of examples by class, label or other distinction."""
        return {"examples": len(targets)}

    def balanced(self, balance: str) -> "Objective":
        """Return the objective with balanced classes; ConfigError where it has no classes."""
        raise ConfigError(
            f"classes alone can be balanced, but the data's objective is {self.name}; leave out "
            f"data.balance={balance}"
        )

    @property
    def shown_key(self) -> str:
        """Key of the measure shown for trials: the ranking one, or the first where the loss
        ranks."""
        return next(iter(self.measures)) if self.rank_by == "loss" else self.rank_by

    @property
    def shown(self) -> Measure:
        return self.measures[self.shown_key]

    def scores(self, outputs: Tensor, targets: Tensor) -> Scores:
        """Evaluate outputs float [N, outputs].

        Raises DataError if targets do not suit this objective.
        """
        targets = self.check(targets, outputs.shape[1])
        measures = {key: measure(outputs, targets) for key, measure in self.measures.items()}
        return Scores(self.loss(outputs, targets).item(), measures)

    def trial(self, outputs: Tensor, targets: Tensor) -> Trial:
        """Evaluate a trial training on examples that it was not trained on."""
        measure = self.shown
        values = measure.values(outputs, targets)
        score = values.mean().item()
        loss = 1 - score if measure.larger else score
        if self.rank_by == "loss":
            loss = self.comparable(outputs, targets).item()
        is_share = bool(((values == 0) | (values == 1)).all())
        kept = (values if measure.larger else -values).tolist()
        return Trial(loss, score, "".join(str(int(each)) for each in kept) if is_share else kept)

    def described(self) -> dict[str, Any]:
        """Return the model file's metadata on outputs, beside their names; {} for none."""
        return {}

    def metrics(self, judged: Judged) -> dict[str, Any]:
        """Return the keys of metrics.json, ``scores`` (a list of `Score`) among them."""
        found: dict[str, Any] = {
            "objective": self.name,
            "judged_on": judged.part,
            "judged_examples": len(judged.split.labels),
        }
        scores = []
        for key, measure in self.measures.items():
            score = self.scored(measure, judged)
            scores.append(score)
            found |= {f"float_{key}": score["float"], f"int8_{key}": score["int8"]}
            found[f"int8_{key}_interval"] = score["interval"]
        return {**found, "scores": scores}

    def rarest(self, targets: Tensor) -> int:
        """Return the number of examples of the rarest class or label: a few that are all right do
        not show how others spread."""
        return len(targets)

    def interval(self, values: Tensor, judged: Judged) -> list[float] | None:
        """Return the 95 % interval of a measure for examples of other groups; None of too few."""
        if self.rarest(judged.split.labels) < _FEWEST:
            return None
        return score_interval(values.numpy(), judged.split.groups.numpy())

    def scored(self, measure: Measure, judged: Judged) -> Score:
        """Measure both networks."""
        targets = judged.split.labels
        values = measure.values(judged.answers.int8, targets)
        interval = self.interval(values, judged)
        return {
            "name": measure.name,
            "unit": measure.unit,
            "larger": measure.larger,
            "float": measure(judged.answers.real, targets),
            "int8": values.mean().item(),
            "interval": interval and measure.within(interval),
            "on": judged.on,
        }

    def figures(self, judged: Judged) -> dict[str, Any]:
        """Return data on the answers for a report to draw."""
        return {}
