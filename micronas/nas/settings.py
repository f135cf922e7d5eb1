"""Settings of a search: its strategy, length and step sizes."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from micronas.nas.strategies import check_name
from micronas.settings import Settings
from micronas.train.recipe import Amp, Recipe


class SearchSettings(Settings):
    """Length and step sizes of a search; the defaults suit networks of a few million MACs."""

    strategy: Annotated[str, AfterValidator(check_name)] = "auto"
    """Who proposes networks to the trials. ``dnas``: gates, trained in alternation with the weights
    of a supernet. ``ranked``: shared weights, trained on smooth networks within the budget, which
    they rank. ``evolution``: the same, with crossing and mutation of the best. ``halving``: nobody;
    `draws` smooth networks compete in trials of growing length. ``auto``: ranking where it trains
    on at most half of the examples that halving would, else halving; see
    `micronas.nas.strategies.auto`."""
    steps: int = Field(400, ge=1)
    """Of the supernet: alternations of one weight step and one gate step, or, without gates, four
    weight steps."""
    warmup: int = Field(600, ge=0)
    """Most weight steps before gates move; fewer once the loss has left ln(classes)."""
    supernet: Literal["budget", "space"] = "budget"
    """What `ranked` and `evolution` train shared weights on: networks within the budget, or of any
    size. The latter serve every board and budget: a sweep trains them once; `auto` then ranks."""
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    gate_learning_rate: float = Field(0.03, gt=0)
    temperature: tuple[float, float] = (1.0, 0.5)
    """Of the Gumbel-softmax, at the start and at the end."""
    hard: bool = True
    """One-hot straight-through samples; otherwise soft ones."""
    amp: Amp = None
    """``bf16``: convolutions in bfloat16, as `Recipe.amp` has it; trials have a setting of their
    own."""
    candidates: int = Field(60, ge=1)
    """Sampled networks that are ranked with shared weights."""
    finalists: int = Field(6, ge=0)
    """Best proposals that get a short training, beside the uniform networks: half of them with
    small kernels, half with large ones, where there are both."""
    draws: int = Field(16, ge=2)
    """Networks that halving begins with, and a generation of evolution. In a space of several
    families half as many join once the first are known."""
    generations: int = Field(8, ge=1)
    """Of evolution."""
    folds: Literal["auto"] | Annotated[int, Field(ge=1, le=10)] = "auto"
    """In a space of several families: trainings of a network for each trial, each ranked by other
    groups. ``auto``: 3 where the training part has fewer than 12 groups, since one or two people
    say little of others; else 1, ranked by a fifth of the training part."""
    final_folds: int = Field(2, ge=1, le=10)
    """Trainings of each network that reaches the end of the trials, each ranked by other groups,
    where `folds` are fewer: between the last few, chance in one training decides as much as they
    differ."""
    trial: Recipe = Recipe(epochs=20, batch_size=64)
    """The short training."""
    inherited: float = Field(0.5, ge=0, le=1)
    """Share of its epochs that a trial has where it begins with the weights that ranked or evolved
    the networks, and without `final_folds`, whose groups these weights have seen. 0: all begin
    anew."""

    @model_validator(mode="after")
    def _check(self) -> "SearchSettings":
        if self.supernet == "space" and self.strategy in ("dnas", "halving"):
            raise ValueError(
                "supernet=space is for strategy=ranked or evolution, but "
                f"strategy={self.strategy}; leave one of the two out"
            )
        return self

    @property
    def shares(self) -> bool:
        """Whether a supernet has a part in common with searches for other boards and budgets."""
        return self.supernet == "space" or (self.strategy == "dnas" and self.warmup > 0)

    def trial_of(self, *, inherits: bool) -> Recipe:
        """Return the recipe of trials, which begin with a supernet's weights or anew."""
        epochs = max(1, round(self.inherited * self.trial.epochs))
        return self.trial.model_copy(update={"epochs": epochs}) if inherits else self.trial
