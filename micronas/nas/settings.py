"""Settings of a search: common ones, and those of each strategy. Imports no torch."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from micronas.settings import OneOf, Settings, validate_settings
from micronas.train.recipe import Amp, Recipe

Temperature = Annotated[float, Field(gt=0)]


class StrategySettings(Settings):
    """Settings common to all strategies; the defaults suit networks of a few million MACs."""

    strategy: str
    """Name of a strategy, or its import path: ``my_package.mine:Tpe``."""
    rank_by: str | None = None
    """Measure that ranks trials: ``loss``, or for classes ``accuracy``, ``balanced_accuracy`` or
    ``macro_f1``, for labels ``map`` or ``macro_f1``, for values ``mae``, ``rmse`` or ``r2``. None:
    for classes ``loss``, at the best temperature; for labels ``map``; for values ``mae``."""
    trial: Recipe = Recipe(epochs=10, batch_size=64, warmup=0.05)
    """Training by which networks are compared; that of `champions` has three times the epochs."""
    epochs: int | None = Field(None, ge=1)
    """Total epochs of all trials, after which the search ends; supernet steps come on top. None: as
    the strategy plans."""
    folds: Literal["auto"] | Annotated[int, Field(ge=1, le=10)] = "auto"
    """Trainings of a network for each trial, each ranked by other groups. ``auto``: 3 where the
    training part has 3 to 11 groups, since one or two people represent others badly; else 1, ranked
    by a fifth of the training part."""
    champions: int = Field(2, ge=1)
    """Number of families whose best network trains three times as long in the end; each textbook
    network is a family. Until then the best networks of several families stay, whatever they score:
    some start slowly and end ahead. 1: the better half stays, and the trials decide."""

    @model_validator(mode="before")
    @classmethod
    def _own(cls, values: Any) -> Any:
        own = cls.model_fields["strategy"].default
        given = values.get("strategy", own) if isinstance(values, Mapping) else own
        if isinstance(own, str) and given != own:
            found = KINDS.get(given)
            way = f"take {found.__module__}.{found.__name__}, or" if found else "pass"
            raise ValueError(
                f"strategy must be {own}, but got {given}; {way} a mapping of settings"
            )
        return values

    alone: ClassVar[float] = 0.5
    """Share of a run's effort for the winner's final training; see
    `micronas.runs.settings.RunSettings.effort`."""

    @property
    def shares(self) -> bool:
        """Return whether searches for other boards and budgets can share a part of the supernet."""
        return False


class RandomSettings(StrategySettings):
    """``random``: networks drawn from the prior, each trained to the end."""

    strategy: str = "random"
    draws: int | None = Field(None, ge=2)
    """Number of networks drawn: 16, or, where `epochs` are given, as many as they allow. Trials are
    shorter where they do not allow two, or the number given."""


class HalvingSettings(StrategySettings):
    """``halving``: networks drawn from the prior compete in trials of growing length."""

    strategy: str = "halving"
    draws: int | None = Field(None, ge=2)
    """Number of networks drawn: 8, or, where `epochs` are given, as many as they allow. Trials are
    shorter where they do not allow two, or the number given. Half as many descendants join with
    each generation."""
    generations: int = Field(1, ge=0)
    """Number of times descendants of the best third join before the worse half is dropped."""


class EvolutionSettings(HalvingSettings):
    """``evolution``: halving after several generations of descendants, by real trainings."""

    strategy: str = "evolution"
    generations: int = Field(4, ge=0)


class SupernetSettings(StrategySettings):
    """Settings of strategies that train shared weights."""

    steps: int = Field(400, ge=1)
    """Supernet steps: alternations of one weight step and one gate step, or, without gates, four
    weight steps."""
    batch_size: int = Field(64, ge=2)
    learning_rate: float = Field(3e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    amp: Amp = None
    """``bf16``: convolutions in bfloat16, see `Recipe.amp`; trials have their own setting."""
    finalists: int = Field(6, ge=0)
    """Number of best proposals that get trials, beside the uniform networks: half with small
    kernels and half with large ones, where there are both."""


class RankedSettings(SupernetSettings):
    """``ranked``: shared weights, trained on smooth networks within the budget, rank them."""

    strategy: str = "ranked"
    supernet: Literal["budget", "space"] = "budget"
    """Networks that train the shared weights: within the budget, or of any size (``space``). The
    latter serve every board and budget: a sweep trains them once; `auto` then ranks. By default
    `finalists` are 3 then, `inherited` is 0.25, and no other networks have trials."""
    inherited: float = Field(0.5, ge=0, le=1)
    """Share of its epochs that a trial takes where it begins with the shared weights; it then has
    no `champions`. 0: all begin with random weights."""

    @model_validator(mode="before")
    @classmethod
    def _sparing(cls, values: Any) -> Any:
        spares = isinstance(values, Mapping) and values.get("supernet") == "space"
        return {"finalists": 3, "inherited": 0.25, **values} if spares else values

    @property
    def shares(self) -> bool:
        return self.supernet == "space"


class DnasSettings(SupernetSettings):
    """``dnas``: gates, trained in alternation with the weights of a supernet (MicroNets)."""

    strategy: str = "dnas"
    warmup: int = Field(600, ge=0)
    """Most weight steps before gates move; fewer once the loss has left ln(classes)."""
    gate_learning_rate: float = Field(0.03, gt=0)
    temperature: tuple[Temperature, Temperature] = (1.0, 0.5)
    """Temperature of the Gumbel-softmax at the start and at the end."""
    hard: bool = True
    """One-hot straight-through samples; otherwise soft ones."""
    candidates: int = Field(60, ge=1)
    """Number of sampled networks that are ranked with shared weights."""

    @property
    def shares(self) -> bool:
        return self.warmup > 0


class SingleStageSettings(StrategySettings):
    """``single_stage``: a pool of networks with shared weights narrows while it trains, and the
    winner's final training continues from these weights."""

    strategy: str = "single_stage"
    trial: Recipe = Recipe(epochs=20, batch_size=64)
    """Training of the shared weights, but for its number of epochs."""
    alone: ClassVar[float] = 0.2
    epochs: int = Field(160, ge=1)
    """Epochs of shared training, one network a batch: about what as many of one network take."""
    draws: int = Field(32, ge=2)
    """Number of networks drawn from all families, and again from the family that wins."""
    race: float = Field(0.5, ge=0, lt=1)
    """Share of the epochs in which all families train, equally long; then the best continues alone.
    With less, families that start quickly won, and often end behind others."""


class SearchSettings(HalvingSettings, RankedSettings):
    """``auto``: ranking where it trains on at most half of halving's examples, else halving; see
    `micronas.nas.strategies.auto`."""

    strategy: str = "auto"


SHIPPED: Mapping[str, type[StrategySettings]] = {
    "auto": SearchSettings,
    "dnas": DnasSettings,
    "evolution": EvolutionSettings,
    "halving": HalvingSettings,
    "random": RandomSettings,
    "ranked": RankedSettings,
    "single_stage": SingleStageSettings,
}
GROUP = "micronas.strategies"
"""Entry point group of strategies in other installed packages."""


class _Kinds(Mapping[str, type[StrategySettings]]):
    """Settings by a strategy's name or import path."""

    def __getitem__(self, name: str) -> type[StrategySettings]:
        if name not in self:
            raise KeyError(name)
        if name in SHIPPED:
            return SHIPPED[name]
        found: type[StrategySettings] = own_strategy(name).Settings
        return found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (":" in name or name in {*SHIPPED, *_registered()})

    def __iter__(self) -> Iterator[str]:
        return iter({**SHIPPED, **{name: name for name in _registered() if _is_sound(name)}})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _registered() -> set[str]:
    return {each.name for each in entry_points(group=GROUP)}


def _is_sound(name: str) -> bool:
    """Return whether an installed strategy can be imported: one that cannot stops no other."""
    try:
        own_strategy(name)
    except ValueError:
        return False
    return True


KINDS = _Kinds()
"""Settings of all strategies, by name."""

AnySettings = Annotated[StrategySettings, OneOf("strategy", lambda: KINDS, default="auto")]
"""Settings of any strategy, picked by `strategy`."""


class _Search(Settings):
    search: AnySettings


def strategy_settings(given: StrategySettings | Mapping[str, Any] | None) -> StrategySettings:
    """Return settings of a strategy from a mapping like `search:` of a YAML file; None: defaults.

    Raises ConfigError if a key is unknown, or a value is wrong.
    """
    if isinstance(given, StrategySettings):
        return given
    values = {"search": {} if given is None else given}
    return validate_settings(values, _Search, source="settings").search


def own_strategy(name: str) -> Any:
    """Return the class that an entry point or ``my_package.mine:Tpe`` names.

    Raises ValueError if there is none.
    """
    found = [*entry_points(group=GROUP, name=name)] or [EntryPoint(name, name, GROUP)]
    try:
        loaded = found[0].load()
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"a strategy of one's own must be importable as MODULE:CLASS, but {name!r} is not "
            f"({error}); install its package, or set PYTHONPATH to its folder"
        ) from error
    kind = getattr(loaded, "Settings", None)
    if not (isinstance(kind, type) and issubclass(kind, StrategySettings)):
        raise ValueError(
            "a strategy of one's own must be a class derived from "
            "micronas.nas.strategies.base.Strategy, whose Settings derive from "
            f"micronas.nas.settings.StrategySettings, but {name!r} is none; derive both"
        )
    if missing := ", ".join(sorted(getattr(loaded, "__abstractmethods__", ()))):
        raise ValueError(
            f"a strategy of one's own must have ask, tell and plan, but {name!r} has no {missing}; "
            "define it"
        )
    return loaded
