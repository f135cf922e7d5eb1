"""Train a composition from a data set: categories, router, experts and threshold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from micronas.checkpoint import Checkpoint
from micronas.data import DataSet, Split, Subset, divide
from micronas.errors import BudgetError, ConfigError
from micronas.graph.counts import count
from micronas.graph.ir import Graph
from micronas.router.decision import GENERAL
from micronas.router.device.categories import (
    check_categories,
    check_count,
    confused_classes,
)
from micronas.router.device.composition import (
    LOWEST_CODE,
    Composition,
    DeviceExpert,
    scores,
    with_softmax,
)
from micronas.router.device.threshold import Threshold, choose_threshold
from micronas.space.space import Space
from micronas.train.codes import quantize_inputs
from micronas.train.loop import Epoch, fit, generator_for, predict
from micronas.train.network import Network, submodule_names
from micronas.train.quantize import QuantizedNetwork
from micronas.train.recipe import FINETUNE, Recipe

Outputs = Literal["category", "all"]
"""Classes that an expert tells apart: those of its category, or all of them."""

_CALIBRATION_BATCHES = 8
_BATCH = 256


@dataclass(frozen=True)
class Composed:
    """A trained composition."""

    composition: Composition
    """Its `shares` are those on the held-out examples."""
    threshold: Threshold
    """The chosen threshold, and what it led to on the held-out examples."""


class Relabelled(Subset):
    """Some examples of a split under other labels.

    Parameters
    ----------
    index
        Which examples, int64 [n]; one may stand several times.
    meaning
        New label of each old one, int64 [classes].
    """

    def __init__(self, split: Split, index: Tensor, meaning: Tensor) -> None:
        super().__init__(split, index)
        self.labels = meaning[self.labels]


def compose(
    data: DataSet,
    *,
    router: Space,
    expert: Space,
    general: Space | None = None,
    categories: int | Mapping[str, Sequence[str]] = 4,
    outputs: Outputs = "category",
    seed: int,
    recipe: Recipe | None = None,
    specialise: Recipe | None = None,
    quantize: Recipe = FINETUNE,
    held_out: float = 0.2,
    macs: float | None = None,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[str, Epoch], None] | None = None,
) -> Composed:
    """Train a router and experts, and choose from which probability on the router is believed.

    The training part alone is used. It is cut along its groups (speakers): networks are trained on
    the larger piece, categories and threshold are chosen on the other one. All networks are
    calibrated on the same batches and keep the input range found there, so that they read the
    same codes. Experts start from a network of their shape that was trained on all classes.

    Parameters
    ----------
    data
        The validation and test parts are not looked at.
    router, expert, general
        Shapes of the networks; their number of classes is replaced. `general` is as `expert`
        where it is left out.
    categories
        How many, to be found by clustering what a network of the router's shape confuses, or
        their classes by name.
    outputs
        ``category``: an expert sees its category alone, and what the router gets wrong stays
        wrong. ``all``: it keeps all classes, and its category makes half of its examples.
    recipe, specialise, quantize
        Training of router, probe and general network, of an expert from there on (as `recipe`
        where it is left out), and quantization-aware training of each.
    held_out
        Share of the training examples that choices are made on.
    macs
        Limit on the mean MACs of an inference, for the threshold.
    checkpoint, progress
        As `micronas.train.loop.fit` takes them; progress is told the network's name too.

    Raises
    ------
    ConfigError
        If categories do not divide the classes, or an architecture takes another input.
    DataError
        If there are not two groups.
    BudgetError
        If no threshold keeps to `macs`.
    """
    _check_inputs(data, [router, expert, general or expert])
    _check_budget(macs, router, [_sized(expert, 2), _sized(general or expert, len(data.classes))])
    if isinstance(categories, int):
        check_count(categories, len(data.classes))
    split, held = parts(data, held_out=held_out, seed=seed)
    trainer = _Trainer(split, recipe or Recipe(), quantize, seed, checkpoint, progress)
    if isinstance(categories, int):
        found = _found(trainer, held, data, router, categories)
    else:
        found = check_categories(categories, data.classes, smallest=2)
    members = {
        name: torch.tensor([data.classes.index(label) for label in labels])
        for name, labels in found.items()
    }
    meaning = torch.zeros(len(data.classes), dtype=torch.long)
    for position, classes in enumerate(members.values()):
        meaning[classes] = position
    everything = torch.arange(len(split.labels))
    routing = Relabelled(split, everything, meaning)
    router_network = trainer.network("router", _sized(router, len(found)), routing)
    start = trainer.network("start", _sized(expert, len(data.classes)), split)
    experts = []
    for name, classes in members.items():
        known = classes if outputs == "category" else torch.arange(len(data.classes))
        examples = _examples(split, classes, known, len(data.classes))
        shape = _sized(expert, len(known))
        state = _for_classes(start, shape, known)
        phase = f"expert {name}"
        network = trainer.network(phase, shape, examples, state=state, recipe=specialise)
        labels = tuple(data.classes[label] for label in known)
        experts.append(DeviceExpert(name, trainer.int8(phase, network, examples), labels))
    if general is not None:
        start = trainer.network(GENERAL, _sized(general, len(data.classes)), split)
    generalist = trainer.int8(GENERAL, start, split)
    experts.append(DeviceExpert(GENERAL, generalist, tuple(data.classes)))
    draft = Composition(
        classes=tuple(data.classes),
        categories=found,
        router=with_softmax(trainer.int8("router", router_network, routing)),
        experts=tuple(experts),
        expert_of={name: name for name in (*found, GENERAL)},
        threshold=LOWEST_CODE,
        shares={each.name: 1 / len(experts) for each in experts},
    )
    return _with_threshold(draft, held, macs)


def parts(data: DataSet, *, held_out: float, seed: int) -> tuple[Subset, Subset]:
    """Cut the training part along its groups: what networks learn from, what choices are made on.

    Raises
    ------
    ConfigError
        If the share of the second is not between 0 and 1.
    DataError
        If there are not two groups.
    """
    if not 0 < held_out < 1:
        raise ConfigError(
            f"the held-out share must be above 0 and below 1: held_out={held_out}; 0.2 is usual"
        )
    kept, held = divide(data.train, (1 - held_out, held_out), generator_for(seed, "held out"))
    return Subset(data.final or data.train, kept.index), held


def input_codes(graph: Graph, split: Split) -> npt.NDArray[np.int8]:
    """All examples of a split as the device sees them, int8 [N, height, width, channels]."""
    return np.concatenate(
        [
            quantize_inputs(graph, split.batch(index, None))
            for index in torch.split(torch.arange(len(split.labels)), _BATCH)
        ]
    )


class _Trainer:
    """Trains networks on pieces of one split, all with the same input codes."""

    def __init__(
        self,
        split: Subset,
        recipe: Recipe,
        quantize: Recipe,
        seed: int,
        checkpoint: Checkpoint | None,
        progress: Callable[[str, Epoch], None] | None,
    ) -> None:
        self.split = split
        self._recipe = recipe
        self._quantize = quantize
        self._seed = seed
        self._checkpoint = checkpoint
        self._progress = progress
        generator = generator_for(seed, "calibration")
        order = torch.randperm(len(split.labels), generator=generator)
        batches = torch.split(order, quantize.batch_size)[:_CALIBRATION_BATCHES]
        self._batches = [split.batch(index, generator) for index in batches]

    def network(
        self,
        name: str,
        architecture: Space,
        split: Split,
        *,
        state: Mapping[str, Tensor] | None = None,
        recipe: Recipe | None = None,
    ) -> Network:
        """Train a float network, from `state` where it is given."""
        generator = generator_for(self._seed, name, "initial weights")
        network = Network(architecture.graph(), generator=generator)
        if state is not None:
            network.load_state_dict(state)
        return fit(
            network,
            split,
            recipe or self._recipe,
            seed=self._seed,
            section=f"{name} train",
            checkpoint=self._checkpoint,
            progress=self._told(name),
        )

    def int8(self, name: str, network: Network, split: Split) -> Graph:
        """Quantise a network; the range of its input stays that of the common batches."""
        graph = network.graph()
        quantized = QuantizedNetwork(graph)
        quantized.calibrate(self._batches)
        for source in submodule_names(graph.inputs).values():
            quantized.ranges[source].requires_grad_(False)
        fit(
            quantized,
            split,
            self._quantize,
            seed=self._seed,
            section=f"{name} quantize",
            checkpoint=self._checkpoint,
            progress=self._told(name),
        )
        return quantized.graph()

    def _told(self, name: str) -> Callable[[Epoch], None] | None:
        tell = self._progress
        return None if tell is None else lambda epoch: tell(name, epoch)


def _check_inputs(data: DataSet, architectures: Sequence[Space]) -> None:
    for architecture in architectures:
        if architecture.input != data.input:
            raise ConfigError(
                "networks of a composition must take the data set's input, but "
                f"{architecture.name!r} takes {architecture.input} and the data is {data.input}; "
                "edit `input` of the architecture"
            )


def _check_budget(limit: float | None, router: Space, experts: Sequence[Space]) -> None:
    """Refuse before anything is trained what no threshold can meet."""
    least, *others = (count(each.graph()).macs for each in (_sized(router, 2), *experts))
    least += min(others)
    if limit is not None and limit < least:
        raise BudgetError(
            "mean MACs must reach those of the router and the smallest expert: "
            f"limit={limit:.0f}, smallest={least}; raise it or take smaller networks"
        )


def _sized(architecture: Space, classes: int) -> Space:
    return architecture.model_copy(update={"classes": classes})


def _found(
    trainer: _Trainer, held: Split, data: DataSet, router: Space, categories: int
) -> dict[str, tuple[str, ...]]:
    """Categories from the mean probabilities of a probe on the held-out examples."""
    probe = trainer.network("probe", _sized(router, len(data.classes)), trainer.split)
    probabilities = predict(probe, held).softmax(1).double()
    confusion = torch.zeros(len(data.classes), len(data.classes), dtype=torch.float64)
    confusion.index_add_(0, held.labels, probabilities)
    return confused_classes(confusion.numpy(), data.classes, count=categories)


def _examples(split: Subset, classes: Tensor, known: Tensor, count: int) -> Relabelled:
    """Return an expert's training examples: its category, half of them if more is `known`."""
    inside = torch.isin(split.labels, classes)
    index = inside.nonzero()[:, 0]
    if len(known) > len(classes):
        others = (~inside).nonzero()[:, 0]
        repeats = max(round(len(others) / max(len(index), 1)), 1)
        index = torch.cat([index.repeat(repeats), others])
    meaning = torch.zeros(count, dtype=torch.long)
    meaning[known] = torch.arange(len(known))
    return Relabelled(split, index, meaning)


def _for_classes(network: Network, architecture: Space, known: Tensor) -> dict[str, Tensor]:
    """Weights of a network for some of its classes: of the classifier, their rows alone."""
    wanted = Network(architecture.graph()).state_dict()
    return {
        name: value if value.shape == wanted[name].shape else value[known]
        for name, value in network.state_dict().items()
    }


def _with_threshold(draft: Composition, held: Split, limit: float | None) -> Composed:
    codes, labels = input_codes(draft.router, held), held.labels.numpy()
    macs = np.array([count(graph).macs for graph in draft.graphs])
    believed = draft.predict(codes)
    # the highest threshold cannot send certain inputs away: ask the general expert itself
    generalist = draft.experts[draft.routes[-1]]
    answers = draft.class_indices(generalist)[scores(generalist.graph, codes).argmax(1)]
    chosen = choose_threshold(
        scores(draft.router, codes).max(1),
        believed.labels == labels,
        unsure=answers == labels,
        sure_macs=macs[0] + macs[1:][believed.experts],
        unsure_macs=int(macs[0] + macs[1:][draft.routes[-1]]),
        limit=limit,
    )
    final = replace(draft, threshold=chosen.code)
    return Composed(replace(final, shares=final.shares_of(final.predict(codes))), chosen)
