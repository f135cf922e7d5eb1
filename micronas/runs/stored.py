"""Keys and types of `metrics.json` and `history.json` that a report reads.

Keys that a report has no use for may be there. Imports no torch.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from micronas.hardware.board import Board
from micronas.hardware.targets import TFLM
from micronas.space.space import Space


class _Stored(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Machine(_Stored):
    auc: float
    auc_interval: tuple[float, float] | None = None
    pauc: float


class _Candidate(_Stored):
    """A network that got a trial training."""

    origin: str
    network: str
    macs: int
    trial_epochs: int
    trial_accuracy: float | None
    trial_loss: float | None


class Search(_Stored):
    strategy: str = "dnas"
    """Files from before there was a choice have none."""
    winner: str
    ahead_of_best_other_origin: float | None
    """None where no network of another origin had a trial."""
    ahead_half_width: float | None = None
    """Runs from before there was this key have none."""
    ahead_after_epochs: int | None = None
    """Epochs of both; runs from before there was this key compared unequal ones."""
    candidates: tuple[_Candidate, ...]
    history: tuple[dict[str, float], ...]
    """One record a round."""


class Metrics(_Stored):
    """`metrics.json`."""

    board: str
    engine: str = TFLM
    """Files of earlier versions do not say."""
    network: str
    macs: int
    flash_bytes: int
    arena_bytes: int
    arena_is_upper_bound: bool = False
    """Files of the first edition have neither this nor the next."""
    arena_assumes: str | None = None
    host_arena_bytes: int
    latency_ms: float
    latency_form: str
    energy_mj: float | None
    judged_on: str
    float_accuracy: float
    int8_accuracy: float
    int8_accuracy_per_class: dict[str, float]
    int8_accuracy_interval: tuple[float, float] | None = None
    judged_examples: int | None = None
    """Older files have neither."""
    judged_within_label: int | None = None
    """Sliding windows without a change of label; None where windows do not slide, as next."""
    int8_accuracy_within_label: float | None = None
    tflm_mismatches: int
    tflm_bytes_compared: int
    budget: dict[str, float]
    used: dict[str, float]
    fits: bool
    fits_estimates: tuple[str, ...] = ()
    """Limits that nobody measured on the board; files of earlier versions do not say."""
    device: dict[str, Any] | None = None
    """Needs of the device in all; files of earlier versions have neither this nor the next."""
    decision: dict[str, Any] | None = None
    accuracy_name: str = "accuracy"
    """`pretext accuracy` where classes only serve to find anomalies."""
    auc: float | None = None
    auc_interval: tuple[float, float] | None = None
    """Older files have neither this nor the next two."""
    judged_clips: int | None = None
    anomalous_clips: int | None = None
    pauc: float | None = None
    float_auc: float | None = None
    float_pauc: float | None = None
    per_machine: dict[str, Machine] | None = None
    search: Search | None = None

    def left(self, name: str) -> float | None:
        """Return what a limit leaves to the network itself; None where it is not limited."""
        limit = self.budget.get(name)
        beside = (self.device or {}).get("beside", {})
        return None if limit is None else limit - beside.get(name, 0)

    @model_validator(mode="after")
    def _every_limit_is_used(self) -> "Metrics":
        if self.budget.keys() != self.used.keys():
            raise ValueError("budget and used must have the same keys")
        return self

    @property
    def score_name(self) -> str:
        """Name of the score that judges the network."""
        return "accuracy" if self.auc is None else "AUC"

    @property
    def score(self) -> float:
        """The int8 network's."""
        return self.int8_accuracy if self.auc is None else self.auc

    @property
    def score_interval(self) -> tuple[float, float] | None:
        """The score's, of 95 %; None in older files."""
        return self.int8_accuracy_interval if self.auc is None else self.auc_interval

    @property
    def float_score(self) -> float | None:
        return self.float_accuracy if self.auc is None else self.float_auc


class _Made(_Stored):
    """Start of the run, and its versions."""

    command: str
    micronas: str
    python: str
    torch: str
    numpy: str
    machine: str


class Examples(_Stored):
    summary: str
    examples: dict[str, int]
    """By part."""


class _Epoch(_Stored):
    number: int
    loss: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None


class _Decision(_Stored):
    name: str
    options: tuple[str | int, ...]
    """As text; numbers in files of the first edition."""


class Gates(_Stored):
    """Probabilities [round][decision][option]."""

    decisions: tuple[_Decision, ...]
    rounds: tuple[tuple[tuple[float, ...], ...], ...]

    @model_validator(mode="after")
    def _has_a_probability_for_each_option(self) -> "Gates":
        sizes = [len(each.options) for each in self.decisions]
        if any([len(each) for each in row] != sizes for row in self.rounds):
            raise ValueError("rounds must hold a probability for each option")
        return self


class _Curve(_Stored):
    """ROC curve of one machine's clips."""

    name: str
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    normal: tuple[float, ...]
    """Scores of its normal clips."""
    anomalous: tuple[float, ...]


class _Mistake(_Stored):
    """A misclassified example: what it was, and how to draw and play it."""

    label: int
    answer: int
    certainty: float
    kind: Literal["series", "picture"]
    values: tuple[tuple[float, ...], ...] = ()
    """Values of a series, by channel."""
    rows: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Pixels of a picture: planes, of rows, of 0 to 255."""
    sound: str | None = None
    """Mu-law of 8 kHz in base64."""


class _Accepted(_Stored):
    threshold: float
    misses: float
    false_accepts: float


class _Thresholds(_Stored):
    ignored: tuple[str, ...]
    seconds: float | None
    points: tuple[_Accepted, ...]


class Outcome(_Stored):
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Examples by class (row) and answer (column)."""
    machines: tuple[_Curve, ...] | None = None
    mistakes: tuple[_Mistake, ...] = ()
    thresholds: _Thresholds | None = None

    @model_validator(mode="after")
    def _is_square(self) -> "Outcome":
        count = len(self.classes)
        if len(self.confusion) != count or any(len(row) != count for row in self.confusion):
            raise ValueError("confusion must have a row and a column for each class")
        places = range(count)
        if any(each.label not in places or each.answer not in places for each in self.mistakes):
            raise ValueError("mistakes must be of the classes there are")
        return self


class _Noise(_Stored):
    """Ratios in dB; None stands for infinite."""

    sqnr_db: float | None
    median_channel_db: float | None
    worst_channel: int | None
    worst_channel_db: float | None


class _LayerError(_Stored):
    name: str
    kind: str
    cumulative: _Noise
    local: _Noise
    saturated: float


class Layers(_Stored):
    reference: str
    samples: int
    culprit: str | None
    layers: tuple[_LayerError, ...]


class Block(BaseModel):
    """A block as `space.searchable.Searchable.drawing` describes it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    type: str
    width: int
    largest: int
    layers: tuple[str, ...]


PARTS: dict[str, TypeAdapter[Any]] = {
    "made": TypeAdapter(_Made),
    "board": TypeAdapter(Board),
    "data": TypeAdapter(Examples),
    "training": TypeAdapter(dict[str, tuple[_Epoch, ...]]),
    "outcome": TypeAdapter(Outcome),
    "layers": TypeAdapter(Layers),
    "space": TypeAdapter(Space),
    "gates": TypeAdapter(Gates),
    "network": TypeAdapter(tuple[Block, ...]),
}
"""Keys of `history.json`, and what each holds."""
