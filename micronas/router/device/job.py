"""Train a composition of networks for a board and write its firmware, from one YAML file."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from micronas.export.firmware.shared import ProjectKind, check_kind, check_name, check_new
from micronas.hardware.board import Board
from micronas.router.device.project import write_composition
from micronas.settings import Settings, read_mapping, validate_settings, with_overrides
from micronas.space.space import Space
from micronas.tasks.registry import DEFAULT, DataSettings, load
from micronas.train.recipe import FINETUNE, Recipe

if TYPE_CHECKING:
    from micronas.data import DataSet

_GOLDEN = 200
"""Examples that are looked through for inputs that reach every expert."""
_KEPT = 8
"""Golden inputs, at least; more where that many do not reach every expert."""


class DeviceSettings(Settings):
    """A router network and expert networks on one board."""

    board: str
    data: DataSettings
    router: str
    """Architecture of the router: a YAML file, or one of those shipped."""
    expert: str
    """Architecture of the experts."""
    general: str | None = None
    """Architecture of the network for inputs the router is unsure of; the experts' by default."""
    categories: int | dict[str, tuple[str, ...]] = 4
    """How many, to be found by what a small network confuses; or their classes by name."""
    outputs: Literal["category", "all"] = "category"
    """``all``: an expert keeps all classes, and may correct the router."""
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the training examples that categories and threshold are chosen on."""
    train: Recipe = Recipe()
    """Of the router and the general network."""
    specialise: Recipe | None = None
    """Of an expert, from the general network on; as `train` where it is left out."""
    quantize: Recipe = FINETUNE
    seed: int = 0


def read_settings_of(path: Path, overrides: Sequence[str]) -> DeviceSettings:
    """Read a composition's YAML.

    Raises
    ------
    ConfigError
        If it is not valid; names line, key and nearest name.
    """
    values, lines = read_mapping(path)
    values = with_overrides(values, overrides)
    data = values.get("data")
    if isinstance(data, dict) and "task" not in data:
        values = {**values, "data": {"task": DEFAULT, **data}}
    return validate_settings(values, DeviceSettings, source=str(path), lines=lines)


def write_device(
    settings: DeviceSettings,
    folder: Path,
    *,
    kind: ProjectKind = "cmake",
    data: "DataSet | None" = None,
) -> dict[str, Any]:
    """Train router and experts, write the firmware project, and return what it is, as JSON values.

    Parameters
    ----------
    folder
        Of the project; new or empty.
    data
        The data set; read as the settings say when left out.

    Raises
    ------
    ConfigError
        If categories do not divide the classes, or an architecture takes another input.
    ExportError
        If the folder cannot be written, or an expert is reached by none of the held-out examples.
    """
    check_kind(kind)
    folder = folder.expanduser().absolute()
    check_name(folder)
    check_new(folder)
    board = Board.load(settings.board)
    architectures = [Space.load(settings.router), Space.load(settings.expert)]
    general = None if settings.general is None else Space.load(settings.general)
    loaded = data or load(settings.data)
    from micronas.router.device.compose import compose, input_codes, parts

    composed = compose(
        loaded,
        router=architectures[0],
        expert=architectures[1],
        general=general,
        categories=settings.categories,
        outputs=settings.outputs,
        seed=settings.seed,
        recipe=settings.train,
        specialise=settings.specialise,
        quantize=settings.quantize,
        held_out=settings.held_out,
    )
    composition = composed.composition
    _, held = parts(loaded, held_out=settings.held_out, seed=settings.seed)
    codes = input_codes(composition.router, held)[:_GOLDEN]
    reached = composition.predict(codes).experts
    first = [int(np.flatnonzero(reached == expert)[0]) for expert in np.unique(reached)]
    chosen = sorted({*first, *range(min(_KEPT, len(codes)))})
    write_composition(composition, folder, golden_inputs=codes[chosen], kind=kind)
    costs = composition.costs(board)
    return {
        "folder": str(folder),
        "categories": {name: list(each) for name, each in composition.categories.items()},
        "experts": [expert.name for expert in composition.experts],
        "golden_inputs": len(chosen),
        **vars(costs),
    }
