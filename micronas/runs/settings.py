"""Settings of a search or training run, read from YAML. Imports no torch."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import Field

from micronas.errors import ConfigError
from micronas.files import text_hash
from micronas.hardware.board import Board
from micronas.hardware.costs import Budget
from micronas.hardware.forms import Form
from micronas.hardware.front_ends import has_times
from micronas.nas.problem import Problem
from micronas.nas.settings import KINDS, AnySettings, SearchSettings, StrategySettings
from micronas.resources import find
from micronas.settings import Settings, read_mapping, validate_settings, with_overrides
from micronas.space.open_space import OpenSpace, load_space
from micronas.space.searchable import Searchable
from micronas.space.space import Space
from micronas.tasks import registry
from micronas.tasks.registry import DEFAULT, DataSettings
from micronas.train.recipe import FINETUNE, Device, Recipe


class DistillSettings(Settings):
    """A teacher for the final training."""

    teacher: Path
    """Run folder of the float network that teaches."""
    coefficient: float = Field(0.5, ge=0, le=1)
    """Weight of the teacher's outputs against the labels; the paper's by default."""
    temperature: float = Field(4.0, gt=0)


class TrainSettings(Settings):
    """Settings of training, quantising and checking one network."""

    board: str
    """Name of a shipped board, or path of a YAML file."""
    latency_form: Form | None = None
    """Form of the board's latency model to use; None for the board's own choice."""
    engine: str | None = None
    """Engine of the network on the board: ``tflm`` with a file, or ``micronas``, generated C
    without an interpreter; None for the board's own choice."""
    budget: Budget = Budget()
    """Limits; SRAM and flash default to the board's."""
    data: DataSettings
    train: Recipe = Recipe(epochs=200, batch_size=64)
    """Float training of the final network."""
    quantize: Recipe = FINETUNE
    """Quantization-aware training after float training."""
    distill: DistillSettings | None = None
    """Knowledge distillation in both trainings; None for labels alone."""
    device: Device = "cpu"
    """Device to train on; ``auto`` takes an accelerator if torch finds one. Results depend on the
    kind of device."""
    seed: int = Field(0, ge=0, lt=2**63)

    def load_board(self) -> Board:
        return Board.load(self.board).using(self.latency_form, engine=self.engine)

    def board_content(self) -> str:
        """Return a hash of the board, which the settings only name."""
        return text_hash(self.load_board().model_dump_json())


class RunSettings(TrainSettings):
    """Settings of a search and of the training after it."""

    space: str
    """Name of a shipped search space, or path of a YAML file."""
    search: AnySettings = SearchSettings()
    """Settings of the strategy named by `search.strategy`."""
    effort: int | None = Field(None, ge=2)
    """Epochs of search and training together, in place of `search.epochs` and `train.epochs`: half
    of them train the winner alone, or a fifth after ``single_stage``, whose weights it inherits.
    More find a better network. The supernet of ``dnas`` and ``ranked`` comes on top."""

    def for_training(self) -> TrainSettings:
        """Return the settings without those of the search."""
        return TrainSettings(**{name: getattr(self, name) for name in TrainSettings.model_fields})

    def load_space(self) -> Space | OpenSpace:
        """Read the space, with the input shape of the data where the data decides it."""
        space = load_space(self.space)
        shape = registry.find(self.data.task).input(self.data, space.inputs)
        if shape is None or (isinstance(space, OpenSpace) and space.input is None):
            return space
        return space.model_copy(update={"input": shape})

    def supernet_key(self, made: Mapping[str, Any] = MappingProxyType({})) -> str | None:
        """Return a hash of a supernet's inputs without board and budget; None where none is shared.

        ``auto`` mostly decides on a supernet after the data is read, and then shares none.

        Parameters
        ----------
        made
            Identities of ``space`` and ``data`` that the settings do not describe.
        """
        if not self.search.shares:
            return None
        described = () if "space" in made else (self.load_space(),)
        parts = (part.model_dump(mode="json") for part in (*described, self.data, self.search))
        text = json.dumps([self.seed, *parts, *made.items()])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def supernet_in(self, folder: Path | None) -> Path | None:
        """Return the file of this run's supernet in a folder of supernets.

        Raises ConfigError if the search trains no supernet that others could load.
        """
        if folder is None:
            return None
        key = self.supernet_key()
        if key is None:
            raise ConfigError(
                "supernets are kept where other budgets share them, but search.strategy="
                f"{self.search.strategy} shares none; set search.strategy=dnas, or "
                "search.strategy=ranked search.supernet=space"
            )
        return folder / f"{key}.pt"

    def problem(
        self, space: Searchable | OpenSpace | None = None, *, known: Mapping[str, Any] | None = None
    ) -> Problem:
        """Return the problem of the search, with the front end as far as known before data is read.

        Costs of listening are not limited where only the data gives the duration of a frame.

        Parameters
        ----------
        known
            Known part of the input's meaning, where the data is not that of the settings.
        """
        space = space or self.load_space()
        known = registry.find(self.data.task).known_of(self.data) if known is None else known
        unheard = {"hop": None, "load": None, "energy": None}
        budget = self.budget if has_times(known) else self.budget.model_copy(update=unheard)
        return Problem(space, self.load_board(), budget, meaning=known)


def load_run(
    source: str | Path, overrides: Sequence[str] = (), *, own: Mapping[str, str] | None = None
) -> RunSettings:
    """Read a run's settings.

    Parameters
    ----------
    source
        YAML file of settings, or a search space (its file, or the name of a shipped one) to use
        with default settings.
    overrides
        Strings ``key=value`` with dots, e.g. ``budget.latency=100ms``.
    own
        Values of ``space`` and ``data.path`` for a user's own space or data set without a file; the
        settings must not give these keys then.
    """
    path = Path(source)
    if not path.is_file():
        path = find("search_spaces", source)
    values, lines = read_mapping(path)
    if {"stem", "families"} & values.keys():
        load_space(path)
        values, lines = {"space": str(path)}, {}
    _check_units(overrides)
    values = with_overrides(values, overrides)
    own = own or {}
    for key, name in own.items():
        first, _, second = key.partition(".")
        if first in values and (not second or second in values[first]):
            raise ConfigError(
                f"a run must have one {first}, but {key} is set where {name} is given; leave one "
                "of them out"
            )
    values = with_overrides(values, [f"{key}={json.dumps(name)}" for key, name in own.items()])
    _check_given(values)
    values = _completed(values, None if "space" in own else values.get("space"))
    return validate_settings(
        _divided(values), RunSettings, source=str(path), lines=lines, overrides=overrides
    )


def settings_of(values: Mapping[str, Any], *, space: Space | OpenSpace | None) -> RunSettings:
    """Return the settings of a run from a mapping of the same form as its YAML.

    Raises ConfigError if a key is missing, unknown or wrong.
    """
    _check_given(values)
    values = _divided(_completed(values, None, space))
    return validate_settings(values, RunSettings, source="settings")


def load_training(
    source: Path | None, overrides: Sequence[str] = (), *, network: Space | None = None
) -> TrainSettings:
    """Read the settings of a training from a run's YAML, or from overrides alone."""
    values, lines = read_mapping(source) if source else ({}, {})
    _check_units(overrides)
    known = {name: value for name, value in values.items() if name not in _SEARCH_ONLY}
    known = with_overrides(known, overrides)
    _check_given(known)
    known = _completed(known, values.get("space"), network)
    return validate_settings(
        known, TrainSettings, source=str(source or "settings"), lines=lines, overrides=overrides
    )


def _completed(
    values: Mapping[str, Any], space: object, network: Space | OpenSpace | None = None
) -> dict[str, Any]:
    """Add defaults to data settings from the space, or from the network to train.

    They are the task, and settings that read the data as finely as the input needs.
    """
    data = values["data"]
    if not isinstance(data, Mapping):
        return dict(values)
    known: Space | OpenSpace | None = network
    if space is not None and (known is None or (known.task is None and "task" not in data)):
        known = load_space(str(space))
    if "task" not in data:
        task = known.task if known else None
        if task is None and space is not None:
            *others, last = registry.names()
            raise ConfigError(
                f"a run must say what its data is, but neither data.task nor the space "
                f"{str(space)!r} does; add data.task={', '.join(others)} or {last}, "
                "or `task:` to the space"
            )
        data = {"task": task or DEFAULT, **data}
    shown = network or known
    if shown is not None and data["task"] in registry.names():
        data = {**registry.find(data["task"]).reading(shown.inputs), **data}
    return {**values, "data": data}


def _divided(values: Mapping[str, Any]) -> dict[str, Any]:
    """Divide the effort between search and training, where it is given."""
    effort = values.get("effort")
    if not isinstance(effort, int) or effort < 2:
        return dict(values)
    search = values.get("search")
    strategy = search.get("strategy", "auto") if isinstance(search, Mapping) else "auto"
    try:
        kind = KINDS[strategy]
    except (LookupError, ValueError):
        kind = StrategySettings  # validation refuses the name
    alone = max(1, round(kind.alone * effort))
    found = dict(values)
    for section, epochs in (("search", effort - alone), ("train", alone)):
        given = values.get(section) or {}
        if not isinstance(given, Mapping):
            continue  # which validation refuses
        if "epochs" in given and given["epochs"] != epochs:
            raise ConfigError(
                f"a run must have effort or {section}.epochs, but has effort={effort}, which gives "
                f"{section}.epochs={epochs}, and {section}.epochs={given['epochs']}; leave one of "
                "them out"
            )
        found[section] = {**given, "epochs": epochs}
    return found


def _check_units(overrides: Sequence[str]) -> None:
    """Refuse a budget without a unit, such as 0.06, meant in seconds."""
    # values of other keys, which may be long, are not parsed twice
    for text in (each for each in overrides if each.lstrip().startswith("budget")):
        given = with_overrides({}, [text]).get("budget")
        for name, value in given.items() if isinstance(given, Mapping) else ():
            if isinstance(value, int | float) and name in Budget.model_fields:
                raise ConfigError(
                    f"a budget must have a unit, but got {text}; write budget.{name}={_UNITS[name]}"
                )


def _check_given(values: Mapping[str, Any]) -> None:
    for key, way in _WAYS.items():
        if key not in values:
            raise ConfigError(f"a run must name its {key}, but does not; {way}")


_UNITS = {
    "sram": '"128 KB"',
    "flash": '"1 MB"',
    "latency": '"50 ms"',
    "macs": '"2.5 MMACs"',
    "hop": '"100 ms"',
    "load": '"5%"',
    "energy": '"20 J"',
}
_SEARCH_ONLY = (RunSettings.model_fields.keys() - TrainSettings.model_fields.keys()) | {
    "architecture"  # recorded in the settings of a training, but a separate argument
}
_WAYS = {
    "board": "add board=NAME to the command or `board:` to the file; `micronas boards` lists them",
    "data": "add data.path=FOLDER to the command or `data:` to the file; "
    f"`micronas data synth {DEFAULT} FOLDER` makes a corpus to try; in Python "
    "data.task=arrays with run_search(..., data=...)",
}
