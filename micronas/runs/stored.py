"""Keys and types of `metrics.json` and `history.json` that a report reads. Imports no torch.

Other keys are allowed.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from micronas.hardware.board import Board
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
    latency_ms: float | None
    trial_epochs: int
    trial_loss: float | None
    trial_score: float | None = None
    """Measure of the search; its key in the file is ``trial_`` and that of the measure."""


class _Measure(_Stored):
    key: str
    name: str
    unit: str
    larger: bool


class Score(_Stored):
    """A measure of the network; see `micronas.objectives.base.Score`."""

    name: str
    unit: str
    larger: bool
    real: float | None = Field(alias="float")
    """Value of the float network."""
    int8: float
    interval: tuple[float, float] | None = None
    on: str


class Search(_Stored):
    strategy: str
    winner: str
    ahead_of_best_other_origin: float | None
    """None where no network of another origin had a trial."""
    ahead_half_width: float | None
    ahead_after_epochs: int | None
    """Epochs of both."""
    measure: _Measure
    candidates: tuple[_Candidate, ...]
    history: tuple[dict[str, float], ...]
    """One record per round."""

    @model_validator(mode="before")
    @classmethod
    def _scores_of_trials(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        key = f"trial_{(values.get('measure') or {}).get('key')}"
        rows = values.get("candidates", ())
        return {**values, "candidates": [{**row, "trial_score": row.get(key)} for row in rows]}


class Plain(_Stored):
    """A plain model of simple statistics, on the examples that evaluated the network."""

    name: str
    score: float
    ahead: float
    ahead_interval: tuple[float, float] | None = None

    @property
    def standing(self) -> str:
        """Return whether the int8 network beats the model."""
        if self.ahead_interval is None:
            return "too few groups to tell them apart"
        low, high = self.ahead_interval
        if high < 0:
            return "the network loses to it"
        if low > 0:
            return "the network wins"
        order = "ahead" if self.ahead > 0 else "behind" if self.ahead < 0 else "level"
        return f"the network is {order} within noise"


class Metrics(_Stored):
    """`metrics.json`."""

    board: str
    engine: str
    network: str
    macs: int
    flash_bytes: int
    arena_bytes: int
    arena_is_upper_bound: bool
    arena_assumes: str | None
    host_arena_bytes: int
    latency_ms: float
    latency_form: str
    energy_mj: float | None
    objective: str
    judged_on: str
    scores: tuple[Score, ...] = Field(min_length=1)
    """Measures, the main one first."""
    tflm_mismatches: int
    tflm_bytes_compared: int
    budget: dict[str, float]
    used: dict[str, float]
    fits: bool
    fits_estimates: tuple[str, ...]
    """Limits that rest on estimates and not on measurements of the board."""
    device: dict[str, Any]
    """Total needs on the device."""
    listening: dict[str, Any] | None
    """Costs of a call where the network listens."""
    decision: dict[str, Any] | None = None
    per_machine: dict[str, Machine] | None = None
    plain: Plain | None = None
    """Linear rival for series and pictures."""
    forest: Plain | None = None
    """Rival of trees; missing without scikit-learn."""
    search: Search | None = None

    def left(self, name: str) -> float | None:
        """Return the part of a limit that is left to the network; None without a limit."""
        limit = self.budget.get(name)
        return None if limit is None else limit - self.device["beside"].get(name, 0)

    def spent(self, name: str, otherwise: float) -> float:
        """Return what a limit counts; `otherwise` without a limit."""
        return self.budget[name] * self.used[name] if name in self.budget else otherwise

    @model_validator(mode="after")
    def _every_limit_is_used(self) -> "Metrics":
        if self.budget.keys() != self.used.keys():
            raise ValueError("budget and used must have the same keys")
        return self

    @property
    def score(self) -> Score:
        """Main measure of the network."""
        return self.scores[0]

    @property
    def gain(self) -> float:
        """Score as a number of which more is better."""
        return self.score.int8 if self.score.larger else -self.score.int8


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
    """Number of examples by part."""
    columns: tuple[str, ...] = ()
    """Names of channels, of sensors."""


class _Epoch(_Stored):
    number: int
    loss: float
    validation_loss: float | None = None
    validation_score: float | None = None
    """Measure of the objective."""


class _Decision(_Stored):
    name: str
    options: tuple[str, ...]


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
    """A misclassified example, with data to draw and play it."""

    label: int
    answer: int
    certainty: float
    kind: Literal["series", "picture"]
    values: tuple[tuple[float, ...], ...] = ()
    """Values of a series, by channel."""
    rows: tuple[tuple[tuple[int, ...], ...], ...] = ()
    """Pixels of a picture [planes][rows][columns], 0 to 255."""
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


class _Values(_Stored):
    name: str
    unit: str
    true: tuple[float, ...]
    told: tuple[float, ...]


class _Label(_Stored):
    """Examples of one label, and answers."""

    name: str
    examples: int
    right: int
    missed: int
    false: int


class Outcome(_Stored):
    classes: tuple[str, ...]
    """Names of outputs."""
    confusion: tuple[tuple[int, ...], ...] | None = None
    """Examples by class (row) and answer (column)."""
    machines: tuple[_Curve, ...] | None = None
    values: _Values | None = None
    labels: tuple[_Label, ...] | None = None
    mistakes: tuple[_Mistake, ...] = ()
    thresholds: _Thresholds | None = None

    @model_validator(mode="after")
    def _is_square(self) -> "Outcome":
        count = len(self.classes)
        rows = self.confusion
        if rows is not None and (len(rows) != count or any(len(row) != count for row in rows)):
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
    """A block from `space.searchable.Searchable.drawing`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    type: str
    width: int
    largest: int
    layers: tuple[str, ...]


class _CurvePoint(_Stored):
    missed: float
    false_alarms_per_hour: float


class _Scores(_Stored):
    label: str
    threshold: int | None
    scores: tuple[int, ...]


class _Begun(_Stored):
    label: str
    at: float


class _Mark(_Stored):
    label: str
    start: float
    end: float


class _Heard(_Stored):
    """Some seconds of sound, or readings: scores over time, events, and marks."""

    recording: str
    unit: str
    begin: float
    times: tuple[float, ...]
    series: tuple[_Scores, ...]
    events: tuple[_Begun, ...]
    marks: tuple[_Mark, ...]
    sound: str | None = None
    """Mu-law of 8 kHz in base64."""


class Listening(_Stored):
    """Detector chosen on recordings, written by `micronas.runs.listen`."""

    recordings: int
    hours: float
    occurrences: int
    missed: float
    false_alarms_per_hour: float
    held_out: _CurvePoint | None = None
    curve: tuple[_CurvePoint, ...]
    shown: _Heard | None = None


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
"""Types of the keys of `history.json`."""
