"""A router network and expert networks as one classifier, exactly as the device computes it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from micronas.errors import ConfigError
from micronas.graph import integer
from micronas.graph.check import check_int8
from micronas.graph.counts import count
from micronas.graph.interface import check_one_each
from micronas.graph.ir import Graph, Op, Quantization, Tensor
from micronas.hardware.board import Board
from micronas.hardware.features import features
from micronas.hardware.targets import CMSIS_NN, HOST, Target
from micronas.router.decision import GENERAL
from micronas.router.device.categories import check_categories
from micronas.tflite.writer import to_flatbuffer

Codes = npt.NDArray[np.int8]
Integers = npt.NDArray[np.int64]

LOWEST_CODE, HIGHEST_CODE = -128, 127
PROBABILITY = Quantization(np.array([1 / 256], np.float32), LOWEST_CODE)
"""Output of SOFTMAX: a code c stands for the probability (c + 128) / 256."""


@dataclass(frozen=True)
class DeviceExpert:
    """An int8 network for some of the classes."""

    name: str
    graph: Graph
    """int8; its output has one code a label."""
    labels: tuple[str, ...]
    """The class of each output."""


@dataclass(frozen=True)
class Prediction:
    """Answers of a composition to N inputs."""

    labels: Integers
    """Predicted class, int64 [N], an index into `Composition.classes`."""
    categories: Integers
    """Likeliest category, int64 [N], an index into `Composition.names`."""
    experts: Integers
    """Expert that answered, int64 [N], an index into `Composition.experts`."""


@dataclass(frozen=True)
class CompositionCosts:
    """Costs of a composition on a board."""

    macs: float
    """Mean of an inference: the router's, and those of experts by the share of inputs they get."""
    worst_macs: int
    """The router's and the largest expert's."""
    flash_bytes: int
    """Sum of the model files."""
    arena_bytes: int
    """The largest arena that one of the networks needs to start on the board."""
    host_arena_bytes: int
    """The same on a 64-bit host."""
    latency_ms: float
    """Mean of an inference. Setting an interpreter up, twice an inference, is not in it."""
    fits: bool
    """Whether arena and files fit the board."""


@dataclass(frozen=True)
class Composition:
    """A classifier of two steps: a router's category, then the category's expert.

    Networks run one after the other. Each is set up anew in the same arena, and nothing of it
    stays but its output: neither activations nor the persistent part, so that the arena is that
    of the largest network. Weights are read from flash in place. The price is the time of setting
    up two interpreters an inference, which the exported project measures.

    Attributes
    ----------
    classes
        What is told apart.
    categories
        Classes of each category, in the order of the router's outputs; every class is in one.
    router
        int8, from the input to the probability of each category: it ends in SOFTMAX, see
        `with_softmax`.
    experts
        They take the router's input: same shape, scale and zero point.
    expert_of
        Name of the expert that serves each category, and ``general``, which knows every class.
    threshold
        Code of the router, -128 to 127. Where no category's code reaches it, the input is sent to
        the general expert; -128 sends none. The board compares integers alone.
    shares
        Share of the inputs that each expert gets, by name; adds up to 1. Mean costs go by it. See
        `shares_of`.

    Raises
    ------
    ConfigError
        If the parts do not belong together.
    ModelError
        If a network is not a complete int8 graph.
    """

    classes: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    router: Graph
    experts: tuple[DeviceExpert, ...]
    expert_of: Mapping[str, str]
    threshold: int
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        self._check_names()
        self._check_networks()
        self._check_mapping()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The categories in the order of the router's outputs."""
        return tuple(self.categories)

    @cached_property
    def category_of(self) -> Integers:
        """Category of each class, an index into `names`; int64 [classes]."""
        position = {
            label: index
            for index, labels in enumerate(self.categories.values())
            for label in labels
        }
        return np.array([position[label] for label in self.classes])

    @cached_property
    def routes(self) -> Integers:
        """Index of each category's expert, and last that of the general one; int64 [K + 1]."""
        position = {expert.name: index for index, expert in enumerate(self.experts)}
        wanted = (self.expert_of[name] for name in (*self.names, GENERAL))
        return np.array([position[name] for name in wanted])

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """All networks, the router first."""
        return (self.router, *(expert.graph for expert in self.experts))

    def predict(self, inputs: Codes) -> Prediction:
        """Classify inputs with the very bits of the device.

        Parameters
        ----------
        inputs
            int8 [N, height, width, channels], at the scale and zero point of the networks' input.

        Raises
        ------
        ModelError
            If the inputs do not match the networks'.
        """
        codes = scores(self.router, inputs)
        categories = codes.argmax(1)
        unsure = codes.max(1) < self.threshold
        experts = self.routes[np.where(unsure, len(self.names), categories)]
        labels = np.zeros(len(inputs), np.int64)
        for index in np.unique(experts):
            expert, sent = self.experts[index], experts == index
            answers = scores(expert.graph, inputs[sent]).argmax(1)
            labels[sent] = self.class_indices(expert)[answers]
        return Prediction(labels, categories, experts)

    def class_indices(self, expert: DeviceExpert) -> Integers:
        """Class of each output of an expert, an index into `classes`."""
        return np.array([self.classes.index(label) for label in expert.labels])

    def shares_of(self, prediction: Prediction) -> dict[str, float]:
        """Share of the inputs that each expert got, by name."""
        counts = np.bincount(prediction.experts, minlength=len(self.experts))
        shares = (counts / counts.sum()).tolist()
        return {expert.name: share for expert, share in zip(self.experts, shares, strict=True)}

    def costs(self, board: Board) -> CompositionCosts:
        """Count the costs; means are over the `shares` of the experts."""
        experts = [expert.graph for expert in self.experts]
        weights = [self.shares[expert.name] for expert in self.experts]
        macs = [count(graph).macs for graph in experts]
        times = [board.latency_ms(features(graph)) for graph in experts]
        router = count(self.router).macs
        flash = sum(len(to_flatbuffer(graph)) for graph in self.graphs)
        arena = self.arena_bytes(CMSIS_NN)
        return CompositionCosts(
            macs=router + float(np.dot(weights, macs)),
            worst_macs=router + max(macs),
            flash_bytes=flash,
            arena_bytes=arena,
            host_arena_bytes=self.arena_bytes(HOST),
            latency_ms=board.latency_ms(features(self.router)) + float(np.dot(weights, times)),
            fits=arena <= board.arena_bytes and flash <= board.model_bytes,
        )

    def arena_bytes(self, target: Target) -> int:
        """Arena in which every network can start, bytes."""
        return max(target.plan(graph).required for graph in self.graphs)

    def _check_names(self) -> None:
        names = [expert.name for expert in self.experts]
        for what, listed in (("classes", self.classes), ("experts", names)):
            if len(set(listed)) < len(listed):
                twice = next(name for name in listed if listed.count(name) > 1)
                raise ConfigError(
                    f"{what} must have different names, but {twice!r} stands twice; rename one"
                )
        check_categories(self.categories, self.classes)

    def _check_networks(self) -> None:
        for graph in self.graphs:
            check_int8(graph)
            check_one_each(graph, "each network of a composition")
        source = self.router.tensors[self.router.inputs[0]]
        output = self.router.tensors[self.router.outputs[0]]
        if output.quantization != PROBABILITY or output.elements != len(self.categories):
            raise ConfigError(
                "a router must end in SOFTMAX over one output a category, but "
                f"{output.name!r} has {output.elements} outputs for {len(self.categories)} "
                "categories or another scale; train it on the categories, then with_softmax(graph)"
            )
        for expert in self.experts:
            taken = expert.graph.tensors[expert.graph.inputs[0]]
            if taken.shape != source.shape or taken.quantization != source.quantization:
                raise ConfigError(
                    "experts must take the router's input, its shape, scale and zero point, but "
                    f"{expert.name!r} takes {_described(taken)} and the router "
                    f"{_described(source)}; calibrate all networks on the same batches"
                )
            outputs = expert.graph.tensors[expert.graph.outputs[0]].elements
            if outputs != len(expert.labels):
                raise ConfigError(
                    f"an expert must have one label an output, but {expert.name!r} has {outputs} "
                    f"outputs and {len(expert.labels)} labels; name the class of each output"
                )

    def _check_mapping(self) -> None:
        known = {expert.name: set(expert.labels) for expert in self.experts}
        needed = {**self.categories, GENERAL: self.classes}
        missing = sorted(needed.keys() - self.expert_of.keys())
        if missing:
            raise ConfigError(
                f"every category must have an expert, and so must {GENERAL!r}, but {missing} have "
                "none; map them to experts"
            )
        for category, name in self.expert_of.items():
            if category not in needed or name not in known:
                raise ConfigError(
                    f"categories must be mapped to experts, but {category!r} goes to {name!r} and "
                    f"there are the categories {list(needed)} and experts {list(known)}; "
                    "correct the name"
                )
            lacking = sorted(set(needed[category]) - known[name])
            if lacking or not known[name] <= set(self.classes):
                raise ConfigError(
                    f"an expert must know the classes of its category and only those of the "
                    f"composition, but {name!r}, which serves {category!r}, lacks {lacking} and "
                    f"adds {sorted(known[name] - set(self.classes))}; map another expert"
                )
        idle = sorted(known.keys() - set(self.expert_of.values()))
        if idle:
            raise ConfigError(
                f"every expert must serve a category, but {idle} take flash for nothing; "
                "leave them out"
            )
        if not LOWEST_CODE <= self.threshold <= HIGHEST_CODE:
            raise ConfigError(
                f"a threshold must be an int8 code, -128 to 127: threshold={self.threshold}; "
                "-128 sends nothing to the general expert"
            )
        total = sum(self.shares.values())
        if (
            self.shares.keys() != known.keys()
            or min(self.shares.values()) < 0
            or not (abs(total - 1) < 1e-6)
        ):
            raise ConfigError(
                "shares must be one number of 0 to 1 an expert and add up to 1, but got "
                f"{dict(self.shares)}; take them from shares_of(predict(inputs))"
            )


def scores(graph: Graph, inputs: Codes) -> Codes:
    """Output codes [N, outputs] of an int8 graph, those of the device bit for bit."""
    return integer.run(graph, inputs).reshape(len(inputs), -1)


def with_softmax(graph: Graph) -> Graph:
    """Append SOFTMAX to an int8 graph of logits [1, categories], as a router needs it.

    Raises
    ------
    ConfigError
        If the output is not [1, categories].
    """
    logits = graph.tensors[graph.outputs[0]]
    if len(logits.shape) != 2:
        raise ConfigError(
            f"a router's logits must be [1, categories], but are {list(logits.shape)}; "
            "end the network in a dense layer"
        )
    name = "probabilities"
    output = Tensor(name, logits.shape, "int8", quantization=PROBABILITY)
    op = Op("SOFTMAX", name, (logits.name,), (name,))
    tensors = {**graph.tensors, name: output}
    return replace(graph, tensors=tensors, ops=(*graph.ops, op), outputs=(name,))


def _described(tensor: Tensor) -> str:
    quantization = tensor.quantization
    assert quantization is not None, "check_int8 passes quantised inputs only"
    scale = float(quantization.scale[0])
    return f"{list(tensor.shape)} at scale {scale:.6g}, zero point {quantization.zero_point}"
