"""What every objective has: a loss, measures, a ranking of trials, and a decision on the device."""

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
from micronas.objectives.intervals import mean_interval
from micronas.splits import Detection, Sliding, Split

Decides = Literal["best", "each", "value"]
"""What a device tells of its outputs: the label that leads, each label over its threshold, or a
value."""


@dataclass(frozen=True)
class Measure:
    """A figure of how good outputs are."""

    name: str
    """As tables have it."""
    values: Callable[[Tensor, Tensor], Tensor]
    """Of outputs [N, outputs] and targets: float64 [N], whose mean is the measure. How they scatter
    says what chance does to it: they are its influences (infinitesimal jackknife) where the measure
    is no plain mean."""
    unit: str = "share"
    """``share`` is shown as per cent; empty for a plain number; else the unit of a value."""
    larger: bool = True
    """Whether more is better; the most is then 1."""

    def __call__(self, outputs: Tensor, targets: Tensor) -> float:
        return self.values(outputs, targets).mean().item()


@dataclass(frozen=True)
class Trial:
    """What a trial training gave."""

    loss: float
    """What trials are ranked by; less is better."""
    score: float
    """The measure that is shown beside it."""
    values: str | list[float]
    """Of each example what its score is a mean of, more is better; ``1`` and ``0`` as a text."""


@dataclass(frozen=True)
class Scores:
    """How good outputs are."""

    loss: float
    measures: Mapping[str, float]
    """By their keys, as `Objective.measures` has them; each is an attribute too."""

    def __getattr__(self, name: str) -> Any:
        if name == "measures" or name not in self.measures:
            raise AttributeError(name)
        return self.measures[name]


class Score(TypedDict, total=False):
    """A measure of a finished network, as metrics.json says it to tables and reports."""

    name: str
    unit: str
    larger: bool
    float: float | None
    """Of the float network; None where it was not measured."""
    int8: float
    interval: list[float] | None
    """Of the int8 network's, 95 %."""
    on: str
    """What it was measured on."""


@dataclass(frozen=True)
class Answers:
    """Outputs of the float network, and of the int8 network as the device computes them."""

    real: Tensor
    """float32 [N, outputs]."""
    codes: npt.NDArray[np.int8]
    """[N, outputs]."""
    scale: float = 1.0
    zero_point: int = 0

    @property
    def int8(self) -> Tensor:
        """What codes stand for, float64 [N, outputs]."""
        return torch.from_numpy(self.scale * (self.codes.astype(np.float64) - self.zero_point))

    @property
    def logits(self) -> Floats:
        """The same but for a constant: a softmax does not see the zero point."""
        return self.codes.astype(np.float64) * self.scale


@dataclass(frozen=True)
class Judged:
    """Examples that judge a network, and what it answers."""

    split: Split
    names: tuple[str, ...]
    """Of the outputs."""
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
    """To `detection.split`."""

    @property
    def on(self) -> str:
        """What was judged, in words."""
        count = f"{len(self.split.labels):,}"
        many = f"all {count} sliding windows" if self.sliding else count
        return f"{many} of {self.part}" + (
            ", there is no test part" if self.part == "validation" else ""
        )


class Objective(ABC):
    """What the outputs of a network stand for, and how good they are.

    A frozen dataclass whose fields JSON can hold, so that a run on arrays is repeated from its
    folder; `micronas.objectives.registry` names them all.
    """

    name: ClassVar[str]
    decides: ClassVar[Decides]
    rank_by: str
    """What trials are ranked by: ``loss``, or the key of a measure."""

    @property
    @abstractmethod
    def measures(self) -> Mapping[str, Measure]:
        """Measures by their key in metrics.json (``float_KEY`` and ``int8_KEY``), first the one
        that networks are known by."""

    @abstractmethod
    def check(self, targets: Tensor, outputs: int | None = None) -> Tensor:
        """Return targets as the loss takes them, or raise DataError.

        Parameters
        ----------
        outputs
            How many a network has, or the data set's names are.
        """

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, *, smoothing: float = 0.0) -> Tensor:
        """Return the mean loss of a batch, which training descends.

        Parameters
        ----------
        smoothing
            The recipe's ``label_smoothing``, for objectives that have labels to smooth.
        """

    @abstractmethod
    def chance(self, outputs: int) -> float:
        """Return the loss of a network of so many outputs that has learnt nothing yet."""

    @abstractmethod
    def decision(
        self, codes: npt.NDArray[np.int8], targets: Tensor, *, features: object
    ) -> dict[str, Any]:
        """Choose on validation data what the device decides by, as metrics.json keeps it.

        Parameters
        ----------
        codes
            Outputs of the int8 network [N, outputs].
        features
            What the input is, as the model file says it.
        """

    def fitted(self, targets: Tensor, names: Sequence[str]) -> "Objective":
        """Return the objective with what it takes from training targets, where that is open.

        Raises
        ------
        DataError
            If they cannot teach what outputs of these names are to tell.
        """
        return self

    def comparable(self, outputs: Tensor, targets: Tensor, *, sharpest: float = 0.25) -> Tensor:
        """Return a loss by which networks that were trained differently long are compared."""
        return self.loss(outputs, targets)

    def order(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Return the examples of an epoch, in the order in which training sees them, int64 [N]."""
        return torch.randperm(len(targets), generator=generator)

    def ranked_by(self, rank_by: str | None) -> "Objective":
        """Return the objective with another ranking of trials; None for its own.

        Raises
        ------
        ConfigError
            If it has no such measure.
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
        """Return how many examples there are, by what tells them apart."""
        return {"examples": len(targets)}

    def balanced(self, balance: str) -> "Objective":
        """Return the objective with classes that count alike; ConfigError where it has none."""
        raise ConfigError(
            f"classes alone can be balanced, but the data's objective is {self.name}; leave out "
            f"data.balance={balance}"
        )

    @property
    def shown_key(self) -> str:
        """Key of the measure of trials, which ranks them where the loss does not."""
        return next(iter(self.measures)) if self.rank_by == "loss" else self.rank_by

    @property
    def shown(self) -> Measure:
        return self.measures[self.shown_key]

    def scores(self, outputs: Tensor, targets: Tensor) -> Scores:
        """Judge outputs float [N, outputs].

        Raises
        ------
        DataError
            If targets are none of this objective.
        """
        targets = self.check(targets, outputs.shape[1])
        measures = {key: measure(outputs, targets) for key, measure in self.measures.items()}
        return Scores(self.loss(outputs, targets).item(), measures)

    def trial(self, outputs: Tensor, targets: Tensor) -> Trial:
        """Judge a trial training on examples that it has not seen."""
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
        """Return what a model file must say of its outputs, beside their names; {} for nothing."""
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

    def scored(self, measure: Measure, judged: Judged) -> Score:
        """Measure both networks; the interval is for examples of other groups."""
        targets = judged.split.labels
        values = measure.values(judged.answers.int8, targets).numpy()
        interval = mean_interval(values, judged.split.groups.numpy())
        return {
            "name": measure.name,
            "unit": measure.unit,
            "larger": measure.larger,
            "float": measure(judged.answers.real, targets),
            "int8": float(values.mean()),
            "interval": None if interval is None else [*interval],
            "on": judged.on,
        }

    def figures(self, judged: Judged) -> dict[str, Any]:
        """Return what a report draws of the answers."""
        return {}
