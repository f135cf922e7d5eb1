"""Choose networks to measure on a new board, and write the firmware that times them.

On the processors micronas is for, latency does not depend on weights, so the networks are not
trained. They are spread over the terms of latency models: arithmetic, and the outputs of
convolutions and depthwise convolutions per operation. All spaces take part in turns, because
coefficients fitted within one space do not carry over to another.
"""

import math
import random
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from micronas.errors import BudgetError, CalibrationWarning, ConfigError, DataError
from micronas.export.firmware.shared import (
    ProjectKind,
    arena_bytes,
    check_kind,
    check_new,
    write_folder,
)
from micronas.export.firmware.timing import timing_project
from micronas.graph.counts import count as count_costs
from micronas.graph.ir import Graph
from micronas.hardware.board import reserve
from micronas.hardware.targets import DEFAULT, MICRONAS, Target
from micronas.quantities import aligned, format_bytes
from micronas.space.decisions import Choice
from micronas.space.space import Space
from micronas.tflite.metadata import describe
from micronas.tflite.reader import read

_FOLDER = "networks"
MEASUREMENTS = "measurements.csv"
_CANDIDATES = 100
"""Least number of candidates per space; more where many networks are wanted."""
_CANDIDATES_PER_NETWORK = 10
_DRAWS_PER_CANDIDATE = 8
"""Most draws per wanted candidate, where limits leave few networks."""
_UNUSUAL = 0.1
"""Share of a space's candidates at either end of an axis that is too unusual to measure.

Extremes condition a fit best but mislead it, as a latency model holds least well there.
"""
_ALIGNMENT = 16
"""Alignment of a model as an array in flash, in bytes."""


@dataclass(frozen=True)
class _Candidate:
    space: int
    choice: Choice
    macs: int
    position: tuple[float, ...]
    """Logarithms of MACs, and of depthwise outputs and other convolutions' outputs per MAC."""


def write_plan(
    folder: Path,
    count: int,
    *,
    spaces: Sequence[str] = ("kws", "ad", "vww"),
    sram_bytes: float | None = None,
    flash_bytes: float | None = None,
    kind: ProjectKind = "cmake",
    target: Target = DEFAULT,
    seed: int = 0,
) -> list[Path]:
    """Write networks to measure, firmware that times them, and a table for the times.

    The folder then holds ``networks/*.tflite``, ``measurements.csv`` with an empty column
    ``latency_ms``, and ``firmware``, or ``firmware_1`` and so on where the networks do not fit into
    flash together. Raises ConfigError if `count` is less than one, or a search space does not
    exist; BudgetError if fewer networks fit; ExportError if the folder is not empty or cannot be
    written, or there is no such kind of project.

    Parameters
    ----------
    folder
        Folder to write; must not exist yet, or be empty.
    count
        Number of networks.
    spaces
        Search spaces to draw from, by name or path; one in which no network fits is left out.
    sram_bytes, flash_bytes
        Memory of the board in all; the needs of interpreter and firmware are subtracted. None: no
        limit.
    kind
        Kind of the firmware projects, see `timing_project`.
    target
        Target of the board, which determines the networks that fit.
    seed
        Seed of choice and weights.

    Returns
    -------
    Paths of the networks, in the order of the table.
    """
    if count < 1 or not spaces:
        raise ConfigError(
            "a plan needs at least one network and one search space, but got "
            f"{count} of {list(spaces)}; ask for more"
        )
    check_kind(kind)
    folder = folder.expanduser().absolute()
    check_new(folder)
    generator = random.Random(seed)
    loaded = [Space.load(space) for space in dict.fromkeys(spaces)]
    wanted = max(_CANDIDATES, _CANDIDATES_PER_NETWORK * count // len(loaded))
    fits = partial(_fits, target, sram_bytes, flash_bytes)
    candidates: list[_Candidate] = []
    for number, space in enumerate(loaded):
        fitting = [
            _candidate(number, choice, graph)
            for choice, graph in _draw(space, wanted, generator, fits)
        ]
        usual = _usual(fitting)
        candidates += usual if len(usual) >= count else fitting
    if len(candidates) < count:
        raise BudgetError(
            f"a plan of {count} networks needs as many that fit in {_limits(sram_bytes, 'SRAM')} "
            f"and {_limits(flash_bytes, 'flash')}, but only {len(candidates)} were found; ask for "
            "fewer, or draw from smaller spaces"
        )
    chosen = sorted(_spread(candidates, count), key=lambda each: (each.space, each.macs))
    names = _names([loaded[candidate.space].name for candidate in chosen])
    models = {
        name: _model(loaded[candidate.space].architecture(candidate.choice), seed)
        for name, candidate in zip(names, chosen, strict=True)
    }
    paths = [f"{_FOLDER}/{name}.tflite" for name in models]
    table = "".join(f"{row}\n" for row in ("model,latency_ms", *(f"{path}," for path in paths)))
    files: dict[str, str | bytes] = {
        **dict(zip(paths, models.values(), strict=True)),
        MEASUREMENTS: table,
    }
    room = math.inf if flash_bytes is None else flash_bytes - reserve(target).flash_bytes
    sizes = {
        name: len(model) if target.reads_file else target.model_bytes(read(model))
        for name, model in models.items()
    }
    loads = _packed(sizes, room)
    for number, load in enumerate(loads, 1):
        project = "firmware" if len(loads) == 1 else f"firmware_{number}"
        sources = timing_project(
            {name: models[name] for name in load},
            project,
            kind=kind,
            engine="micronas" if target.name == MICRONAS.name else "tflm",
        )
        files |= {f"{project}/{path}": text for path, text in sources.items()}
    write_folder(files, folder)
    return [folder / path for path in paths]


def read_plan(folder: Path) -> dict[str, Path]:
    """Return the networks of a plan's folder by the names their firmware prints.

    Raises DataError if the folder holds none.
    """
    networks = sorted((folder.expanduser() / _FOLDER).glob("*.tflite"))
    if not networks:
        raise DataError(
            f"a plan's folder must hold {_FOLDER}/*.tflite, but {str(folder)!r} does not; write "
            "one with micronas calibrate --plan"
        )
    return {path.stem: path for path in networks}


def _draw(
    space: Space, wanted: int, generator: random.Random, fits: Callable[[Graph], bool]
) -> list[tuple[Choice, Graph]]:
    """Draw different networks that fit, from thin to wide and from regular to irregular.

    Independent widths alone would give networks of about the same cost.
    """
    drawn: set[Choice] = set()
    found: list[tuple[Choice, Graph]] = []

    def judge(choice: Choice) -> None:
        choice = space.canonical(choice)
        if choice in drawn:
            return
        drawn.add(choice)
        graph = space.resolve(choice)
        if fits(graph):
            found.append((choice, graph))

    judge(space.smallest())
    for _ in range(_DRAWS_PER_CANDIDATE * wanted if found else 0):
        if len(found) >= wanted:
            break
        regular = space.uniform(generator.random(), generator.random())
        irregular, share = space.random(generator), generator.random()
        judge(
            tuple(
                own if generator.random() < share else common
                for own, common in zip(irregular, regular, strict=True)
            )
        )
    return found


def _candidate(space: int, choice: Choice, graph: Graph) -> _Candidate:
    costs = count_costs(graph)
    outputs = costs.depthwise_outputs, costs.conv_outputs
    # a network without blocks has no depthwise convolution
    shares = (math.log(max(output, 1) / costs.macs) for output in outputs)
    return _Candidate(space, choice, costs.macs, (math.log(costs.macs), *shares))


def _fits(
    target: Target, sram_bytes: float | None, flash_bytes: float | None, graph: Graph
) -> bool:
    reserved = reserve(target)
    if sram_bytes is not None and arena_bytes(graph, target) > sram_bytes - reserved.sram_bytes:
        return False
    if flash_bytes is None:
        return True
    size = target.model_bytes(graph, metadata=describe(classes=(), meaning={}))
    return aligned(size, _ALIGNMENT) <= flash_bytes - reserved.flash_bytes


def _usual(candidates: Sequence[_Candidate]) -> list[_Candidate]:
    """Leave out candidates near either end of any axis."""
    if not candidates:
        return []
    positions = np.array([each.position for each in candidates])
    low, high = np.quantile(positions, (_UNUSUAL, 1 - _UNUSUAL), axis=0)
    inside = np.all((positions >= low) & (positions <= high), axis=1)
    return [each for each, kept in zip(candidates, inside, strict=True) if kept]


def _spread(candidates: Sequence[_Candidate], count: int) -> list[_Candidate]:
    """Choose networks far from each other, from the spaces in turns as long as they have any.

    The first has the fewest MACs; each further one is the farthest from its nearest among those
    chosen (Gonzalez 1985), with every axis in standard deviations of the candidates.
    """
    positions: npt.NDArray[np.float64] = np.array([each.position for each in candidates])
    spread = positions.std(axis=0)
    positions = (positions - positions.mean(axis=0)) / np.where(spread > 0, spread, 1)
    owners = np.array([each.space for each in candidates])
    taken = np.zeros(len(candidates), bool)
    distance = -positions[:, 0]  # for the first network: fewest MACs
    chosen: list[_Candidate] = []
    while len(chosen) < count:
        uses = {space: int(taken[owners == space].sum()) for space in set(owners[~taken].tolist())}
        turn = min(uses, key=lambda space: (uses[space], space))
        best = int(np.argmax(np.where((owners == turn) & ~taken, distance, -np.inf)))
        from_best = np.linalg.norm(positions - positions[best], axis=1)
        distance = np.minimum(distance, from_best) if chosen else from_best
        taken[best] = True
        chosen.append(candidates[best])
    return chosen


def _names(spaces: Iterable[str]) -> list[str]:
    """Return names valid in C, file systems and logs: the space's and a number, ``kws_01``."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for space in spaces:
        word = re.sub(r"[^a-z0-9]+", "_", space.lower()).strip("_") or "network"
        seen[word] = seen.get(word, 0) + 1
        names.append(f"{word}_{seen[word]:02}")
    return names


def _model(architecture: Space, seed: int) -> bytes:
    """Return the file of an untrained network, calibrated on noise."""
    import torch

    from micronas.export.from_torch.module import to_tflite

    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)  # only their times count
        torch.manual_seed(seed)
        height, width, channels = architecture.input
        noise = torch.randn(2, channels, height, width)
        return to_tflite(architecture.build().eval(), noise)


def _packed(sizes: dict[str, int], room: float) -> list[list[str]]:
    """Distribute networks to few firmwares: the largest first, each to the first with room."""
    loads: list[list[str]] = []
    left: list[float] = []
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        size = aligned(sizes[name], _ALIGNMENT)
        fitting = [number for number, space in enumerate(left) if size <= space]
        if not fitting:
            loads.append([])
            left.append(room)
            fitting = [len(loads) - 1]
        loads[fitting[0]].append(name)
        left[fitting[0]] -= size
    return [sorted(load) for load in loads]


def _limits(limit: float | None, memory: str) -> str:
    return f"any {memory}" if limit is None else f"{format_bytes(limit)} of {memory}"
